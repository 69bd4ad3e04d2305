#include "model/int8_product.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "base/fail.h"
#include "base/nearest_whole.h"
#include "base/vectorized.h"
#include "model/torch_library.h"

namespace spikescope {
namespace {

std::span<const SpikescopeInt8Kernel> kernels_of_torch() {
  return {torch_backend().int8_kernels, static_cast<size_t>(torch_backend().int8_kernel_count)};
}

const SpikescopeInt8Kernel*& chosen_int8() {
  static const SpikescopeInt8Kernel* chosen = nullptr;
  return chosen;
}

const SpikescopeInt8Kernel& int8_at_work() {
  if (!chosen_int8()) choose_int8_kernel();
  return *chosen_int8();
}

/// `low`, `high`: the ends of the grid over the scale, as in quant/quantizer.cpp.
SPIKESCOPE_VECTORIZED
void round_to_bytes(const float* values, int64_t count, float inverse, float low, float high, float zero,
                    uint8_t* out) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i)
    out[i] = static_cast<uint8_t>(
        static_cast<int>(nearest_whole(std::min(std::max(values[i] * inverse, low), high)) + zero));
}

SPIKESCOPE_VECTORIZED
float largest_of_row(const float* values, int64_t count) {
  float largest = 0.0f;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(values[i]));
  return largest;
}

SPIKESCOPE_VECTORIZED
void scale_row(float factor, float* values, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) values[i] *= factor;
}

}  // namespace

void Int8Weight::reset(std::span<const int8_t> values, std::span<const float> scales) {
  const SpikescopeInt8Kernel& kernel = int8_at_work();
  out_ = static_cast<int64_t>(scales.size());
  in_ = static_cast<int64_t>(values.size()) / out_;
  kernel_ = &kernel;
  prepared_.reset(kernel.prepare(values.data(), scales.data(), out_, in_), kernel.release);
}

void Int8Weight::multiply(const uint8_t* rows, int zero, MatrixView out) const {
  torch_backend_here();
  kernel_->multiply(prepared_.get(), rows, zero, {out.data, out.rows, out.columns, out.stride, 1});
}

void Int8Product::reset(const Int8Inputs& inputs, std::span<const int8_t> values, std::span<const float> scales) {
  inputs_ = inputs;
  std::vector<float> factors(scales.begin(), scales.end());
  // A scale known beforehand costs nothing.
  if (inputs.kind == Int8Inputs::Scale::fixed)
    for (float& factor : factors) factor *= inputs.scale;
  weight_.reset(values, factors);
}

void Int8Product::operator()(ConstMatrixView x, MatrixView out) const {
  thread_local std::vector<uint8_t> bytes;
  thread_local std::vector<float> scales;
  bytes.resize(static_cast<size_t>(x.rows * x.columns));
  scales.resize(static_cast<size_t>(x.rows));
  for (int64_t row = 0; row < x.rows; ++row)
    scales[static_cast<size_t>(row)] =
        to_int8(x.data + row * x.stride, x.columns, inputs_, bytes.data() + row * x.columns);
  weight_.multiply(bytes.data(), inputs_.zero, out);
  if (inputs_.kind == Int8Inputs::Scale::row)
    for (int64_t row = 0; row < x.rows; ++row)
      scale_row(scales[static_cast<size_t>(row)], out.data + row * out.stride, out.columns);
}

float to_int8(const float* values, int64_t count, const Int8Inputs& inputs, uint8_t* out) {
  const auto low = static_cast<float>(inputs.lowest - inputs.zero),
             high = static_cast<float>(inputs.highest - inputs.zero);
  float scale = inputs.scale;
  // As Quantizer::symmetric makes it of a clip.
  if (inputs.kind == Int8Inputs::Scale::row)
    scale = std::max(static_cast<float>(static_cast<double>(largest_of_row(values, count)) / (high + 0.5)), 1e-30f);
  round_to_bytes(values, count, 1.0f / scale, low, high, static_cast<float>(inputs.zero), out);
  return scale;
}

std::vector<std::string> int8_kernels() {
  std::vector<std::string> names;
  for (const SpikescopeInt8Kernel& kernel : kernels_of_torch()) names.emplace_back(kernel.name);
  return names;
}

void choose_int8_kernel(const std::string& name) {
  const char* const wished = std::getenv("SPIKESCOPE_INT8");
  const std::string wanted = !name.empty() ? name : wished ? wished : "";
  if (kernels_of_torch().empty())
    fail(
        "LibTorch {} has no kernels for products of 8 bits (no oneDNN, no FBGEMM): install one that has, or compute "
        "without --real",
        torch_backend().version);
  for (const SpikescopeInt8Kernel& kernel : kernels_of_torch())
    if (wanted.empty() || wanted == kernel.name) {
      chosen_int8() = &kernel;
      return;
    }
  fail("SPIKESCOPE_INT8={}: LibTorch {} has {} for products of 8 bits", wanted, torch_backend().version,
       fmt::join(int8_kernels(), ", "));
}

std::string int8_kernel() {
  const SpikescopeInt8Kernel& kernel = int8_at_work();
  return fmt::format("{} ({} of LibTorch {})", kernel.name, kernel.operation, torch_backend().version);
}

double int8_error(int input_bits, int64_t rows, int64_t inner, int64_t columns) {
  const int highest = (1 << input_bits) - 1, zero = 1 << (input_bits - 1);
  std::vector<uint8_t> left(static_cast<size_t>(rows * inner));
  std::vector<int8_t> right(static_cast<size_t>(columns * inner));
  std::vector<float> scales(static_cast<size_t>(columns), 1.0f), out(static_cast<size_t>(rows * columns));
  uint32_t state = 1;
  const auto random = [&state](int count) {
    state = state * 1664525u + 1013904223u;
    return static_cast<int>((state >> 8) % static_cast<uint32_t>(count));
  };
  for (uint8_t& value : left) value = static_cast<uint8_t>(random(highest + 1));
  for (int8_t& value : right) value = static_cast<int8_t>(random(256) - 128);
  // What needs the most bits.
  std::fill_n(left.begin(), inner, static_cast<uint8_t>(highest));
  std::fill_n(right.begin(), inner, int8_t{127});
  if (columns > 1) std::fill_n(right.begin() + inner, inner, int8_t{-128});
  Int8Weight weight;
  weight.reset(right, scales);
  weight.multiply(left.data(), zero, {out.data(), rows, columns, columns});
  double worst = 0.0;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) {
      int64_t sum = 0;
      for (int64_t i = 0; i < inner; ++i)
        sum += (left[static_cast<size_t>(r * inner + i)] - zero) * right[static_cast<size_t>(c * inner + i)];
      const double error =
          std::abs(static_cast<double>(out[static_cast<size_t>(r * columns + c)]) - static_cast<double>(sum));
      const double bound = 0x1p-23 * std::max(std::abs(static_cast<double>(sum)), 1.0);
      worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(worst, error / bound);
    }
  return worst;
}

void check_int8_products(int input_bits) {
  if (int8_error(input_bits) <= 1.0) return;
  fail("{} computes wrong sums with inputs of {} bits on this processor{}", int8_kernel(), input_bits,
       input_bits > 7 && int8_error(7) <= 1.0
           ? ": without VNNI it adds pairs of products in 16 bits, which they overflow; use --bits-activation 7"
           : "; try another with SPIKESCOPE_INT8, or compute without --real");
}

}  // namespace spikescope
