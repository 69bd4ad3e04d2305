#include "model/block.h"

#include <algorithm>

#include "base/parallel.h"
#include "base/profile.h"
#include "model/fused_mlp.h"
#include "model/mlp.h"
#include "model/rows.h"

namespace spikescope {
namespace {

/// Rows that go through the row-wise parts of a block together where somebody looks at what lies between its products.
constexpr int64_t kSliceRows = 1024;

}  // namespace

void BlockWeights::load(const ModelWeights& weights, int layer, const BlockInt8Inputs& int8) {
  const Span span("weights", layer);
  const Architecture& a = weights.architecture();
  ln1.load(weights, layer, Role::ln1, Role::ln1_bias);
  if (a.latent)
    latent.load(weights, layer);
  else
    qkv.load(weights, {{{Role::w_q, layer}, {Role::w_k, layer}, {Role::w_v, layer}}},
             {{{Role::b_q, layer}, {Role::b_k, layer}, {Role::b_v, layer}}}, int8.attn_in);
  q_norm.load_rms(weights, layer, Role::q_norm);
  k_norm.load_rms(weights, layer, Role::k_norm);
  o.load(weights, {{{Role::w_o, layer}}}, {{{Role::b_o, layer}}}, int8.o_in);
  ln1_post.load_rms(weights, layer, Role::ln1_post);
  ln1_scale = weights.read(Role::ln1_scale, layer).values;
  ln2.load(weights, layer, Role::ln2, Role::ln2_bias);
  if (weights.has(Role::w_gate, layer))
    gate_up.load(weights, {{{Role::w_gate, layer}, {Role::w_up, layer}}},
                 {{{Role::b_gate, layer}, {Role::b_up, layer}}}, int8.mlp_in);
  else if (weights.has(Role::w_up, layer))
    gate_up.load(weights, {{{Role::w_up, layer}}}, {{{Role::b_up, layer}}}, int8.mlp_in);
  if (weights.has(Role::w_down, layer))
    down.load(weights, {{{Role::w_down, layer}}}, {{{Role::b_down, layer}}}, int8.down_in);
  ln2_post.load_rms(weights, layer, Role::ln2_post);
  ln2_scale = weights.read(Role::ln2_scale, layer).values;
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

/// What attention or MLP gives, [rows, d], on its way into the residual stream.
struct Block::Update {
  Buffer& values;
  const Norm& post;                 ///< of what is given
  const std::vector<float>& scale;  ///< empty: none
  Point point, post_point, scaled_point;
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
      const Rows rows{first_ + first, count, own_scratch_ ? thread_index() * kRowsAPiece : first};
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

Block::Block(const ModelWeights& weights, const PromptLayout& prompts, int64_t largest_group)
    : architecture_(weights.architecture()), prompts_(prompts), experts_(weights) {
  const Architecture& a = architecture_;
  for (const Rope& rope : a.ropes) ropes_.emplace_back(rope, prompts.longest());
  const int64_t scratch = std::max(std::min(largest_group, kSliceRows), threads() * kRowsAPiece);
  qkv_.resize(largest_group * (a.q_size() + a.k_size() + a.v_size()));
  normed_stride_ = left_stride(a.d_model);
  z_.resize(largest_group * a.z_size());
  normed_.resize((a.shared_norm ? std::max(largest_group, scratch) : scratch) * normed_stride_);
  update_.resize(scratch * a.d_model);
  gate_up_.resize(scratch * (a.gated ? 2 : 1) * a.mlp_width);
  post_.resize(scratch * a.mlp_width);
}

void Block::operator()(const BlockWeights& weights, int layer, const PromptGroup& group, float* residual,
                       const Hooks& hooks, SinkAccumulator* sinks) {
  const Place place{layer, group, residual, hooks};
  const bool experts = architecture_.blocks[static_cast<size_t>(layer)].experts;
  for_slices(place, {Point::ln1_out}, [&](Steps& steps) { projections(weights, place, steps); });
  attention(place, sinks);
  for_slices(place,
             {Point::attn_out, Point::ln1_post_out, Point::attn_scaled, Point::ln2_out, Point::mlp_pre, Point::mlp_post,
              Point::mlp_out, Point::ln2_post_out, Point::mlp_scaled},
             [&](Steps& steps) {
               // In a parallel block the MLP reads what attention has not been added to.
               if (architecture_.parallel) mlp_norm(weights, place, steps);
               attention_output(weights, place, steps);
               if (experts) return;
               if (!architecture_.parallel) mlp_norm(weights, place, steps);
               mlp(weights, place, steps);
             });
  if (!experts) call_resid_post(place);
}

void Block::call_resid_post(const Place& place) {
  const Span span("hooks", place.layer);
  place.call(Point::resid_post, place.residual, architecture_.d_model, 0, place.group.rows, {architecture_.d_model});
}

/// What attention, or the MLP, reads: the norm's values, or the residual stream where no norm comes before.
ConstMatrixView Block::block_input(const Place& place, const Rows& rows) const {
  const int64_t d = architecture_.d_model;
  if (!architecture_.norms_before()) return {place.residual + rows.first * d, rows.count, d, d};
  return {normed_.data() + normed_row(rows) * normed_stride_, rows.count, d, normed_stride_};
}

int64_t Block::normed_row(const Rows& rows) const { return architecture_.shared_norm ? rows.first : rows.scratch; }

void Block::projections(const BlockWeights& weights, const Place& place, Steps& steps) {
  const Architecture& a = architecture_;
  const int64_t d = a.d_model, stride = a.q_size() + a.k_size() + a.v_size();
  float* const q = qkv_.data();
  float *const k = q + a.q_size(), *const v = k + a.k_size();

  if (a.norms_before()) {
    steps.add("norm", [this, d, &weights, &place](Rows rows) {
      weights.ln1(place.residual + rows.first * d, rows.count, d, normed_.data() + normed_row(rows) * normed_stride_,
                  normed_stride_);
    });
    normed_point(Point::ln1_out, steps);
  }
  steps.add(
      "qkv",
      [=, this, &a, &weights, &place](Rows rows) {
        const MatrixView out{q + rows.first * stride, rows.count, stride, stride};
        if (a.latent)
          weights.latent(a, block_input(place, rows), out);
        else
          weights.qkv(block_input(place, rows), out);
        if (a.qkv_clip > 0.0) clip_rows(static_cast<float>(a.qkv_clip), out);
      },
      a.latent ? weights.latent.flops() : weights.qkv.flops());
  steps.point(Point::q, q, stride, {a.n_heads, a.head_dim});
  steps.point(Point::k, k, stride, {a.n_kv_heads, a.head_dim});
  steps.point(Point::v, v, stride, {a.n_kv_heads, a.v_dim()});
  if (a.qk_norm != QkNorm::none) {
    steps.add("norm", [=, this, &weights](Rows rows) { norm_queries_and_keys(weights, rows); });
    steps.point(Point::q_normed, q, stride, {a.n_heads, a.head_dim});
    steps.point(Point::k_normed, k, stride, {a.n_kv_heads, a.head_dim});
  }
  if (const int rope = a.blocks[static_cast<size_t>(place.layer)].rope; rope >= 0 && !ropes_.empty())
    steps.add("rope", [this, &place, rope](Rows rows) {
      rotate(place, ropes_[static_cast<size_t>(rope)], rows.first, rows.count);
    });
  steps.point(Point::rot_q, q, stride, {a.n_heads, a.head_dim});
  steps.point(Point::rot_k, k, stride, {a.n_kv_heads, a.head_dim});
}

void Block::norm_queries_and_keys(const BlockWeights& weights, const Rows& rows) {
  const Architecture& a = architecture_;
  const int64_t stride = a.q_size() + a.k_size() + a.v_size();
  for (int64_t row = rows.first; row < rows.first + rows.count; ++row) {
    float *q = qkv_.data() + row * stride, *k = q + a.q_size();
    const bool heads = a.qk_norm == QkNorm::head;
    weights.q_norm(q, heads ? a.n_heads : 1, a.head_dim, q, a.head_dim);
    weights.k_norm(k, heads ? a.n_kv_heads : 1, a.head_dim, k, a.head_dim);
  }
}

/// Turns q and k of the group's rows [first, first + count) by their positions.
void Block::rotate(const Place& place, const RopeTable& rope, int64_t first, int64_t count) {
  const Architecture& a = architecture_;
  const int64_t stride = a.q_size() + a.k_size() + a.v_size();
  const int64_t end = place.group.first_row + first + count;
  for (int64_t token = place.group.first_row + first; token < end;) {
    const auto next = std::upper_bound(prompts_.offsets.begin(), prompts_.offsets.end(), token);
    const int64_t rows = std::min(end, *next) - token;
    const int64_t position = prompts_.base(next - prompts_.offsets.begin() - 1) + token - *(next - 1);
    float* q = qkv_.data() + (token - place.group.first_row) * stride;
    rope.rotate(q, rows, stride, a.n_heads, a.head_dim, position);
    rope.rotate(q + a.q_size(), rows, stride, a.n_kv_heads, a.head_dim, position);
    token += rows;
  }
}

void Block::attention(const Place& place, SinkAccumulator* sinks) {
  const Architecture& a = architecture_;
  const PromptGroup& group = place.group;
  const int64_t rows = group.rows, stride = a.q_size() + a.k_size() + a.v_size();
  float* const q = qkv_.data();
  const AttentionShape shape = attention_shape(a, place.layer);
  const AttentionTensors tensors{{q, rows, a.q_size(), stride},
                                 {q + a.q_size(), rows, a.k_size(), stride},
                                 {q + a.q_size() + a.k_size(), rows, a.v_size(), stride},
                                 {z_.data(), rows, a.z_size(), a.z_size()}};
  if (!place.wants(Point::scores) && !place.wants(Point::pattern)) {
    attention_(shape, tensors, prompts_, group.first_prompt, group.last_prompt, sinks,
               place.hooks.attention_bias(place.layer));
    return;
  }
  const auto square_hook = [&](Point point) -> SquareHook {
    if (!place.wants(point)) return {};
    return [&place, point, heads = a.n_heads](int64_t prompt, float* square, int64_t length) {
      place.hooks.call({{point, place.layer}, prompt, {square, {heads, length, length}, length * length}});
    };
  };
  attention_.with_squares(shape, tensors, prompts_.offsets, group.first_prompt, group.last_prompt, sinks,
                          square_hook(Point::scores), square_hook(Point::pattern));
}

void Block::attention_output(const BlockWeights& weights, const Place& place, Steps& steps) {
  const Architecture& a = architecture_;
  const int64_t d = a.d_model, z_size = a.z_size();
  steps.point(Point::z, z_.data(), z_size, {a.n_heads, a.v_dim()});
  steps.add(
      "attention output",
      [=, this, &weights](Rows rows) {
        weights.o({z_.data() + rows.first * z_size, rows.count, z_size, z_size},
                  {update_.data() + rows.scratch * d, rows.count, d, d});
      },
      weights.o.flops());
  add_update({update_, weights.ln1_post, weights.ln1_scale, Point::attn_out, Point::ln1_post_out, Point::attn_scaled},
             place, steps);
  if (a.norm_places == NormPlaces::after) norm_residual(weights.ln1, Point::ln1_out, place, steps);
  if (!a.parallel) steps.point(Point::resid_mid, place.residual, d, {d});
}

/// What attention or MLP gives goes through the norm and the factors that the architecture has for it and is added.
void Block::add_update(const Update& update, const Place& place, Steps& steps) {
  const int64_t d = architecture_.d_model;
  const auto rows_of = [d, data = update.values.data()](const Rows& rows) {
    return MatrixView{data + rows.scratch * d, rows.count, d, d};
  };
  steps.scratch_point(update.point, update.values, d, {d});
  if (architecture_.norms_of_branch()) {
    steps.add("norm", [=, &norm = update.post](Rows rows) {
      const MatrixView values = rows_of(rows);
      norm(values.data, values.rows, d, values.data, d);
    });
    steps.scratch_point(update.post_point, update.values, d, {d});
  }
  if (architecture_.layer_scale) {
    steps.add("residual", [=, &scale = update.scale](Rows rows) { scale_rows(scale.data(), rows_of(rows)); });
    steps.scratch_point(update.scaled_point, update.values, d, {d});
  }
  steps.add("residual", [=, residual = place.residual](Rows rows) {
    add(rows_of(rows).data, rows.count * d, residual + rows.first * d);
  });
}

void Block::norm_residual(const Norm& norm, Point point, const Place& place, Steps& steps) {
  const int64_t d = architecture_.d_model;
  steps.add("norm", [d, &norm, residual = place.residual](Rows rows) {
    norm(residual + rows.first * d, rows.count, d, residual + rows.first * d, d);
  });
  steps.point(point, place.residual, d, {d});
}

void Block::mlp_norm(const BlockWeights& weights, const Place& place, Steps& steps) {
  const Architecture& a = architecture_;
  if (!a.norms_before() || a.shared_norm) return;
  steps.add("norm", [this, d = a.d_model, &weights, &place](Rows rows) {
    weights.ln2(place.residual + rows.first * d, rows.count, d, normed_.data() + rows.scratch * normed_stride_,
                normed_stride_);
  });
  normed_point(Point::ln2_out, steps);
}

void Block::normed_point(Point point, Steps& steps) {
  const int64_t d = architecture_.d_model;
  if (architecture_.shared_norm)
    steps.point(point, normed_.data(), normed_stride_, {d});
  else
    steps.scratch_point(point, normed_, normed_stride_, {d});
}

void Block::mlp(const BlockWeights& weights, const Place& place, Steps& steps) {
  const Architecture& a = architecture_;
  const int64_t d = a.d_model, width = a.mlp_width, pre = (a.gated ? 2 : 1) * width;
  const auto gate_up = [this, pre](const Rows& rows) {
    return MatrixView{gate_up_.data() + rows.scratch * pre, rows.count, pre, pre};
  };
  const auto post = [this, width](const Rows& rows) {
    return MatrixView{post_.data() + rows.scratch * width, rows.count, width, width};
  };
  const bool int8 = weights.gate_up.in_int8() || weights.down.in_int8();
  if (!place.wants(Point::mlp_pre) && !place.wants(Point::mlp_post) && !int8 && fused_mlp_columns(a, kRowsAPiece) > 0) {
    steps.add(
        "mlp",
        [=, this, &a, &weights, &place](Rows rows) {
          fused_mlp(a, weights.gate_up, weights.down, block_input(place, rows),
                    {update_.data() + rows.scratch * d, rows.count, d, d});
        },
        weights.gate_up.flops() + weights.down.flops());
    return add_mlp_update(weights, update_, place, steps);
  }
  steps.add(
      "mlp gate, up",
      [=, this, &weights, &place](Rows rows) { weights.gate_up(block_input(place, rows), gate_up(rows)); },
      weights.gate_up.flops());
  steps.scratch_point(Point::mlp_pre, gate_up_, pre, {width});
  steps.add("activation", [=, &a](Rows rows) {
    const float* gate = gate_up(rows).data;
    if (a.gated)
      gated_activation(a.activation, gate, gate + width, rows.count, width, pre, pre, post(rows).data, width);
    else
      plain_activation(a.activation, gate, rows.count, width, pre, post(rows).data, width);
  });
  steps.scratch_point(Point::mlp_post, post_, width, {width});
  steps.add(
      "mlp down",
      [=, this, &weights](Rows rows) {
        weights.down(post(rows), {update_.data() + rows.scratch * d, rows.count, d, d});
      },
      weights.down.flops());
  add_mlp_update(weights, update_, place, steps);
}

void Block::add_mlp_update(const BlockWeights& weights, Buffer& values, const Place& place, Steps& steps) {
  add_update({values, weights.ln2_post, weights.ln2_scale, Point::mlp_out, Point::ln2_post_out, Point::mlp_scaled},
             place, steps);
  if (architecture_.norm_places == NormPlaces::after) norm_residual(weights.ln2, Point::ln2_out, place, steps);
}

void Block::mixture(const BlockWeights& weights, int layer, const PromptGroup& all, float* residual,
                    const Hooks& hooks) {
  const Architecture& a = architecture_;
  const int64_t d = a.d_model, n = all.rows;
  const Place place{layer, all, residual, hooks};
  Buffer normed(n * d), update(n * d);
  for_row_pieces(n, [&](int64_t first, int64_t count) {
    weights.ln2(residual + first * d, count, d, normed.data() + first * d, d);
  });
  place.call(Point::ln2_out, normed.data(), d, 0, n, {d});
  const ConstMatrixView x(normed.data(), n, d, d);
  std::vector<float> logits = experts_.logits(layer, x);
  place.call(Point::router_logits, logits.data(), a.experts.count, 0, n, {a.experts.count});
  Routing routing = experts_.route(layer, std::move(logits));
  place.call(Point::router_weights, routing.weights.data(), a.experts.per_token, 0, n, {a.experts.per_token});
  if (place.wants(Point::router_indices)) {
    std::vector<float> indices(routing.indices.begin(), routing.indices.end());
    place.call(Point::router_indices, indices.data(), a.experts.per_token, 0, n, {a.experts.per_token});
  }
  experts_(layer, routing, x, {update.data(), n, d, d});
  Steps steps(place, 0, n, false);
  add_mlp_update(weights, update, place, steps);
  steps.run();
  call_resid_post(place);
}

}  // namespace spikescope
