#include "quant/activation_losses.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "base/parallel.h"
#include "model/runner.h"
#include "quant/prefix.h"
#include "stats/quantile.h"
#include "stats/window_mean.h"

namespace spikescope {

/// Keeps the largest |h| of each token after each block.
class LossComparison::StateObserver : public PassObserver {
 public:
  StateObserver(size_t layers, const std::function<void(double)>& progress) : peaks(layers), progress_(progress) {}

  void block_done(int layer, const TensorView& residual) override {
    constexpr int64_t kRows = 256;
    std::vector<float>& rows = peaks[static_cast<size_t>(layer)];
    rows.resize(static_cast<size_t>(residual.rows()));
    parallel_for((residual.rows() + kRows - 1) / kRows, [&](int64_t piece) {
      for (int64_t row = piece * kRows; row < std::min(residual.rows(), (piece + 1) * kRows); ++row)
        rows[static_cast<size_t>(row)] = largest_magnitude(residual.row(row), residual.row_size());
    });
  }
  void progress(double fraction) override { progress_(fraction); }

  std::vector<std::vector<float>> peaks;  ///< [blocks][tokens]

 private:
  const std::function<void(double)>& progress_;
};

LossComparison::LossComparison(const ModelWeights& weights, TokenBatch batch,
                               const std::function<void(double)>& progress)
    : batch_(std::move(batch)) {
  for (size_t window = 0; window + 1 < batch_.offsets.size(); ++window)
    counts_.push_back(static_cast<double>(batch_.offsets[window + 1] - batch_.offsets[window] - 1));
  if (std::all_of(counts_.begin(), counts_.end(), [](double count) { return count == 0.0; }))
    fail("no window has two tokens: there is nothing to predict");
  StateObserver observer(static_cast<size_t>(weights.architecture().n_layers), progress);
  reference_ = run(weights, batch_, 0, Hooks(), observer);
  spikes_.assign(batch_.ids.size(), 0);
  for (const std::vector<float>& peaks : observer.peaks) {
    thresholds_.push_back(kNewSpikeFactor * lower_median({peaks.begin(), peaks.end()}));
    for (size_t token = 0; token < peaks.size(); ++token) spikes_[token] |= peaks[token] > thresholds_.back();
  }
}

LossesOfPass LossComparison::run(const ModelWeights& weights, const TokenBatch& batch, size_t prefix,
                                 const Hooks& hooks, StateObserver& observer) const {
  RunOptions options;
  options.losses = true;
  RunResult result = run_model(weights, batch, hooks, observer, options);
  const std::vector<uint8_t> of_prefix = prefix_rows(batch, prefix);
  result.losses = unmarked(result.losses, of_prefix);
  for (std::vector<float>& peaks : observer.peaks) peaks = unmarked(peaks, of_prefix);
  LossesOfPass pass;
  pass.seconds = result.seconds;
  for (size_t window = 0; window < counts_.size(); ++window) {
    const auto begin = result.losses.begin() + batch_.offsets[window];
    double sum = 0.0;
    std::for_each(begin, begin + static_cast<int64_t>(counts_[window]), [&](float loss) { sum += loss; });
    pass.sums.push_back(sum);
    pass.first.push_back(counts_[window] > 0 ? *begin : 0.0);
  }
  for (const std::vector<float>& peaks : observer.peaks)
    pass.largest_h.push_back(*std::max_element(peaks.begin(), peaks.end()));
  pass.new_spikes.resize(pass.largest_h.size());
  return pass;
}

LossesOfPass LossComparison::run(const ModelWeights& weights, const SimulatedActivations* activations,
                                 const std::function<void(double)>& progress) const {
  const std::vector<int64_t> prefix = activations ? activations->prefix() : std::vector<int64_t>();
  const TokenBatch batch = with_prefix(batch_, prefix);
  Hooks hooks;
  if (activations) activations->attach(hooks, batch);
  StateObserver observer(thresholds_.size(), progress);
  LossesOfPass pass = run(weights, batch, prefix.size(), hooks, observer);
  std::vector<uint8_t> spikes(spikes_.size());
  for (size_t block = 0; block < thresholds_.size(); ++block)
    for (size_t token = 0; token < spikes.size(); ++token) {
      const bool is_new = observer.peaks[block][token] > thresholds_[block] && !spikes_[token];
      pass.new_spikes[block] += is_new;
      spikes[token] |= is_new;
    }
  pass.new_spike_tokens = std::count(spikes.begin(), spikes.end(), 1);
  return pass;
}

Json LossComparison::row(const LossesOfPass& pass) const {
  std::vector<double> differences = pass.sums, later = pass.sums, later_counts = counts_;
  for (size_t window = 0; window < counts_.size(); ++window) {
    differences[window] -= reference_.sums[window];
    later[window] -= pass.first[window];
    later_counts[window] = std::max(counts_[window] - 1.0, 0.0);
  }
  const WindowMean nll = window_mean(pass.sums, counts_), difference = window_mean(differences, counts_);
  Json row = {{"perplexity", std::exp(nll.mean)},
              {"nll", nll.mean},
              {"nll_se", nll.standard_error},
              {"dnll", difference.mean},
              {"dnll_se", difference.standard_error},
              {"perplexity_without_position0", std::exp(window_mean(later, later_counts).mean)},
              {"largest_h", *std::max_element(pass.largest_h.begin(), pass.largest_h.end())},
              {"new_spikes", pass.new_spike_tokens},
              {"seconds", pass.seconds}};
  row["blocks"] = Json::array();
  for (size_t block = 0; block < pass.largest_h.size(); ++block)
    row["blocks"].push_back(
        {{"block", block}, {"largest_h", pass.largest_h[block]}, {"new_spikes", pass.new_spikes[block]}});
  return row;
}

}  // namespace spikescope
