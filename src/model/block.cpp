#include "model/block.h"

#include <omp.h>

#include <algorithm>
#include <cstring>

#include "base/parallel.h"
#include "base/profile.h"
#include "model/mlp.h"
#include "model/norm.h"

namespace spikescope {
namespace {

/// Rows that go through the row-wise parts of a block together where somebody looks at what lies between its products.
constexpr int64_t kSliceRows = 1024;

int64_t longest(std::span<const int64_t> offsets) {
  int64_t length = 0;
  for (size_t p = 0; p + 1 < offsets.size(); ++p) length = std::max(length, offsets[p + 1] - offsets[p]);
  return length;
}

void add(const float* update, int64_t count, float* residual) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) residual[i] += update[i];
}

}  // namespace

void Linear::load(const ModelWeights& weights, int layer, std::span<const Role> roles, std::span<const Role> biases) {
  int64_t out = 0;
  for (const Role role : roles) out += weights.shape(role).first;
  const int64_t in = weights.shape(roles[0]).second;
  weight_.reset(in, out);
  int64_t first = 0;
  for (const Role role : roles) {
    const int64_t rows = weights.shape(role).first;
    constexpr int64_t kRows = 32;
    parallel_for((rows + kRows - 1) / kRows, [&](int64_t piece) {
      const int64_t begin = piece * kRows, count = std::min(kRows, rows - begin);
      thread_local std::vector<float> values;
      values.resize(static_cast<size_t>(count * in));
      weights.read_rows(role, layer, begin, count, values.data());
      weight_.set_columns(first + begin, {values.data(), count, in, in});
    });
    first += rows;
  }
  bias_.clear();
  if (std::none_of(biases.begin(), biases.end(), [&](Role role) { return weights.has(role, layer); })) return;
  for (const Role role : biases) {
    const Weight bias = weights.read(role, layer);
    bias_.insert(bias_.end(), bias.values.begin(), bias.values.end());
    if (!bias) bias_.resize(bias_.size() + static_cast<size_t>(weights.shape(role).first), 0.0f);
  }
}

void Linear::operator()(ConstMatrixView x, MatrixView out) const {
  product_on_all_threads(x, weight_, out);
  if (bias_.empty()) return;
  for (int64_t row = 0; row < out.rows; ++row) add(bias_.data(), out.columns, out.data + row * out.stride);
}

void BlockWeights::load(const ModelWeights& weights, int layer) {
  const Span span("weights", layer);
  ln1 = weights.read(Role::ln1, layer).values;
  qkv.load(weights, layer, {{Role::w_q, Role::w_k, Role::w_v}}, {{Role::b_q, Role::b_k, Role::b_v}});
  o.load(weights, layer, {{Role::w_o}}, {{Role::b_o}});
  ln2 = weights.read(Role::ln2, layer).values;
  gate_up.load(weights, layer, {{Role::w_gate, Role::w_up}}, {{Role::b_gate, Role::b_up}});
  down.load(weights, layer, {{Role::w_down}}, {{Role::b_down}});
}

/// What a pass of one group through one block needs to know at every step.
struct Block::Place {
  int layer;
  const PromptGroup& group;
  float* residual;
  const Hooks& hooks;

  bool wants(Point point) const { return hooks.wants({point, layer}); }
  void call(Point point, float* data, int64_t row_stride, int64_t first, int64_t count,
            std::vector<int64_t> row_shape) const {
    if (!wants(point)) return;
    row_shape.insert(row_shape.begin(), count);
    hooks.call({{point, layer}, group.first_row + first, {data, std::move(row_shape), row_stride}});
  }
};

/// Rows of a group that a step works on.
struct Block::Rows {
  int64_t first, count;
  /// Their first row in the buffers for what lies between two products. Where nobody looks at it, a thread has a few
  /// rows of its own there, which stay in its cache.
  int64_t scratch;
};

/// Steps on rows [first, first + count) of a group that look at no other row, with hook points in between. A piece of
/// the rows goes through all steps up to the next point that somebody looks at while it is in its core's cache; then
/// the threads meet, and the hooks see all of the rows.
class Block::Steps {
 public:
  Steps(const Place& place, int64_t first, int64_t count, bool own_scratch)
      : place_(place), first_(first), count_(count), own_scratch_(own_scratch) {}

  /// `part`: the step's name in a profile; `flops`: of its products, a row.
  void add(const char* part, std::function<void(Rows rows)> run, double flops = 0.0) {
    pending_.push_back({part, std::move(run), flops});
  }

  /// A hook point on the group's buffer `data`, of `row_stride` values a row, after the steps so far.
  void point(Point point, float* data, int64_t row_stride, std::vector<int64_t> row_shape) {
    call(point, data + first_ * row_stride, row_stride, std::move(row_shape));
  }
  /// The same on a buffer between two products. Such points are named when the steps are made (for_slices).
  void scratch_point(Point point, Buffer& data, int64_t row_stride, std::vector<int64_t> row_shape) {
    call(point, data.data(), row_stride, std::move(row_shape));
  }

