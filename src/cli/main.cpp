// spikescope: one program, a sub-command a stage. Exit codes: 0 done, 1 failure, 2 wrong usage.

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <new>

#include "base/error.h"
#include "base/nearest.h"
#include "base/version.h"
#include "cli/command.h"
#include "io/mapped_file.h"
#include "model/gemm.h"

namespace spikescope {
namespace {

constexpr std::array kCommands = {add_run,      add_capture,  add_analyze,  add_intervene, add_scan,     add_templates,
                                  add_quantize, add_evaluate, add_report,   add_reproduce, add_notebook, add_compare,
                                  add_survey,   add_inspect,  add_families, add_tokenize,  add_models,   add_selftest};

constexpr const char* kDescription =
    "Finds and explains massive activation spikes in transformers: runs a checkpoint over prompts, dumps hidden states "
    "to HDF5, analyses them, and writes a report with figures.";

constexpr const char* kExamples = R"(Examples:
  spikescope models fetch smollm2-135m                  bring a small model with real spikes
  spikescope run --model smollm2-135m --out runs/smol   capture, analyse, report
  spikescope inspect model.gguf                         what a checkpoint is, at a glance
  spikescope capture --model DIR --out runs/x --prompt "Hello" --points 'blocks.*.resid_post'

'spikescope COMMAND --help' tells more of each.)";

/// The call as one could type it again.
std::string command_line(int argc, char** argv) {
  std::string line = "spikescope";
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool plain = !argument.empty() && argument.find_first_not_of(
                                                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                "0123456789_-+=.,/:@%") == std::string::npos;
    if (plain) {
      line += " " + argument;
      continue;
    }
    line += " '";
    for (const char c : argument) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += "'";
  }
  return line;
}

/// Blocks of a few MiB come and go with every layer; fetched from the system each time, they would have to be cleared
/// each time.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
}

int fail_with(int code, const std::string& message) {
  fmt::print(stderr, "spikescope: {}\n", message);
  return code;
}

int run_program(int argc, char** argv) {
  Session session;
  session.command_line = command_line(argc, argv);
  CLI::App app(kDescription, "spikescope");
  app.footer(kExamples);
  app.set_version_flag("--version", std::string("spikescope ") + version());
  app.add_option("--threads", session.threads, "Threads to compute with (default: all cores available)")
      ->check(CLI::Range(0, 4096));
  app.add_flag("--json", session.json, "Print the result as one JSON document on standard output");
  app.add_flag("--quiet", session.quiet, "No progress bar and no notes on standard error");
  app.require_subcommand(1);
  app.fallthrough();
  for (const AddCommand add : kCommands) add(app, session);
  if (argc == 1) {
    fmt::print(stderr, "{}", app.help());
    return 2;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    // CLI11 says no more than that a sub-command is missing.
    std::vector<std::string> names;
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
      names.push_back(command->get_name());
    const std::string first = argv[1];
    if (!first.starts_with('-') && std::find(names.begin(), names.end(), first) == names.end()) {
      const std::string nearest = nearest_name(first, names);
      return fail_with(2,
                       fmt::format("there is no command '{}'{}", first,
                                   nearest.empty() ? " (try --help)" : fmt::format("; did you mean '{}'?", nearest)));
    }
    return fail_with(2, fmt::format("{} (try --help)", error.what()));
  }
  return session.action();
}

}  // namespace
}  // namespace spikescope

int main(int argc, char** argv) {
  using namespace spikescope;
  report_lost_files();
  keep_freed_memory();
  try {
    return run_program(argc, argv);
  } catch (const UsageError& error) {
    return fail_with(2, error.what());
  } catch (const Error& error) {
    return fail_with(1, error.what());
  } catch (const std::bad_alloc&) {
    return fail_with(1, "out of memory; run fewer or shorter prompts, or capture fewer points");
  } catch (const std::exception& error) {
    return fail_with(1, error.what());
  }
}
