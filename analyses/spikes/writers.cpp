#include "analyses/spikes/writers.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "base/error.h"
#include "model/weights.h"
#include "stats/jackknife.h"
#include "stats/top_k.h"

namespace spikescope {
namespace {

/// Rows of the block's writer rows that belong to the plateau's spikes, by window; windows without any are left out.
using Members = std::vector<std::vector<size_t>>;
Members member_rows(const WriterRows& rows, const Plateau& plateau) {
  std::map<int64_t, std::vector<size_t>> windows;
  for (size_t row = 0; row < rows.tokens.size(); ++row) {
    if (std::binary_search(plateau.tokens.begin(), plateau.tokens.end(), rows.tokens[row]))
      windows[rows.tokens[row].first].push_back(row);
  }
  Members members;
  for (auto& [window, of_window] : windows) members.push_back(std::move(of_window));
  return members;
}

int64_t count(const Members& members) {
  int64_t sum = 0;
  for (const auto& window : members) sum += static_cast<int64_t>(window.size());
  return sum;
}

WindowMean mean_at(const std::vector<float>& values, int64_t d, int64_t dim, const Members& members) {
  std::vector<double> sums, counts;
  for (const auto& window : members) {
    double sum = 0.0;
    for (size_t row : window) sum += values[row * static_cast<size_t>(d) + static_cast<size_t>(dim)];
    sums.push_back(sum);
    counts.push_back(static_cast<double>(window.size()));
  }
  return window_mean(sums, counts);
}

struct LargerShare {
  bool operator()(const NeuronShare& a, const NeuronShare& b) const {
    return std::abs(a.share) != std::abs(b.share) ? std::abs(a.share) > std::abs(b.share) : a.index < b.index;
  }
};

/// The weights, if the checkpoint is there. Without it everything else of the analysis still holds.
class OptionalWeights {
 public:
  explicit OptionalWeights(const AnalysisInput& input) : input_(input) {}

  const ModelWeights* get(std::string& note) {
    if (!tried_) {
      tried_ = true;
      try {
        if (input_.weights) weights_ = &input_.weights();
        if (!weights_) note = "neurons need the checkpoint's weights";
      } catch (const Error& error) {
        note = std::string("neurons need the checkpoint's weights: ") + error.what();
      }
    }
    return weights_;
  }

 private:
  const AnalysisInput& input_;
  const ModelWeights* weights_ = nullptr;
  bool tried_ = false;
};

std::vector<NeuronShare> neuron_shares(const WriterRows& rows, const Members& members, int64_t dim,
                                       const ModelWeights& weights, int64_t block, std::string& note) {
  if (rows.mlp_post.empty() || !weights.has(Role::w_down, static_cast<int>(block))) {
    note = "no neurons in blocks whose MLP is a mixture of experts";
    return {};
  }
  const size_t width = static_cast<size_t>(rows.width);
  if (weights.architecture().mlp_width != rows.width || weights.architecture().d_model != rows.d_model) {
    note = "the checkpoint's MLP has another width than the dump's; neurons are left out";
    return {};
  }
  std::vector<float> down(width);
  weights.read_rows({Role::w_down, static_cast<int>(block)}, dim, 1, down.data());
  const auto written = [&](size_t row, size_t j) {
    return static_cast<double>(rows.mlp_post[row * width + j]) * down[j];
  };
  std::vector<double> part(width), sums;  // of neurons, of windows
  double sum = 0.0;
  for (const auto& window : members) {
    sums.push_back(0.0);
    for (size_t row : window) {
      for (size_t j = 0; j < width; ++j) {
        part[j] += written(row, j);
        sums.back() += written(row, j);
      }
    }
    sum += sums.back();
  }
  if (sum == 0.0) return {};
  TopK<NeuronShare, LargerShare> top(kMostNeurons);
  for (size_t j = 0; j < width; ++j) {
    const double share = part[j] / sum;
    if (std::abs(share) >= kLeastShare) top.add({static_cast<int64_t>(j), share, 0.0});
  }
  std::vector<NeuronShare> neurons = top.items();
  for (NeuronShare& neuron : neurons) {
    const auto j = static_cast<size_t>(neuron.index);
    std::vector<double> left_out;
    for (size_t window = 0; window < members.size(); ++window) {
      double of_window = 0.0;
      for (size_t row : members[window]) of_window += written(row, j);
      left_out.push_back((part[j] - of_window) / (sum - sums[window]));
    }
    neuron.error = jackknife_error(left_out);
  }
  return neurons;
}

}  // namespace

Writers find_writers(const AnalysisInput& input, std::span<const Plateau> plateaus) {
  Writers result;
  if (plateaus.empty()) return result;
  if (!input.dump.has_writers()) {
    result.note = "the dump has no rows of the blocks' updates";
    return result;
  }
  OptionalWeights weights(input);
  for (int64_t block = 0; block < input.dump.n_layers(); ++block) {
    std::optional<WriterRows> rows;
    for (size_t k = 0; k < plateaus.size(); ++k) {
      const Plateau& plateau = plateaus[k];
      // From the last state of the plateau before to the one ahead of the plateau after. Between two plateaus a change
      // belongs to the first when it takes away from it, and to the second when it builds it.
      const bool has_next = k + 1 < plateaus.size();
      const int64_t from = k == 0 ? 0 : plateaus[k - 1].last;
      const int64_t to = has_next ? plateaus[k + 1].first - 1 : input.dump.n_layers();
      const bool builds_only = k > 0 && block < plateau.first;
      const bool cancels_only = has_next && block >= plateau.last;
      if (block < from || block >= to) continue;
      if (!rows) rows = input.dump.writers(block);
      const Members members = member_rows(*rows, plateau);
      if (members.empty()) continue;
      for (size_t i = 0; i < plateau.dims.size(); ++i) {
        const int64_t dim = plateau.dims[i];
        const double level = plateau.values[i];
        Writer writer{block, dim, static_cast<int64_t>(k), count(members), {}, {}, false, {}};
        writer.mlp = mean_at(rows->mlp, rows->d_model, dim, members);
        writer.attention = mean_at(rows->attention, rows->d_model, dim, members);
        const double change = writer.mlp.mean + writer.attention.mean;
        if (std::abs(change) < kLeastChange * std::abs(level)) continue;
        writer.cancels = (change < 0) != (level < 0);
        if (writer.cancels ? builds_only : cancels_only) continue;
        if (const ModelWeights* model = weights.get(result.note)) {
          writer.neurons = neuron_shares(*rows, members, dim, *model, block, result.note);
        }
        result.rows.push_back(std::move(writer));
      }
    }
  }
  return result;
}

}  // namespace spikescope