  void run() {
    if (pending_.empty()) return;
    for_row_pieces(count_, [&](int64_t first, int64_t count) {
      const Rows rows{first_ + first, count, own_scratch_ ? omp_get_thread_num() * kRowsAPiece : first};
      for (const Step& step : pending_) {
        const Span span(step.part, place_.layer, step.flops * static_cast<double>(count));
        step.run(rows);
      }
    });
    pending_.clear();
  }

 private:
  struct Step {
    const char* part;
    std::function<void(Rows)> run;
    double flops;
  };
  void call(Point point, float* data, int64_t row_stride, std::vector<int64_t> row_shape) {
    if (!place_.wants(point)) return;
    run();
    const Span span("hooks", place_.layer);
    place_.call(point, data, row_stride, first_, count_, std::move(row_shape));
  }

  const Place& place_;
  int64_t first_, count_;
  bool own_scratch_;
  std::vector<Step> pending_;
};

/// Calls work(steps) for all rows of the group at once, or for one slice after the other where somebody looks at one of
/// these points between two products: then the rows of a slice have to be there together.
template <class Work>
void Block::for_slices(const Place& place, std::initializer_list<Point> scratch_points, const Work& work) {
  const bool seen = std::any_of(scratch_points.begin(), scratch_points.end(), [&](Point p) { return place.wants(p); });
  const int64_t rows = place.group.rows, slice = seen ? kSliceRows : rows;
  for (int64_t first = 0; first < rows; first += slice) {
    Steps steps(place, first, std::min(slice, rows - first), !seen);
    work(steps);
    steps.run();
  }
}

Block::Block(const Architecture& architecture, std::span<const int64_t> offsets, int64_t largest_group)
    : architecture_(architecture),
      offsets_(offsets),
      attention_({architecture.n_heads, architecture.n_kv_heads, architecture.head_dim, architecture.attention_scale}),
      rope_(architecture.rope, longest(offsets)) {
  const int64_t d = architecture.d_model, q = architecture.n_heads * architecture.head_dim;
  const int64_t kv = architecture.n_kv_heads * architecture.head_dim;
  const int64_t scratch = std::max(std::min(largest_group, kSliceRows), threads() * kRowsAPiece);
  qkv_.resize(largest_group * (q + 2 * kv));
  normed_stride_ = left_stride(d);
  z_.resize(largest_group * q);
  normed_.resize(scratch * normed_stride_);
  update_.resize(scratch * d);
  gate_up_.resize(scratch * 2 * architecture.mlp_width);
  post_.resize(scratch * architecture.mlp_width);
}

void Block::operator()(const BlockWeights& weights, int layer, const PromptGroup& group, float* residual,
                       const Hooks& hooks, SinkAccumulator* sinks) {
  const Place place{layer, group, residual, hooks};
  for_slices(place, {Point::ln1_out}, [&](Steps& steps) { projections(weights, place, steps); });
  attention(place, sinks);
  for_slices(place, {Point::attn_out, Point::ln2_out, Point::mlp_pre, Point::mlp_post, Point::mlp_out},
             [&](Steps& steps) { output_and_mlp(weights, place, steps); });
  const Span span("hooks", layer);
  place.call(Point::resid_post, residual, architecture_.d_model, 0, group.rows, {architecture_.d_model});
}

void Block::projections(const BlockWeights& weights, const Place& place, Steps& steps) {
  const Architecture& a = architecture_;
  const int64_t d = a.d_model, hd = a.head_dim, q_size = a.n_heads * hd, kv_size = a.n_kv_heads * hd;
  const int64_t stride = q_size + 2 * kv_size;
  float* const q = qkv_.data();
  float *const k = q + q_size, *const v = k + kv_size;

  add_norm(steps, place, weights.ln1);
  steps.scratch_point(Point::ln1_out, normed_, normed_stride_, {d});
  steps.add(
      "qkv",
      [=, this, &weights](Rows rows) {
        weights.qkv(normed(rows), {q + rows.first * stride, rows.count, stride, stride});
      },
      2.0 * static_cast<double>(d * stride));
  steps.point(Point::q, q, stride, {a.n_heads, hd});
  steps.point(Point::k, k, stride, {a.n_kv_heads, hd});
  steps.point(Point::v, v, stride, {a.n_kv_heads, hd});
  steps.add("rope", [this, &place](Rows rows) { rotate(place, rows.first, rows.count); });
  steps.point(Point::rot_q, q, stride, {a.n_heads, hd});
  steps.point(Point::rot_k, k, stride, {a.n_kv_heads, hd});
}

ConstMatrixView Block::normed(const Rows& rows) const {
  return {normed_.data() + rows.scratch * normed_stride_, rows.count, architecture_.d_model, normed_stride_};
}

