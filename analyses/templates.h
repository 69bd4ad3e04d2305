// The template of each block - what its attention reads at spike tokens, in the mean - and ordinary tokens' vectors
// beside it, for the analyses of the projections.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "analyses/analysis.h"
#include "analyses/block_inputs.h"
#include "analyses/spikes/tracks.h"
#include "analyses/token_vectors.h"

namespace spikescope {

/// The dimension in which most spike tokens of each state are largest; where a state has none, that of the nearest
/// earlier state with any, else of the nearest later one. -1 without spikes.
std::vector<int64_t> spike_dims(std::span<const LayerScan> states);

/// A mean vector [d], and the same without one group of windows each (window_groups(); none below two): random first
/// tokens are dealt into the same groups.
struct TemplateVector {
  std::vector<double> all;
  std::vector<std::vector<double>> left_out;
};

class Templates {
 public:
  /// Finds the spike tokens of all states and draws the ordinary ones. Throws Error as scan_residuals() does.
  Templates(const AnalysisInput& input, const std::function<void(double)>& progress);

  /// x*_l [d]: mean of what attention of the block reads at template_tokens() and at those of the dump's random first
  /// tokens that are spikes like the windows' first tokens. These are, in states where most windows have a spike at
  /// their first token, the random ones with at least kDimShare of these spikes' lower median in spike_dim(); elsewhere
  /// those of the nearest earlier such state, or else all.
  TemplateVector at(int64_t block) const;
  /// How many random first tokens are in it.
  int64_t random_spikes(int64_t block) const;
  /// What it reads at the ordinary tokens.
  TokenVectors ordinary(int64_t block) const;
  /// "spikes", or "latest" where at most half of the windows have spikes in r_l.
  const char* source(int64_t block) const;
  /// spike_dims() of the state that enters the block.
  int64_t spike_dim(int64_t block) const { return dims_[static_cast<size_t>(block)]; }

  /// What the results say of them: `seed`, `ordinary_from`, `ordinary_per_window`, `input`, `plateaus`.
  Json json() const;

  const BlockInputs& inputs() const { return inputs_; }
  const std::vector<LayerScan>& states() const { return states_; }
  const std::vector<std::vector<SpikeSet>>& sets() const { return sets_; }
  const TokensByPrompt& ordinary_tokens() const { return ordinary_; }

 private:
  void choose_random_first();
  const DumpReader& dump_;
  BlockInputs inputs_;
  uint64_t seed_;
  const std::vector<LayerScan>& states_;
  std::vector<std::vector<SpikeSet>> sets_;
  std::vector<int64_t> dims_;
  TokensByPrompt ordinary_;
  std::vector<std::vector<int64_t>> random_;  ///< [blocks]: numbers of the random first tokens in the template
};

/// Which residual state the dump lacks, or why there is nothing to read for attention; empty when there is all that
/// Templates reads.
std::string missing_for_templates(const AnalysisInput& input);
/// Why queries, keys and values of the templates cannot be made: the same, or no checkpoint or another one. Empty when
/// they can.
std::string why_no_projections(const AnalysisInput& input);

}  // namespace spikescope
