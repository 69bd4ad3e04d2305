#include "torch/torch_backend.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/api/include/torch/version.h>

namespace {

at::Tensor tensor(const SpikescopeMatrix& m) {
  return at::from_blob(m.data, {m.rows, m.columns}, {m.row_stride, m.column_stride}, at::kFloat);
}

void multiply(SpikescopeMatrix a, SpikescopeMatrix b, SpikescopeMatrix out) {
  at::Tensor result = tensor(out);
  at::mm_out(result, tensor(a), tensor(b));
}

}  // namespace

const SpikescopeTorchBackend* spikescope_torch_backend() {
  static const SpikescopeTorchBackend backend = {multiply, [](int threads) { at::set_num_threads(threads); },
                                                 at::hasMKL(), TORCH_VERSION};
  return &backend;
}