void Block::add_norm(Steps& steps, const Place& place, const std::vector<float>& gain) {
  steps.add("norm", [this, d = architecture_.d_model, residual = place.residual, &gain](Rows rows) {
    rms_norm(residual + rows.first * d, rows.count, d, d, gain.data(), architecture_.norm_eps,
             normed_.data() + rows.scratch * normed_stride_, normed_stride_);
  });
}

void Block::add_update(Steps& steps, const Place& place) {
  steps.add("residual", [this, d = architecture_.d_model, residual = place.residual](Rows rows) {
    add(update_.data() + rows.scratch * d, rows.count * d, residual + rows.first * d);
  });
}

/// Turns q and k of the group's rows [first, first + count) by their positions.
void Block::rotate(const Place& place, int64_t first, int64_t count) {
  const Architecture& a = architecture_;
  const int64_t hd = a.head_dim, stride = (a.n_heads + 2 * a.n_kv_heads) * hd;
  const int64_t end = place.group.first_row + first + count;
  for (int64_t token = place.group.first_row + first; token < end;) {
    const auto next = std::upper_bound(offsets_.begin(), offsets_.end(), token);
    const int64_t rows = std::min(end, *next) - token, position = token - *(next - 1);
    float* q = qkv_.data() + (token - place.group.first_row) * stride;
    rope_.rotate(q, rows, stride, a.n_heads, hd, position);
    rope_.rotate(q + a.n_heads * hd, rows, stride, a.n_kv_heads, hd, position);
    token += rows;
  }
}

void Block::attention(const Place& place, SinkAccumulator* sinks) {
  const Architecture& a = architecture_;
  const PromptGroup& group = place.group;
  const int64_t rows = group.rows, hd = a.head_dim;
  const int64_t q_size = a.n_heads * hd, kv_size = a.n_kv_heads * hd, stride = q_size + 2 * kv_size;
  float* const q = qkv_.data();
  const AttentionTensors tensors{{q, rows, q_size, stride},
                                 {q + q_size, rows, kv_size, stride},
                                 {q + q_size + kv_size, rows, kv_size, stride},
                                 {z_.data(), rows, q_size, q_size}};
  if (!place.wants(Point::scores) && !place.wants(Point::pattern)) {
    attention_(tensors, offsets_, group.first_prompt, group.last_prompt, sinks);
    return;
  }
  const auto square_hook = [&](Point point) -> SquareHook {
    if (!place.wants(point)) return {};
    return [&place, point, heads = a.n_heads](int64_t prompt, float* square, int64_t length) {
      place.hooks.call({{point, place.layer}, prompt, {square, {heads, length, length}, length * length}});
    };
  };
  attention_.with_squares(tensors, offsets_, group.first_prompt, group.last_prompt, sinks, square_hook(Point::scores),
                          square_hook(Point::pattern));
}

void Block::output_and_mlp(const BlockWeights& weights, const Place& place, Steps& steps) {
  const Architecture& a = architecture_;
  const int64_t d = a.d_model, width = a.mlp_width, q_size = a.n_heads * a.head_dim;
  const auto update = [this, d](Rows rows) { return MatrixView{update_.data() + rows.scratch * d, rows.count, d, d}; };
  const auto gate_up = [this, width](Rows rows) {
    return MatrixView{gate_up_.data() + rows.scratch * 2 * width, rows.count, 2 * width, 2 * width};
  };
  const auto post = [this, width](Rows rows) {
    return MatrixView{post_.data() + rows.scratch * width, rows.count, width, width};
  };

  steps.point(Point::z, z_.data(), q_size, {a.n_heads, a.head_dim});
  steps.add(
      "attention output",
      [=, this, &weights](Rows rows) {
        weights.o({z_.data() + rows.first * q_size, rows.count, q_size, q_size}, update(rows));
      },
      2.0 * static_cast<double>(d * q_size));
  steps.scratch_point(Point::attn_out, update_, d, {d});
  add_update(steps, place);
  steps.point(Point::resid_mid, place.residual, d, {d});
  add_norm(steps, place, weights.ln2);
  steps.scratch_point(Point::ln2_out, normed_, normed_stride_, {d});
  steps.add(
      "mlp gate, up", [=, this, &weights](Rows rows) { weights.gate_up(normed(rows), gate_up(rows)); },
      4.0 * static_cast<double>(d * width));
  steps.scratch_point(Point::mlp_pre, gate_up_, 2 * width, {width});
  steps.add("activation", [=, this](Rows rows) {
    const float* gate = gate_up(rows).data;
    gated_activation(architecture_.activation, gate, gate + width, rows.count, width, 2 * width, 2 * width,
                     post(rows).data, width);
  });
  steps.scratch_point(Point::mlp_post, post_, width, {width});
  steps.add(
      "mlp down", [=, &weights](Rows rows) { weights.down(post(rows), update(rows)); },
      2.0 * static_cast<double>(d * width));
  steps.scratch_point(Point::mlp_out, update_, d, {d});
  add_update(steps, place);
}

}  // namespace spikescope
