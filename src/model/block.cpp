#include "model/block.h"

#include <algorithm>

#include "model/gemm.h"
#include "model/mlp.h"
#include "model/norm.h"

namespace spikescope {
namespace {

int64_t longest(std::span<const int64_t> offsets) {
  int64_t length = 0;
  for (size_t p = 0; p + 1 < offsets.size(); ++p) length = std::max(length, offsets[p + 1] - offsets[p]);
  return length;
}

/// out = x W^T + b.
void linear(ConstMatrixView x, const std::vector<float>& weight, const std::vector<float>& bias, MatrixView out) {
  multiply_transposed(x, {weight.data(), out.columns, x.columns, x.columns}, out);
  if (bias.empty()) return;
#pragma omp parallel for schedule(static) if (out.rows * out.columns > 16384)
  for (int64_t row = 0; row < out.rows; ++row)
    for (int64_t i = 0; i < out.columns; ++i) out.data[row * out.stride + i] += bias[static_cast<size_t>(i)];
}

void add(const float* update, int64_t count, float* residual) {
#pragma omp parallel for simd schedule(static) if (count > 16384)
  for (int64_t i = 0; i < count; ++i) residual[i] += update[i];
}

/// Weights of several roles, one below the other; empty where the model has none.
void stack(const ModelWeights& weights, int layer, std::span<const Role> roles, std::vector<float>& out) {
  int64_t size = 0;
  for (const Role role : roles)
    if (weights.has(role, layer)) size += weights.shape(role).first * weights.shape(role).second;
  out.resize(static_cast<size_t>(size));
  float* part = out.data();
  for (const Role role : roles) {
    if (!weights.has(role, layer)) continue;
    const auto [rows, columns] = weights.shape(role);
    weights.read_rows(role, layer, 0, rows, part);
    part += rows * columns;
  }
}

}  // namespace

void BlockWeights::load(const ModelWeights& weights, int layer) {
  const struct {
    std::vector<float>& buffer;
    std::vector<Role> roles;
  } parts[] = {
      {ln1, {Role::ln1}},
      {w_qkv, {Role::w_q, Role::w_k, Role::w_v}},
      {b_qkv, {Role::b_q, Role::b_k, Role::b_v}},
      {w_o, {Role::w_o}},
      {b_o, {Role::b_o}},
      {ln2, {Role::ln2}},
      {w_gate_up, {Role::w_gate, Role::w_up}},
      {b_gate_up, {Role::b_gate, Role::b_up}},
      {w_down, {Role::w_down}},
      {b_down, {Role::b_down}},
  };
  for (const auto& [buffer, roles] : parts) stack(weights, layer, roles, buffer);
}

/// What a pass of one group through one block needs to know at every step.
struct Block::Place {
  int layer;
  const PromptGroup& group;
  float* residual;
  const Hooks& hooks;

