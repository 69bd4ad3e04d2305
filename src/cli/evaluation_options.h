// What `evaluate` and `quantize` measure models on: windows of a text, and tasks.
#pragma once

#include "cli/command.h"
#include "quant/perplexity.h"
#include "quant/tasks.h"

namespace spikescope {

/// A text that is cut into windows.
struct WindowOptions {
  std::optional<std::filesystem::path> text = {};
  std::optional<int64_t> windows = {};  ///< nothing: all there are
  std::optional<int64_t> length = {};   ///< nothing: 2048, or the model's context where that is less
};
/// Adds --text, --windows and --length in that group of the help; with a prefix such as "calibration" --calibration,
/// --calibration-windows and --calibration-length.
void add_window_options(CLI::App& command, WindowOptions& options, const std::string& group, const std::string& what,
                        const std::string& prefix = "");
/// The windows that they name; `bos` as bos_in_front() says, `prefix`: so many tokens will stand in front of each
/// (quant/prefix.h). Throws UsageError for a length that is beyond the model's context with them, and as
/// read_windows().
TextWindows windows_of(const WindowOptions& options, const Architecture& architecture, const Tokenizer& tokenizer,
                       std::optional<int64_t> bos, int64_t prefix = 0);

struct TaskOptions {
  std::optional<std::filesystem::path> folder = {};
  std::vector<std::string> names = {};     ///< empty: all that are in the folder
  std::optional<int64_t> rows = {};        ///< of each; nothing: `usual_rows`
  std::optional<int64_t> usual_rows = {};  ///< nothing: all
};
/// Adds --tasks, --task and --rows.
void add_task_options(CLI::App& command, TaskOptions& options);
/// The tasks that they name; none without --tasks. A note says which have no file there. Throws UsageError for --task
/// or --rows without --tasks, and as read_tasks().
std::vector<TaskRows> tasks_of(const TaskOptions& options, const Session& session);

}  // namespace spikescope
