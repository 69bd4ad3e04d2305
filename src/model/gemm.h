// Matrix products, by whatever BLAS LibTorch was built with (torch/torch_backend.h).
#pragma once

#include <cstdint>
#include <string>

#include "base/parallel.h"

namespace spikescope {

/// Row-major values somebody else owns; rows at a distance of `stride` values.
struct MatrixView {
  float* data = nullptr;
  int64_t rows = 0, columns = 0, stride = 0;
};
struct ConstMatrixView {
  const float* data = nullptr;
  int64_t rows = 0, columns = 0, stride = 0;

  ConstMatrixView(const float* data, int64_t rows, int64_t columns, int64_t stride)
      : data(data), rows(rows), columns(columns), stride(stride) {}
  ConstMatrixView(const MatrixView& m) : data(m.data), rows(m.rows), columns(m.columns), stride(m.stride) {}
};

/// out = a b^T: [m, k] x [n, k] -> [m, n]. The shape of a linear layer, with b its weight [out, in].
void multiply_transposed(ConstMatrixView a, ConstMatrixView b, MatrixView out);
/// out = a b: [m, k] x [k, n] -> [m, n].
void multiply(ConstMatrixView a, ConstMatrixView b, MatrixView out);

/// Threads for products and for the project's own loops. 0: the cores this process may really use (affinity and
/// cgroup).
void set_threads(int threads);

/// While alive, products on this process run on the calling thread alone, so that several threads can call them side by
/// side: a BLAS has threads of its own and has to be told.
class SerialProducts {
 public:
  SerialProducts();
  ~SerialProducts();
  SerialProducts(const SerialProducts&) = delete;
  SerialProducts& operator=(const SerialProducts&) = delete;

 private:
  bool serial_ = false;
};

/// The BLAS behind the products.
struct Blas {
  std::string name;                 ///< "OpenBLAS 0.3.21 SkylakeX", "MKL", "unknown"
  std::string torch;                ///< LibTorch's version
  bool fast = true;                 ///< false: no optimised BLAS was found
  bool threads_of_its_own = false;  ///< OpenBLAS's pthread build, whose threads spin against OpenMP's
};
Blas blas();

}  // namespace spikescope
