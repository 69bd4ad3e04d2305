#include <fmt/format.h>

#include <array>
#include <chrono>
#include <vector>

#include "cli/command.h"
#include "model/gemm.h"
#include "model/int8_product.h"
#include "model/product.h"

namespace spikescope {
namespace {

struct Shape {
  int64_t rows, inner, columns;
};
/// A few rows, the products of a small model's block and of a wide one, and what is no multiple of anything.
constexpr std::array kShapes = {Shape{1, 576, 960}, Shape{64, 576, 3072}, Shape{64, 1536, 576}, Shape{30, 4096, 1024},
                                Shape{131, 1031, 257}};

/// Rows, columns and inner size of the layer that is timed.
constexpr int64_t kTimed = 1024;

/// Billions of multiplications and additions a second of that layer, on all threads; `multiply(x, out)` does some rows.
template <class Multiply>
double rate_of(const Multiply& multiply) {
  // Values with all bits of a mantissa, since some kernels are faster with few.
  std::vector<float> left(kTimed * kTimed, 0.3f), out(kTimed * kTimed);
  double best = 0.0;
  for (int repetition = 0; repetition < 5; ++repetition) {
    const auto began = std::chrono::steady_clock::now();
    for_row_pieces(kTimed, [&](int64_t first, int64_t count) {
      multiply(ConstMatrixView(left.data() + first * kTimed, count, kTimed, kTimed),
               MatrixView{out.data() + first * kTimed, count, kTimed, kTimed});
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    best = std::max(best, 2e-9 * static_cast<double>(kTimed * kTimed * kTimed) / seconds);
  }
  return best;
}

double rate() {
  const std::vector<float> right(kTimed * kTimed, 0.7f);
  Panels panels;
  panels.reset(kTimed, kTimed);
  panels.set_rows({right.data(), kTimed, kTimed, kTimed});
  return rate_of([&](ConstMatrixView x, MatrixView out) { product(x, panels, out); });
}

double int8_rate() {
  const std::vector<int8_t> right(kTimed * kTimed, 77);
  Int8Product layer;
  layer.reset({.kind = Int8Inputs::Scale::fixed, .scale = 0.01f}, right, std::vector<float>(kTimed, 0.01f));
  return rate_of([&](ConstMatrixView x, MatrixView out) { layer(x, out); });
}

/// LibTorch's kernels for whole numbers; false where one is wrong even with inputs of 7 bits.
bool test_int8(const Session& session, Json& rows) {
  bool sound = true;
  for (const std::string& kernel : int8_kernels()) {
    choose_int8_kernel(kernel);
    const double error = int8_error(8), with_7_bits = int8_error(7);
    sound &= with_7_bits <= 1.0;
    rows.push_back({{"kernel", kernel},
                    {"computed_by", int8_kernel()},
                    {"error", error},
                    {"error_7_bits", with_7_bits},
                    {"gflops", int8_rate()}});
    if (!session.json)
      fmt::print("{:<10} {:<12} {:>14.3f} {:>10.0f}{}\n", "int8", kernel, error, rows.back()["gflops"].get<double>(),
                 error <= 1.0         ? ""
                 : with_7_bits <= 1.0 ? "  only inputs of 7 bits: adds in 16 bits"
                                      : "  WRONG");
  }
  return sound;
}

int selftest(const Session& session) {
  set_threads(session.threads);
  Json rows = Json::array();
  bool sound = true;
  if (!session.json) fmt::print("{:<10} {:<12} {:>14} {:>10}\n", "precision", "kernel", "error / bound", "GFLOP/s");
  for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16})
    for (const std::string& kernel : product_kernels(dtype)) {
      choose_products(dtype, kernel);
      double error = 0.0;
      for (const Shape& shape : kShapes) error = std::max(error, product_error(shape.rows, shape.inner, shape.columns));
      sound &= error <= 1.0;
      rows.push_back({{"dtype", dtype_name(dtype)}, {"kernel", kernel}, {"error", error}, {"gflops", rate()}});
      if (!session.json)
        fmt::print("{:<10} {:<12} {:>14.3f} {:>10.0f}{}\n", dtype_name(dtype), kernel, error,
                   rows.back()["gflops"].get<double>(), error <= 1.0 ? "" : "  WRONG");
    }
  Json int8_rows = Json::array();
  sound &= test_int8(session, int8_rows);
  if (session.json)
    fmt::print("{}\n", json_text({{"sound", sound},
                                  {"threads", threads()},
                                  {"blas", blas().name},
                                  {"products", rows},
                                  {"int8", int8_rows}}));
  else
    fmt::print("{}; {} threads, LibTorch {} with {}\n",
               sound ? "all products are right"
                     : "products are WRONG: choose a kernel that is right with SPIKESCOPE_KERNEL; for blas, set "
                       "OPENBLAS_CORETYPE (e.g. Haswell) or install another BLAS",
               threads(), blas().torch, blas().name);
  return sound ? 0 : 1;
}

}  // namespace

void add_selftest(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand(
      "selftest", "Check this machine's matrix products against float64, those of 8 bits against whole numbers");
  command->footer(R"(Examples:
  spikescope selftest                        every kernel this machine has, how exact and how fast
  SPIKESCOPE_KERNEL=avx2 spikescope run ...  compute with that one

A short form of it runs before every capture.)");
  command->callback([&session] { session.action = [&session] { return selftest(session); }; });
}

}  // namespace spikescope
