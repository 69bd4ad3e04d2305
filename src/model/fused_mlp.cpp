#include "model/fused_mlp.h"

#include <algorithm>

#include "base/buffer.h"
#include "model/mlp.h"

namespace spikescope {
namespace {

/// What a thread may keep near at a time: most of a second-level cache of 2 MiB.
constexpr int64_t kNearBytes = 1900 << 10;
/// Fewer columns than this, and reading and writing `out` for each of them costs more than is gained.
constexpr int64_t kFewestColumns = 192;
constexpr int64_t kColumnStep = 32;  // of product_part

}  // namespace

int64_t fused_mlp_columns(const Architecture& a, int64_t rows) {
  if (!sums_go_on() || a.mlp_width % kColumnStep != 0) return 0;
  const int64_t left = Panels::bytes(1), floats = static_cast<int64_t>(sizeof(float));
  const int64_t a_row = kNearBytes / std::max<int64_t>(rows, 1) - a.d_model * (left + floats);
  const int64_t columns = a_row / ((a.gated ? 2 : 1) * floats + left) / kColumnStep * kColumnStep;
  return columns < kFewestColumns ? 0 : std::min(columns, a.mlp_width);
}

void fused_mlp(const Architecture& a, const Linear& gate_up, const Linear& down, ConstMatrixView x, MatrixView out) {
  thread_local LeftSide in, post;
  thread_local Buffer pre, activated;
  const int64_t most = fused_mlp_columns(a, x.rows), width = a.mlp_width, kinds = a.gated ? 2 : 1;
  const int64_t stride = kinds * most;
  pre.resize(x.rows * stride);
  activated.resize(most);
  in.reset(x.rows, x.columns);
  for (int64_t r = 0; r < x.rows; ++r) in.set_row(r, x.data + r * x.stride);
  for (int64_t first = 0; first < width; first += most) {
    const int64_t columns = std::min(most, width - first);
    for (int64_t kind = 0; kind < kinds; ++kind)
      gate_up.columns(in, kind * width + first, {pre.data() + kind * most, x.rows, columns, stride});
    post.reset(x.rows, columns);
    for (int64_t r = 0; r < x.rows; ++r) {
      const float* gate = pre.data() + r * stride;
      if (a.gated)
        gated_activation(a.activation, gate, gate + most, 1, columns, 0, 0, activated.data(), 0);
      else
        plain_activation(a.activation, gate, 1, columns, 0, activated.data(), 0);
      post.set_row(r, activated.data());
    }
    down.add_inner(post, first, out, first == 0, first + columns == width);
  }
}

}  // namespace spikescope
