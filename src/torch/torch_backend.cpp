#include "torch/torch_backend.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/api/include/torch/version.h>

#include <algorithm>
#include <cstring>
#include <vector>

/// For one of the two ways to multiply.
struct SpikescopeInt8Weight {
  int64_t out, in;
  c10::IValue packed;
  at::Tensor scales, zero_points;  ///< beside `packed` where it does not hold them
};

namespace {

using torch::jit::Stack;

at::Tensor tensor(const SpikescopeMatrix& m) {
  return at::from_blob(m.data, {m.rows, m.columns}, {m.row_stride, m.column_stride}, at::kFloat);
}

void multiply(SpikescopeMatrix a, SpikescopeMatrix b, SpikescopeMatrix out) {
  at::Tensor result = tensor(out);
  at::mm_out(result, tensor(a), tensor(b));
}

/// Operators of int8 products are found by name: which there are depends on LibTorch's version and how it was built.
c10::OperatorHandle operation(const char* name) { return c10::Dispatcher::singleton().findSchemaOrThrow(name, ""); }

c10::IValue call(const c10::OperatorHandle& operation, Stack stack) {
  const c10::InferenceMode mode;
  operation.callBoxed(&stack);
  return std::move(stack.front());
}

at::Tensor int8_tensor(const int8_t* values, int64_t rows, int64_t columns) {
  return at::from_blob(const_cast<int8_t*>(values), {rows, columns}, at::kChar);
}

void copy_rows(const at::Tensor& from, const SpikescopeMatrix& to) {
  const float* values = from.data_ptr<float>();
  for (int64_t row = 0; row < to.rows; ++row)
    std::memcpy(to.data + row * to.row_stride, values + row * to.columns,
                static_cast<size_t>(to.columns) * sizeof(float));
}

void release(SpikescopeInt8Weight* weight) { delete weight; }

constexpr const char *kPrepack = "quantized::linear_prepack", *kDynamic = "quantized::linear_dynamic";

/// Weights for quantized::linear_dynamic, which all versions and engines have.
template <at::QEngine engine>
SpikescopeInt8Weight* prepare_dynamic(const int8_t* weights, const float* scales, int64_t out, int64_t in) {
  at::globalContext().setQEngine(engine);
  const c10::InferenceMode mode;
  const at::Tensor of_rows = at::from_blob(const_cast<float*>(scales), {out}, at::kFloat).to(at::kDouble);
  at::Tensor quantized = at::_empty_per_channel_affine_quantized({out, in}, of_rows, at::zeros({out}, at::kLong), 0,
                                                                 at::TensorOptions().dtype(at::kQInt8));
  std::memcpy(quantized.data_ptr(), weights, static_cast<size_t>(out * in));
  return new SpikescopeInt8Weight{out, in, call(operation(kPrepack), {quantized, c10::IValue()}), {}, {}};
}

/// The operator takes floats and makes a grid for them that covers the lowest and the highest. It is given whole
/// numbers and two more rows with the ends of 8 bits, so that the grid has the scale 1, and the numbers stay what they
/// are.
void multiply_dynamic(const SpikescopeInt8Weight* weight, const uint8_t* rows, int zero, SpikescopeMatrix out) {
  static const c10::OperatorHandle linear = operation(kDynamic);
  const int64_t in = weight->in, count = out.rows * in;
  at::Tensor input = at::empty({out.rows + 2, in}, at::kFloat);
  float* const values = input.data_ptr<float>();
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(static_cast<int>(rows[i]) - zero);
  std::fill_n(values + count, 2 * in, 0.0f);
  values[count] = static_cast<float>(-zero);
  values[count + in] = static_cast<float>(255 - zero);
  copy_rows(call(linear, {input, weight->packed, false}).toTensor(), out);
}

constexpr const char *kPointwisePrepack = "onednn::qlinear_prepack", *kPointwise = "onednn::qlinear_pointwise";
constexpr size_t kPointwiseArguments = 13;

/// Weights for onednn::qlinear_pointwise of LibTorch 2, which takes whole numbers as they are.
SpikescopeInt8Weight* prepare_pointwise(const int8_t* weights, const float* scales, int64_t out, int64_t in) {
  constexpr int64_t kRows = 256;  // for which the order of the weights is chosen
  const c10::InferenceMode mode;
  const c10::List<int64_t> shape({kRows, in});
  const at::Tensor of_rows = at::from_blob(const_cast<float*>(scales), {out}, at::kFloat).clone();
  return new SpikescopeInt8Weight{out, in, call(operation(kPointwisePrepack), {int8_tensor(weights, out, in), shape}),
                                  of_rows, at::zeros({out}, at::kInt)};
}

void multiply_pointwise(const SpikescopeInt8Weight* weight, const uint8_t* rows, int zero, SpikescopeMatrix out) {
  static const c10::OperatorHandle linear = operation(kPointwise);
  const at::Tensor input = at::from_blob(const_cast<uint8_t*>(rows), {out.rows, weight->in}, at::kByte);
  const c10::impl::GenericList no_arguments(c10::OptionalType::create(c10::NumberType::get()));
  copy_rows(call(linear, {input, 1.0, static_cast<int64_t>(zero), weight->packed, weight->scales, weight->zero_points,
                          c10::IValue(), 1.0, int64_t{0}, at::kFloat, "none", no_arguments, ""})
                .toTensor(),
            out);
}

bool has_operation(const char* name, size_t arguments = 0) {
  const auto found = c10::Dispatcher::singleton().findSchema({name, ""});
  return found && (arguments == 0 || found->schema().arguments().size() == arguments);
}

std::vector<SpikescopeInt8Kernel> int8_kernels() {
  const std::vector<at::QEngine>& engines = at::globalContext().supportedQEngines();
  const auto has_engine = [&](at::QEngine engine) {
    return std::find(engines.begin(), engines.end(), engine) != engines.end();
  };
  const bool dynamic = has_operation(kPrepack) && has_operation(kDynamic);
  std::vector<SpikescopeInt8Kernel> kernels;
  if (has_engine(at::kONEDNN) && has_operation(kPointwisePrepack) && has_operation(kPointwise, kPointwiseArguments))
    kernels.push_back({"onednn", kPointwise, prepare_pointwise, multiply_pointwise, release});
  else if (has_engine(at::kONEDNN) && dynamic)
    kernels.push_back({"onednn", kDynamic, prepare_dynamic<at::kONEDNN>, multiply_dynamic, release});
  if (has_engine(at::kFBGEMM) && dynamic)
    kernels.push_back({"fbgemm", kDynamic, prepare_dynamic<at::kFBGEMM>, multiply_dynamic, release});
  return kernels;
}

}  // namespace

const SpikescopeTorchBackend* spikescope_torch_backend() {
  static const std::vector<SpikescopeInt8Kernel> kernels = int8_kernels();
  static const SpikescopeTorchBackend backend = {multiply,       [](int threads) { at::set_num_threads(threads); },
                                                 at::hasMKL(),   TORCH_VERSION,
                                                 kernels.data(), static_cast<int64_t>(kernels.size())};
  return &backend;
}
