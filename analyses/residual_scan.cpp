#include "analyses/residual_scan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <mutex>
#include <tuple>

#include "analyses/parallel.h"
#include "base/fail.h"
#include "stats/quantile.h"
#include "stats/spike_rule.h"

namespace spikescope {
namespace {

/// Dimensions that are large in all tokens and may hide a spike below them; beyond so many the token is not called one.
constexpr int kMostHiding = 16;

/// Largest magnitude of a row. Compares bits as integers, which (unlike floats with their NaNs) the compiler
/// vectorises.
float largest_magnitude(std::span<const float> row) {
  int32_t bits = 0;
  for (float value : row) bits = std::max(bits, std::bit_cast<int32_t>(value) & 0x7fffffff);
  return std::bit_cast<float>(bits);
}

struct Window {
  std::span<const float> state;
  int64_t d;
  std::vector<char> flagged;  // by the norm rule

  int64_t tokens() const { return static_cast<int64_t>(state.size()) / d; }
  std::span<const float> row(int64_t token) const {
    return state.subspan(static_cast<size_t>(token * d), static_cast<size_t>(d));
  }

  /// What the window's other tokens have in a dimension.
  double ordinary(int64_t dim) const {
    std::vector<double> values;
    for (int64_t token = 0; token < tokens(); ++token) {
      if (!flagged[static_cast<size_t>(token)]) values.push_back(std::abs(row(token)[static_cast<size_t>(dim)]));
    }
    return values.empty() ? 0.0 : lower_median(std::move(values));
  }
};

/// Spike dimensions of a token that the norm rule flagged; none when its length comes from nothing massive.
std::vector<SpikeDim> spike_dims(const Window& window, int64_t token, float least) {
  const std::span<const float> row = window.row(token);
  std::vector<SpikeDim> candidates;
  for (int64_t dim = 0; dim < window.d; ++dim) {
    const float value = row[static_cast<size_t>(dim)];
    if (std::abs(value) >= least && value != 0.0f) candidates.push_back({dim, value});
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const SpikeDim& a, const SpikeDim& b) { return std::abs(a.value) > std::abs(b.value); });
  std::vector<SpikeDim> dims;
  int hiding = 0;
  for (const SpikeDim& candidate : candidates) {
    const double magnitude = std::abs(candidate.value);
    if (!dims.empty() && magnitude < kDimShare * std::abs(dims[0].value)) break;
    if (magnitude >= kDimContrast * window.ordinary(candidate.dim)) {
      dims.push_back(candidate);
    } else if (++hiding > kMostHiding) {
      break;
    }
  }
  return dims;
}

}  // namespace

HookPoint residual_point(int64_t layer) {
  return layer == 0 ? HookPoint{Point::resid_pre, 0} : HookPoint{Point::resid_post, static_cast<int>(layer - 1)};
}

bool LargerMagnitude::operator()(const StateEntry& a, const StateEntry& b) const {
  const float left = std::abs(a.value), right = std::abs(b.value);
  return left != right ? left > right : std::tie(a.prompt, a.token, a.dim) < std::tie(b.prompt, b.token, b.dim);
}

int64_t LayerScan::spike_windows() const {
  return std::count_if(spikes.begin(), spikes.end(), [](const auto& window) { return !window.empty(); });
}

WindowScan scan_window(std::span<const float> state, int64_t d, std::span<const double> norms) {
  WindowScan scan;
  Window window{state, d, std::vector<char>(norms.size(), 0)};
  MagnitudeMedian median;
  median.count(state);
  median.narrow();
  median.refine(state);
  scan.median = median.median();

  const float published = std::max(kPublishedMagnitude, kPublishedRatio * scan.median);
  TopEntries top(kTopEntries);
  for (int64_t token = 0; token < window.tokens(); ++token) {
    const std::span<const float> row = window.row(token);
    const float largest = largest_magnitude(row);
    const float least = top.full() ? std::abs(top.items().back().value) : 0.0f;
    if (largest < std::min(least, published)) continue;
    for (int64_t dim = 0; dim < d; ++dim) {
      const float value = row[static_cast<size_t>(dim)];
      if (std::abs(value) >= published) ++scan.published_flags;
      if (std::abs(value) >= least) top.add({0, token, dim, value});
    }
  }
  scan.top = top.items();

  const SpikeTokens found = find_spike_tokens(norms);
  scan.p_value = found.p_value;
  for (int64_t token : found.tokens) window.flagged[static_cast<size_t>(token)] = 1;
  const double median_norm = lower_median({norms.begin(), norms.end()});
  for (int64_t token : found.tokens) {
    std::vector<SpikeDim> dims = spike_dims(window, token, kLeastRatio * scan.median);
    if (!dims.empty()) scan.spikes.push_back({token, norms[static_cast<size_t>(token)] / median_norm, std::move(dims)});
  }
  return scan;
}

