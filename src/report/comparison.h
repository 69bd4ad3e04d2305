// What runs of several models have in common, read back from their results.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace spikescope {

/// A value by depth: a state's or block's number over the number of blocks, 0 to 1. NaN where undefined.
struct DepthCurve {
  std::vector<double> depth{}, value{};
  std::vector<std::string> hover{};
};

/// One of the largest |h| of a state.
struct LargestEntry {
  double value = 0;  ///< signed
  int64_t prompt = 0, token = 0, dim = 0;
};

/// Spike tokens of one kind: all first tokens together, since they are spikes for their place, others by their string.
struct SpikeTokenKind {
  bool first = false;
  std::string text{};  ///< "'the'", or "id 42" without a vocabulary; empty: first tokens that differ
  int64_t count = 0;   ///< tokens of all prompts
};

/// A run as a row of the survey. Numbers that its results do not have are NaN.
struct ComparedRun {
  static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

  std::string name{};               ///< of the model; distinct among those compared
  std::filesystem::path folder{};   ///< OUT of the run
  std::string error{};              ///< why there are no results (a survey's model that failed); else empty
  int64_t windows = 0, tokens = 0;  ///< prompts, and tokens of all of them
  int64_t blocks = 0;

  int64_t state = 0;                                    ///< residual state that holds the largest |h| of all
  std::vector<LargestEntry> top{};                      ///< its three largest, of one prompt
  double median = kNone;                                ///< its median |h|
  std::vector<SpikeTokenKind> spike_tokens{};           ///< most frequent first
  std::vector<int64_t> dims{};                          ///< of the plateaus, largest first
  std::vector<std::pair<int64_t, int64_t>> plateaus{};  ///< first and last state
  DepthCurve spikes{};                                  ///< largest |h| over median, of each state

  std::string no_sinks{};  ///< why there is nothing about sinks, or empty
  double sink_rate = kNone, mean_alpha = kNone;
  DepthCurve sinks{};  ///< share of each block's heads that are sinks

  std::string no_constancy{};                            ///< why there is nothing about constancy, or empty
  double spike_cosine = kNone, ordinary_cosine = kNone;  ///< mean over the states of the plateaus
  DepthCurve constancy{};                                ///< mean cosine of spike tokens after the norm, of each state
  /// All spike tokens on the plateaus are one token that begins every prompt: constancy says nothing then.
  bool one_spike_token = false;

  bool failed() const { return !error.empty(); }
  double largest() const;
  double ratio() const { return largest() / median; }
};

/// OUT of the run that `path` belongs to: OUT itself, its folder `results` or `report`, or a file in one of these. Of a
/// folder that holds runs, such as a survey's, all of them, by name. Throws Error where there are no results.
std::vector<std::filesystem::path> run_folders(const std::filesystem::path& path);

/// Reads OUT/results/spikes.json, sinks.json and convergence.json; only the first has to be there. Throws Error naming
/// file and key for what is damaged.
ComparedRun read_run(const std::filesystem::path& out);

/// The shortest ends of the paths that tell them apart: "b/x" and "c/x" of "a/b/x" and "a/c/x". Equal paths keep equal
/// ends.
std::vector<std::string> distinct_ends(const std::vector<std::filesystem::path>& paths);

/// Adds to equal names what tells their folders apart.
void make_names_distinct(std::vector<ComparedRun>& runs);

}  // namespace spikescope
