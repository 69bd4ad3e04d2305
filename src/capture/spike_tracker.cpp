#include "capture/spike_tracker.h"

#include <algorithm>
#include <cmath>

#include "stats/spike_rule.h"

namespace spikescope {

SpikeTracker::SpikeTracker(std::span<const int64_t> offsets)
    : offsets_(offsets.begin(), offsets.end()), kept_(offsets.size() - 1, 1) {
  for (size_t prompt = 0; prompt + 1 < offsets_.size(); ++prompt) tokens_.insert({static_cast<int64_t>(prompt), 0});
}

void SpikeTracker::restore(const std::vector<TokenPosition>& tokens) {
  for (const TokenPosition& position : tokens)
    kept_[static_cast<size_t>(position.first)] += tokens_.insert(position).second;
}

void SpikeTracker::look(const TensorView& residual, int64_t first_row) {
  const std::vector<double> norms = row_norms(residual.data, residual.rows(), residual.row_size(), residual.row_stride);
  // A state that is not finite ends the pass at the end of this block, where the runner names the place.
  if (!std::all_of(norms.begin(), norms.end(), [](double norm) { return std::isfinite(norm); })) return;
  auto prompt = static_cast<size_t>(std::lower_bound(offsets_.begin(), offsets_.end(), first_row) - offsets_.begin());
  for (; prompt + 1 < offsets_.size() && offsets_[prompt + 1] <= first_row + residual.rows(); ++prompt) {
    const std::span<const double> window(norms.data() + (offsets_[prompt] - first_row),
                                         static_cast<size_t>(offsets_[prompt + 1] - offsets_[prompt]));
    std::vector<int64_t> found = find_spike_tokens(window).tokens;
    std::sort(found.begin(), found.end(),
              [&](int64_t a, int64_t b) { return window[static_cast<size_t>(a)] > window[static_cast<size_t>(b)]; });
    for (const int64_t token : found) {
      if (kept_[prompt] >= kMost) break;
      kept_[prompt] += tokens_.insert({static_cast<int64_t>(prompt), token}).second;
    }
  }
}

}  // namespace spikescope