std::vector<double> finite_norms(const DumpReader& dump, std::span<const float> state, int64_t layer, int64_t prompt) {
  const int64_t d = dump.d_model();
  std::vector<double> norms = row_norms(state.data(), static_cast<int64_t>(state.size()) / d, d, d);
  for (size_t token = 0; token < norms.size(); ++token) {
    if (std::isfinite(norms[token])) continue;
    const std::span<const float> row = state.subspan(token * static_cast<size_t>(d), static_cast<size_t>(d));
    const auto bad = std::find_if(row.begin(), row.end(), [](float value) { return !std::isfinite(value); });
    fail(
        "{}: residual state r_{} (layer {}, {}) is {} at prompt {}, token {}, dimension {}: finite values expected; "
        "check the checkpoint's weights and capture again",
        (dump.out() / "dump").string(), layer, layer, residual_point(layer).name(), *bad, prompt, token,
        bad - row.begin());
  }
  return norms;
}

std::vector<LayerScan> scan_residuals(const DumpReader& dump, bool layer_medians,
                                      const std::function<void(double)>& progress) {
  const int64_t prompts = dump.tokens().n_prompts();
  std::vector<LayerScan> layers(static_cast<size_t>(dump.n_layers() + 1));
  std::mutex mutex;  // of the dump and of what the threads share
  for (int64_t l = 0; l < static_cast<int64_t>(layers.size()); ++l) {
    LayerScan& layer = layers[static_cast<size_t>(l)];
    layer.spikes.resize(static_cast<size_t>(prompts));
    layer.window_median.resize(static_cast<size_t>(prompts));
    layer.window_p_value.resize(static_cast<size_t>(prompts));
    MagnitudeMedian all;
    TopEntries top(kTopEntries);
    for_each_prompt(prompts, [&](int64_t prompt) {
      std::vector<float> state;
      {
        const std::lock_guard lock(mutex);
        state = dump.residual(l, prompt);
      }
      WindowScan window = scan_window(state, dump.d_model(), finite_norms(dump, state, l, prompt));
      MagnitudeMedian counts;
      if (layer_medians && prompts > 1) counts.count(state);
      const std::lock_guard lock(mutex);
      if (layer_medians && prompts > 1) all.merge(counts);
      for (StateEntry& entry : window.top) {
        entry.prompt = prompt;
        top.add(entry);
      }
      if (layer.prompt_top.empty() || LargerMagnitude()(window.top[0], layer.prompt_top[0]))
        layer.prompt_top = std::move(window.top);
      layer.published_flags += window.published_flags;
      layer.published_windows += window.published_flags > 0;
      layer.window_median[static_cast<size_t>(prompt)] = window.median;
      layer.window_p_value[static_cast<size_t>(prompt)] = window.p_value;
      layer.spikes[static_cast<size_t>(prompt)] = std::move(window.spikes);
    });
    layer.top = top.items();
    if (prompts == 1) {
      layer.median = layer.window_median[0];
    } else if (layer_medians) {
      all.narrow();
      for (int64_t prompt = 0; prompt < prompts; ++prompt) all.refine(dump.residual(l, prompt));
      layer.median = all.median();
    } else {
      layer.median = std::numeric_limits<float>::quiet_NaN();
    }
    if (progress) progress(static_cast<double>(l + 1) / static_cast<double>(layers.size()));
  }
  return layers;
}

const std::vector<LayerScan>& SharedScan::operator()(bool layer_medians, const std::function<void(double)>& progress) {
  if (states_.empty() || (layer_medians && !has_medians_)) {
    states_ = scan_residuals(dump_, layer_medians, progress);
    has_medians_ = layer_medians;
  }
  return states_;
}

std::string missing_residual(const DumpReader& dump) {
  for (int64_t layer = 0; layer <= dump.n_layers(); ++layer) {
    if (!dump.has(residual_point(layer))) return residual_point(layer).name();
  }
  return {};
}

}  // namespace spikescope