  void call(Point point, float* data, int64_t row_stride, int64_t first, int64_t count,
            std::vector<int64_t> row_shape) const {
    const HookPoint hook{point, layer};
    if (!hooks.wants(hook)) return;
    row_shape.insert(row_shape.begin(), count);
    hooks.call({hook, group.first_row + first, {data, std::move(row_shape), row_stride}});
  }
  bool wants(Point point) const { return hooks.wants({point, layer}); }
};

Block::Block(const Architecture& architecture, std::span<const int64_t> offsets, int64_t largest_group)
    : architecture_(architecture),
      offsets_(offsets),
      attention_({architecture.n_heads, architecture.n_kv_heads, architecture.head_dim, architecture.attention_scale}),
      rope_(architecture.rope, longest(offsets)) {
  const int64_t d = architecture.d_model, q = architecture.n_heads * architecture.head_dim;
  const int64_t kv = architecture.n_kv_heads * architecture.head_dim, slice = std::min(largest_group, kMlpRows);
  normed_.resize(static_cast<size_t>(largest_group * d));
  update_.resize(static_cast<size_t>(largest_group * d));
  qkv_.resize(static_cast<size_t>(largest_group * (q + 2 * kv)));
  z_.resize(static_cast<size_t>(largest_group * q));
  gate_up_.resize(static_cast<size_t>(slice * 2 * architecture.mlp_width));
  post_.resize(static_cast<size_t>(slice * architecture.mlp_width));
}

void Block::operator()(const BlockWeights& weights, int layer, const PromptGroup& group, float* residual,
                       const Hooks& hooks, SinkAccumulator* sinks) {
  const Place place{layer, group, residual, hooks};
  const int64_t d = architecture_.d_model;
  attention(weights, place, sinks);
  place.call(Point::resid_mid, residual, d, 0, group.rows, {d});
  for (int64_t first = 0; first < group.rows; first += kMlpRows)
    mlp(weights, place, first, std::min(kMlpRows, group.rows - first));
  place.call(Point::resid_post, residual, d, 0, group.rows, {d});
}

void Block::attention(const BlockWeights& weights, const Place& place, SinkAccumulator* sinks) {
  const Architecture& a = architecture_;
  const PromptGroup& group = place.group;
  const int64_t rows = group.rows, d = a.d_model, hd = a.head_dim;
  const int64_t q_size = a.n_heads * hd, kv_size = a.n_kv_heads * hd, stride = q_size + 2 * kv_size;
  const MatrixView q{qkv_.data(), rows, q_size, stride}, k{q.data + q_size, rows, kv_size, stride};
  const MatrixView v{k.data + kv_size, rows, kv_size, stride}, z{z_.data(), rows, q_size, q_size};

  rms_norm(place.residual, rows, d, d, weights.ln1.data(), a.norm_eps, normed_.data(), d);
  place.call(Point::ln1_out, normed_.data(), d, 0, rows, {d});
  linear({normed_.data(), rows, d, d}, weights.w_qkv, weights.b_qkv, {qkv_.data(), rows, stride, stride});
  place.call(Point::q, q.data, stride, 0, rows, {a.n_heads, hd});
  place.call(Point::k, k.data, stride, 0, rows, {a.n_kv_heads, hd});
  place.call(Point::v, v.data, stride, 0, rows, {a.n_kv_heads, hd});
  for (int64_t prompt = group.first_prompt; prompt < group.last_prompt; ++prompt) {
    const int64_t row = offsets_[prompt] - group.first_row, length = offsets_[prompt + 1] - offsets_[prompt];
    rope_.rotate(q.data + row * stride, length, stride, a.n_heads, hd, 0);
    rope_.rotate(k.data + row * stride, length, stride, a.n_kv_heads, hd, 0);
  }
  place.call(Point::rot_q, q.data, stride, 0, rows, {a.n_heads, hd});
  place.call(Point::rot_k, k.data, stride, 0, rows, {a.n_kv_heads, hd});

  const AttentionTensors tensors{q, k, v, z};
  if (place.wants(Point::scores) || place.wants(Point::pattern)) {
    const auto square_hook = [&](Point point) -> SquareHook {
      const HookPoint hook{point, place.layer};
      if (!place.hooks.wants(hook)) return {};
      return [&place, hook, heads = a.n_heads](int64_t prompt, float* square, int64_t length) {
        place.hooks.call({hook, prompt, {square, {heads, length, length}, length * length}});
      };
    };
    attention_.with_squares(tensors, offsets_, group.first_prompt, group.last_prompt, sinks, square_hook(Point::scores),
                            square_hook(Point::pattern));
  } else {
    attention_(tensors, offsets_, group.first_prompt, group.last_prompt, sinks);
  }
  place.call(Point::z, z.data, q_size, 0, rows, {a.n_heads, hd});
  linear(z, weights.w_o, weights.b_o, {update_.data(), rows, d, d});
  place.call(Point::attn_out, update_.data(), d, 0, rows, {d});
  add(update_.data(), rows * d, place.residual);
}

void Block::mlp(const BlockWeights& weights, const Place& place, int64_t first, int64_t count) {
  const Architecture& a = architecture_;
  const int64_t d = a.d_model, width = a.mlp_width;
  float* residual = place.residual + first * d;
  rms_norm(residual, count, d, d, weights.ln2.data(), a.norm_eps, normed_.data(), d);
  place.call(Point::ln2_out, normed_.data(), d, first, count, {d});
  linear({normed_.data(), count, d, d}, weights.w_gate_up, weights.b_gate_up,
         {gate_up_.data(), count, 2 * width, 2 * width});
  place.call(Point::mlp_pre, gate_up_.data(), 2 * width, first, count, {width});
  gated_activation(a.activation, gate_up_.data(), gate_up_.data() + width, count, width, 2 * width, 2 * width,
                   post_.data(), width);
  place.call(Point::mlp_post, post_.data(), width, first, count, {width});
  linear({post_.data(), count, width, width}, weights.w_down, weights.b_down, {update_.data(), count, d, d});
  place.call(Point::mlp_out, update_.data(), d, first, count, {d});
  add(update_.data(), count * d, residual);
}

}  // namespace spikescope
