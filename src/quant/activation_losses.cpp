#include "quant/activation_losses.h"

#include <algorithm>
#include <chrono>

#include "base/parallel.h"
#include "stats/quantile.h"

namespace spikescope {
namespace {

/// Adds the largest |h| of each row of windows of so many tokens, but for the `prefix` rows in front of each.
void append_peaks(const TensorView& residual, int64_t length, int64_t prefix, std::vector<float>& peaks) {
  const size_t before = peaks.size();
  const int64_t count = residual.rows() / (prefix + length) * length;
  peaks.resize(before + static_cast<size_t>(count));
  parallel_for_ranges(count, 256, [&](int64_t first, int64_t last) {
    for (int64_t own = first; own < last; ++own) {
      const int64_t row = own + (own / length + 1) * prefix;
      peaks[before + static_cast<size_t>(own)] = largest_magnitude(residual.row(row), residual.row_size());
    }
  });
}

}  // namespace

LossComparison::LossComparison(const ModelWeights& weights, TextWindows windows,
                               const std::function<void(double)>& progress)
    : windows_(std::move(windows)) {
  Peaks peaks;
  reference_ = run(weights, nullptr, false, progress, peaks);
  spikes_.assign(windows_.ids.size(), 0);
  for (const std::vector<float>& block : peaks) {
    thresholds_.push_back(kNewSpikeFactor * lower_median({block.begin(), block.end()}));
    for (size_t token = 0; token < block.size(); ++token) spikes_[token] |= block[token] > thresholds_.back();
  }
}

LossesOfPass LossComparison::run(const ModelWeights& weights, const SimulatedActivations* activations, bool int8,
                                 const std::function<void(double)>& progress, Peaks& peaks) const {
  const auto began = std::chrono::steady_clock::now();
  peaks.resize(static_cast<size_t>(weights.architecture().n_layers));
  EvaluationPass pass = pass_with(activations, int8);
  pass.progress = progress;
  const auto prefix = static_cast<int64_t>(pass.prefix.size());
  pass.block_done = [&, prefix](int layer, const TensorView& residual) {
    append_peaks(residual, windows_.length, prefix, peaks[static_cast<size_t>(layer)]);
  };
  LossesOfPass losses;
  measure_windows(weights, windows_, losses.windows, pass);
  for (const std::vector<float>& block : peaks)
    losses.largest_h.push_back(*std::max_element(block.begin(), block.end()));
  losses.new_spikes.resize(peaks.size());
  losses.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return losses;
}

LossesOfPass LossComparison::run(const ModelWeights& weights, const SimulatedActivations* activations,
                                 const std::function<void(double)>& progress, bool int8) const {
  Peaks peaks;
  LossesOfPass pass = run(weights, activations, int8, progress, peaks);
  std::vector<uint8_t> spikes(spikes_.size());
  for (size_t block = 0; block < thresholds_.size(); ++block)
    for (size_t token = 0; token < spikes.size(); ++token) {
      const bool is_new = peaks[block][token] > thresholds_[block] && !spikes_[token];
      pass.new_spikes[block] += is_new;
      spikes[token] |= is_new;
    }
  pass.new_spike_tokens = std::count(spikes.begin(), spikes.end(), 1);
  return pass;
}

Json LossComparison::row(const LossesOfPass& pass) const {
  Json row = perplexity_json(windows_, pass.windows);
  row.erase("bytes");  // of the text; those of a row are the model's
  row.update(difference_json(windows_, pass.windows, reference_.windows));
  row["largest_h"] = *std::max_element(pass.largest_h.begin(), pass.largest_h.end());
  row["new_spikes"] = pass.new_spike_tokens;
  row["seconds"] = pass.seconds;
  row["tokens_per_second"] = static_cast<double>(windows_.ids.size()) / pass.seconds;
  row["blocks"] = Json::array();
  for (size_t block = 0; block < pass.largest_h.size(); ++block)
    row["blocks"].push_back(
        {{"block", block}, {"largest_h", pass.largest_h[block]}, {"new_spikes", pass.new_spikes[block]}});
  return row;
}

}  // namespace spikescope
