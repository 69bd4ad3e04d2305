// What model/gemm.cpp and model/int8_product.cpp ask of LibTorch. It lives in a library of its own, loaded at the first
// product: LibTorch takes a good part of a second to load, which inspect, tokenize or --help need not wait for.
#pragma once

#include <cstdint>

extern "C" {

struct SpikescopeMatrix {
  float* data;
  int64_t rows, columns, row_stride, column_stride;
};

/// A weight of whole numbers in the order in which a kernel reads it.
struct SpikescopeInt8Weight;

/// One of LibTorch's engines for products of whole numbers of 8 bits.
struct SpikescopeInt8Kernel {
  const char* name;       ///< "onednn", "fbgemm"
  const char* operation;  ///< what computes: "quantized::linear_dynamic", ...
  /// Weights [out, in], and what each output's sum of products is multiplied with, [out].
  SpikescopeInt8Weight* (*prepare)(const int8_t* weights, const float* scales, int64_t out, int64_t in);
  /// out[r, o] = scale[o] * sum over i of (rows[r, i] - zero) * weight[o, i]; `rows` is [out.rows, in], one after the
  /// other. Several threads may call it.
  void (*multiply)(const SpikescopeInt8Weight* weight, const uint8_t* rows, int zero, SpikescopeMatrix out);
  void (*release)(SpikescopeInt8Weight* weight);
};

struct SpikescopeTorchBackend {
  /// out = a b.
  void (*multiply)(SpikescopeMatrix a, SpikescopeMatrix b, SpikescopeMatrix out);
  void (*set_threads)(int threads);
  bool has_mkl;
  const char* version;
  /// Those that this build of LibTorch has, the best first.
  const SpikescopeInt8Kernel* int8_kernels;
  int64_t int8_kernel_count;
};

/// The only symbol of the library.
const SpikescopeTorchBackend* spikescope_torch_backend();
}
