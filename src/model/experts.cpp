#include "model/experts.h"

#include <algorithm>
#include <numeric>

#include "base/profile.h"
#include "model/mlp.h"
#include "model/router.h"

namespace spikescope {

std::vector<float> ExpertMlps::logits(int layer, ConstMatrixView x) {
  Linear router;
  router.load(weights_, {{{Role::router, layer}}});
  std::vector<float> logits(static_cast<size_t>(x.rows * router.out()));
  for_row_pieces(x.rows, [&](int64_t first, int64_t count) {
    router({x.data + first * x.stride, count, x.columns, x.stride},
           {logits.data() + first * router.out(), count, router.out(), router.out()});
  });
  return logits;
}

Routing ExpertMlps::route(int layer, std::vector<float> logits) const {
  const Experts& e = weights_.architecture().experts;
  const Weight bias = weights_.read(Role::router_bias, layer);
  const int64_t rows = static_cast<int64_t>(logits.size()) / e.count;
  Routing routing;
  routing.indices.resize(static_cast<size_t>(rows * e.per_token));
  routing.weights.resize(routing.indices.size());
  for (int64_t row = 0; row < rows; ++row)
    choose_experts(e, logits.data() + row * e.count, bias ? bias.values.data() : nullptr,
                   routing.indices.data() + row * e.per_token, routing.weights.data() + row * e.per_token);
  routing.logits = std::move(logits);
  return routing;
}

void ExpertMlps::load(const WeightKey& gate, const WeightKey& up, const WeightKey& down) {
  const Span span("weights", gate.layer);
  gate_up_.load(weights_, {{gate, up}});
  down_.load(weights_, {{down}});
}

void ExpertMlps::operator()(int layer, const Routing& routing, ConstMatrixView x, MatrixView out) {
  const Experts& e = weights_.architecture().experts;
  for (int64_t row = 0; row < out.rows; ++row) std::fill_n(out.data + row * out.stride, out.columns, 0.0f);
  std::vector<int64_t> rows(static_cast<size_t>(x.rows));
  if (e.shared_width > 0) {
    std::iota(rows.begin(), rows.end(), int64_t{0});
    load({Role::shared_gate, layer}, {Role::shared_up, layer}, {Role::shared_down, layer});
    add(rows, std::vector<float>(rows.size(), 1.0f), x, out);
  }
  for (int expert = 0; expert < e.count; ++expert) {
    rows.clear();
    std::vector<float> weights;
    for (size_t i = 0; i < routing.indices.size(); ++i)
      if (routing.indices[i] == expert) {
        rows.push_back(static_cast<int64_t>(i) / e.per_token);
        weights.push_back(routing.weights[i]);
      }
    if (rows.empty()) continue;
    load({Role::expert_gate, layer, expert}, {Role::expert_up, layer, expert}, {Role::expert_down, layer, expert});
    add(rows, weights, x, out);
  }
}

void ExpertMlps::add(std::span<const int64_t> rows, std::span<const float> weights, ConstMatrixView x,
                     MatrixView out) const {
  const int64_t width = down_.in();
  const Activator activation = weights_.architecture().activation;
  for_row_pieces(static_cast<int64_t>(rows.size()), [&](int64_t first, int64_t count) {
    const Span span("experts", -1, (gate_up_.flops() + down_.flops()) * static_cast<double>(count));
    thread_local Buffer in, gate_up, update;
    in.resize(count * x.columns);
    gate_up.resize(count * 2 * width);
    update.resize(count * out.columns);
    for (int64_t i = 0; i < count; ++i)
      std::copy_n(x.data + rows[static_cast<size_t>(first + i)] * x.stride, x.columns, in.data() + i * x.columns);
    gate_up_({in.data(), count, x.columns, x.columns}, {gate_up.data(), count, 2 * width, 2 * width});
    gated_activation(activation, gate_up.data(), gate_up.data() + width, count, width, 2 * width, 2 * width,
                     gate_up.data(), 2 * width);
    down_({gate_up.data(), count, width, 2 * width}, {update.data(), count, out.columns, out.columns});
    for (int64_t i = 0; i < count; ++i) {
      float* to = out.data + rows[static_cast<size_t>(first + i)] * out.stride;
      const float weight = weights[static_cast<size_t>(first + i)];
      for (int64_t c = 0; c < out.columns; ++c) to[c] += weight * update[i * out.columns + c];
    }
  });
}

}  // namespace spikescope
