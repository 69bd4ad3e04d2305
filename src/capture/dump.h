// The dump: what a capture leaves under OUT/dump for the analyses. docs/dump-format.md specifies the files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hooks/hook_point.h"
#include "io/json.h"
#include "model/sink_statistics.h"

namespace spikescope {

/// Where a dump came from; the attributes of index.h5.
struct DumpInfo {
  std::string model;       ///< path of the checkpoint (absolute)
  std::string model_name;  ///< how people call it (catalogue name, folder or file name)
  std::string model_sha256;
  std::string family;
  Json config;                      ///< the architecture as JSON, for people and notebooks; has n_layers and d_model
  std::string command;              ///< command line of the capture
  std::string version;              ///< of the program
  std::string dtype = "float32";    ///< precision of the forward pass
  std::string storage = "float32";  ///< precision of the datasets: float32 or float16
  std::string bos;                  ///< what was prepended: "none" or the piece, e.g. "<bos> (id 2)"
};

/// Prompts as they went through the model.
struct DumpTokens {
  std::vector<int64_t> ids;          ///< [N], all prompts one after the other
  std::vector<int64_t> offsets;      ///< [prompts + 1]; prompt p is rows offsets[p] .. offsets[p + 1], at least one
  std::vector<std::string> strings;  ///< [N] pieces as the vocabulary spells them; empty strings without a tokenizer
  std::vector<Json> prompts;         ///< [prompts] where each came from: {"source", "text" or "window"}

  int64_t size() const { return static_cast<int64_t>(ids.size()); }
  int64_t n_prompts() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t length(int64_t prompt) const { return offsets[prompt + 1] - offsets[prompt]; }
};

/// Key of DumpTokens::prompts, true in prompts that are one random token: the test of whether first tokens converge
/// whatever they are. They come after all others.
inline constexpr const char* kRandomFirst = "random_first";

/// What a block added to the tokens kept (those of SinkStatistics, and the spike tokens of its resid_post).
struct WriterRows {
  std::vector<TokenPosition> tokens;
  int64_t d_model = 0, width = 0;
  std::vector<float> attention;  ///< [tokens, d]: update from attention as added to the residual stream
  std::vector<float> mlp;        ///< [tokens, d]: update from the MLP as added
  std::vector<float> mlp_post;   ///< [tokens, width]: input of the last MLP matrix; empty in MoE layers
};

/// Reads a dump. Throws Error naming file and dataset for whatever is missing or of the wrong shape; nothing is
/// allocated before the files are known to hold it. Its functions may be called from several threads (HDF5 serves one
/// at a time).
class DumpReader {
 public:
  /// Opens OUT/dump/index.h5 and checks it; a dump that a dying run left as OUT/dump.old is put back first.
  explicit DumpReader(const std::filesystem::path& out);
  ~DumpReader();
  DumpReader(DumpReader&&) noexcept;

  const std::filesystem::path& out() const;
  const DumpInfo& info() const;
  /// All prompts but the random first tokens; sinks(), writers() and losses() have these tokens alone, too.
  const DumpTokens& tokens() const;
  /// Number of prompts of one random token (kRandomFirst). Their rows of a point follow those of tokens(): read() takes
  /// them from row tokens().size() on.
  int64_t random_first() const;
  int64_t n_layers() const;
  int64_t d_model() const;

