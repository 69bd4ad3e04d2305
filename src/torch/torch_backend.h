// What model/gemm.cpp asks of LibTorch. It lives in a library of its own, loaded at the first product: LibTorch takes a
// good part of a second to load, which inspect, tokenize or --help need not wait for.
#pragma once

#include <cstdint>

extern "C" {

struct SpikescopeMatrix {
  float* data;
  int64_t rows, columns, row_stride, column_stride;
};

struct SpikescopeTorchBackend {
  /// out = a b.
  void (*multiply)(SpikescopeMatrix a, SpikescopeMatrix b, SpikescopeMatrix out);
  void (*set_threads)(int threads);
  bool has_mkl;
  const char* version;
};

/// The only symbol of the library.
const SpikescopeTorchBackend* spikescope_torch_backend();
}
