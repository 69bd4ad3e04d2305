// One pass over all residual states of a dump: medians, largest entries, and spike tokens. The basis of the spikes
// analysis and of the spike sets of the others. Holds one state of one prompt a thread, and summaries.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "capture/dump.h"
#include "stats/top_k.h"

namespace spikescope {

/// One entry of a residual state.
struct StateEntry {
  int64_t prompt = 0, token = 0, dim = 0;
  float value = 0.0f;  ///< signed
};
/// Largest magnitude first; equal ones in order of prompt, token, dimension.
struct LargerMagnitude {
  bool operator()(const StateEntry& a, const StateEntry& b) const;
};
using TopEntries = TopK<StateEntry, LargerMagnitude>;

/// A dimension of a spike token with its value.
struct SpikeDim {
  int64_t dim = 0;
  float value = 0.0f;
};

/// A token that the automatic rule calls a spike in one state.
struct TokenSpike {
  int64_t token = 0;
  double nu = 0.0;             ///< norm over the median norm of its window
  std::vector<SpikeDim> dims;  ///< its spike dimensions, largest magnitude first; never empty
};

/// What is known of one state of one window [T, d].
struct WindowScan {
  float median = 0.0f;             ///< lower median of |h| over T x d
  double p_value = 1.0;            ///< of the norms (stats/spike_rule.h)
  int64_t published_flags = 0;     ///< entries with |h| >= 100 and >= 1,000 x median
  std::vector<TokenSpike> spikes;  ///< by token
  std::vector<StateEntry> top;     ///< largest entries; `prompt` is left 0
};

/// Largest entries kept of a state.
inline constexpr size_t kTopEntries = 10;
/// The published rule (arXiv 2402.17762).
inline constexpr float kPublishedMagnitude = 100.0f, kPublishedRatio = 1000.0f;
/// An entry belongs to a spike only from this multiple of its window's median on. In normally distributed entries that
/// is 13.5 standard deviations: a token that is merely 1.6 times as long as the others does not get there.
inline constexpr float kLeastRatio = 20.0f;
/// Spike dimensions: |h_td| >= kDimShare x the largest, and >= kDimContrast x the median of |h_d| over the window's
/// other tokens, so that a dimension that is large in all tokens is none.
inline constexpr float kDimShare = 0.5f, kDimContrast = 2.0f;

/// Scans one state of one window, [rows, d]; the states must be finite (see finite_norms).
/// Spike tokens: find_spike_tokens() on the norms, with at least one entry that satisfies the limits above.
WindowScan scan_window(std::span<const float> state, int64_t d, std::span<const double> norms);

/// Norms of the tokens of a state; throws Error naming layer, prompt, token and dimension when a value is not finite.
std::vector<double> finite_norms(const DumpReader& dump, std::span<const float> state, int64_t layer, int64_t prompt);

/// One residual state r_l of all prompts.
struct LayerScan {
  float median = 0.0f;                          ///< lower median of |h| over all entries of all prompts
  std::vector<float> window_median;             ///< [prompts]
  std::vector<double> window_p_value;           ///< [prompts]: WindowScan::p_value
  std::vector<StateEntry> top;                  ///< kTopEntries at most
  std::vector<StateEntry> prompt_top;           ///< the same of the prompt that holds the largest alone
  int64_t published_flags = 0;                  ///< entries, each against the median of its window
  int64_t published_windows = 0;                ///< windows with at least one of them
  std::vector<std::vector<TokenSpike>> spikes;  ///< [prompts]

  float max() const { return top.empty() ? 0.0f : (top[0].value < 0 ? -top[0].value : top[0].value); }
  int64_t spike_windows() const;  ///< windows with at least one spike token
};

/// Scans r_0 .. r_L, layer by layer; result [L + 1]. `layer_medians`: whether LayerScan::median over several prompts is
/// needed (it costs a second reading); NaN otherwise. `progress` gets the fraction done.
std::vector<LayerScan> scan_residuals(const DumpReader& dump, bool layer_medians,
                                      const std::function<void(double)>& progress);

/// scan_residuals() of one dump, made when it is first asked for and kept for those who ask later.
class SharedScan {
 public:
  explicit SharedScan(const DumpReader& dump) : dump_(dump) {}
  /// As scan_residuals(); made again only where the medians are asked for and an earlier caller did without.
  const std::vector<LayerScan>& operator()(bool layer_medians, const std::function<void(double)>& progress);

 private:
  const DumpReader& dump_;
  std::vector<LayerScan> states_;
  bool has_medians_ = false;
};

/// Where a dump has r_l.
HookPoint residual_point(int64_t layer);
/// The first residual state r_0 .. r_L that the dump lacks, as the name of its hook point; empty when it has all.
std::string missing_residual(const DumpReader& dump);

}  // namespace spikescope