  /// Whether the point was captured. Throws Error when it was but its layer file is missing or damaged.
  bool has(const HookPoint& point) const;
  bool has_sinks() const;
  bool has_writers() const;
  /// Shape of one row of a captured point: [d], [heads, head_dim], ...; for scores and pattern [heads].
  std::vector<int64_t> row_shape(const HookPoint& point) const;
  /// Rows [first, first + count) of a point as float32: count * row size values. Of scores and pattern, `first` is the
  /// prompt and `count` is 1: [heads, T, T].
  std::vector<float> read(const HookPoint& point, int64_t first, int64_t count) const;
  /// Residual state r_l of prompt p, [T, d]: r_0 is blocks.0.resid_pre, r_l is blocks.(l-1).resid_post.
  std::vector<float> residual(int64_t layer, int64_t prompt) const;
  SinkStatistics sinks(int64_t block) const;
  WriterRows writers(int64_t block) const;
  /// Next-token losses [N] in nats, NaN at each prompt's last token; empty when they were not captured.
  std::vector<float> losses() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// How a dump is stored. Sink statistics, writer rows and losses are float32 in any case.
struct DumpOptions {
  std::string storage = "float32";  ///< "float32" or "float16"; float16 refuses values beyond 65,504 with an Error
  int gzip = 0;                     ///< 0: none; 1 to 9: gzip level, with the shuffle filter
  /// Bytes of copies that may wait for the disk; write() waits while there are more.
  int64_t queue_bytes = int64_t{256} << 20;
  /// Go on from what a stopped or killed run has left in OUT/dump.partial, where there is something to go on from.
  bool resume = false;
  /// What else has to be the same for that: name and value, e.g. the points asked for.
  Json settings = Json::object();
};

/// Where a capture stands between two layers.
struct DumpState {
  int64_t next_layer = 0;
  std::vector<TokenPosition> tracked;
  std::vector<float> residual;  ///< [N * d], what next_layer reads
};

/// Writes a dump. Calls (from one thread) copy what they are given and return; a thread of the writer's does the HDF5
/// work, and its errors (a full disk, a value beyond float16) surface at the next call, finish() at the latest. The
/// dump grows in OUT/dump.partial; an old OUT/dump is as it was until finish(), and stays so after an error.
class DumpWriter {
 public:
  /// Throws Error, before anything is computed, when OUT cannot be written to, another run is writing to it, or
  /// OUT/dump is something else than a dump; UsageError for tokens or options that do not fit together.
  DumpWriter(const std::filesystem::path& out, DumpInfo info, DumpTokens tokens, DumpOptions options);
  ~DumpWriter();  ///< without finish() or stop(): removes what was written

  /// With DumpOptions::resume: the state to go on from; layers before next_layer are in the dump, and what is declared
  /// of them counts as written. Nothing when there is nothing to go on from.
  const std::optional<DumpState>& resumed() const;

  /// Says that a block before the state resumed from has sink statistics, or writer rows.
  void adopt(int64_t block, bool sinks, bool writers);

  /// Declares that rows of `point` will come, with the shape of one row ([heads] for scores and pattern); before the
  /// first write to it.
  void declare(const HookPoint& point, std::vector<int64_t> row_shape);
  /// `rows` rows of `row_size` values at `row_stride` from `first_row` on, in any order, each row once. For scores /
  /// pattern: first_row is the prompt, the rows are the heads of its [heads, T, T].
  void write(const HookPoint& point, int64_t first_row, const float* data, int64_t rows, int64_t row_size,
             int64_t row_stride);
  void write_sinks(int64_t block, SinkStatistics statistics);
  void write_writers(int64_t block, WriterRows rows);
  void write_losses(std::vector<float> losses);  ///< [N] next-token loss in nats, NaN at each prompt's last token
  /// Everything of `block` has been handed over: its file is closed and renamed. Throws Error when declared rows are
  /// missing.
  void finish_block(int64_t block);
  /// Keeps the state behind a finished block, so that a run that is killed later can be resumed from there.
  void save_state(DumpState state);
  /// Waits for the disk and leaves OUT/dump.partial for a run with DumpOptions::resume.
  void stop();
  /// Finishes the blocks left, waits for the thread, writes index.h5 and puts the new dump in the place of the old one.
  void finish(const std::string& model_sha256);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Bytes that the declared points (with the shapes that declare() takes) and the tokens will take on disk before
/// compression, for the check against the free space; at most INT64_MAX. Sink statistics and writer rows are not in it.
int64_t dump_bytes(const DumpTokens& tokens, const std::vector<std::pair<HookPoint, std::vector<int64_t>>>& points,
                   const DumpOptions& options);

}  // namespace spikescope
