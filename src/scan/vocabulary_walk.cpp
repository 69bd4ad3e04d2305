#include "scan/vocabulary_walk.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>

#include "model/runner.h"

namespace spikescope {
namespace {

/// Values of residual states in memory at a time.
constexpr int64_t kValues = int64_t{1} << 23;

class ProgressOf : public PassObserver {
 public:
  explicit ProgressOf(std::function<void(double)> report) : report_(std::move(report)) {}
  void progress(double fraction) override { report_(fraction); }

 private:
  std::function<void(double)> report_;
};

void leave_out(const Activation& activation) {
  for (int64_t row = 0; row < activation.values.rows(); ++row)
    std::fill_n(activation.values.row(row), activation.values.row_size(), 0.0f);
}

}  // namespace

std::string why_no_walk(const Architecture& a) {
  if (a.patches) return "the model reads images, so that there is no vocabulary to go through";
  if (!a.causal) return "every token sees the whole prompt, so that none has a way of its own";
  return "";
}

std::vector<float> walk_vocabulary(const ModelWeights& weights, Walk walk, int blocks, std::span<const int64_t> dims,
                                   const std::function<void(double)>& progress) {
  const Architecture& a = weights.architecture();
  const int64_t count = a.vocabulary, step = std::max(kValues / a.d_model, int64_t{256});
  std::vector<float> reached(static_cast<size_t>(count) * dims.size());
  for (int64_t first = 0; first < count; first += step) {
    TokenBatch batch;
    batch.ids.resize(static_cast<size_t>(std::min(step, count - first)));
    std::iota(batch.ids.begin(), batch.ids.end(), first);
    batch.offsets.resize(batch.ids.size() + 1);
    std::iota(batch.offsets.begin(), batch.offsets.end(), int64_t{0});
    Hooks hooks;
    for (int block = 0; block < blocks; ++block) {
      if (walk == Walk::inside) hooks.intervene(HookPoint{Point::attn_out, block}.name(), leave_out);
      hooks.observe(HookPoint{Point::resid_post, block}.name(), [&](const Activation& activation) {
        for (int64_t row = 0; row < activation.values.rows(); ++row) {
          const float* state = activation.values.row(row);
          float* of_token = reached.data() + static_cast<size_t>(first + activation.first_row + row) * dims.size();
          for (size_t i = 0; i < dims.size(); ++i)
            if (std::abs(state[dims[i]]) > std::abs(of_token[i])) of_token[i] = state[dims[i]];
        }
      });
    }
    ProgressOf observer([&](double fraction) {
      if (progress)
        progress((static_cast<double>(first) + fraction * static_cast<double>(batch.ids.size())) /
                 static_cast<double>(count));
    });
    run_model(weights, batch, hooks, observer);
  }
  return reached;
}

}  // namespace spikescope
