#include <fmt/format.h>

#include <array>
#include <chrono>
#include <vector>

#include "cli/command.h"
#include "model/gemm.h"
#include "model/product.h"

namespace spikescope {
namespace {

struct Shape {
  int64_t rows, inner, columns;
};
/// A few rows, the products of a small model's block and of a wide one, and what is no multiple of anything.
constexpr std::array kShapes = {Shape{1, 576, 960}, Shape{64, 576, 3072}, Shape{64, 1536, 576}, Shape{30, 4096, 1024},
                                Shape{131, 1031, 257}};

/// GFLOP/s of a layer's product on all threads.
double rate() {
  const int64_t rows = 1024, inner = 1024, columns = 1024;
  // Values with all bits of a mantissa, since some kernels are faster with few.
  std::vector<float> left(static_cast<size_t>(rows * inner), 0.3f), right(static_cast<size_t>(inner * columns), 0.7f);
  std::vector<float> out(static_cast<size_t>(rows * columns));
  Panels panels;
  panels.reset(inner, columns);
  panels.set_rows({right.data(), inner, columns, columns});
  double best = 0.0;
  for (int repetition = 0; repetition < 5; ++repetition) {
    const auto began = std::chrono::steady_clock::now();
    for_row_pieces(rows, [&](int64_t first, int64_t count) {
      product({left.data() + first * inner, count, inner, inner}, panels,
              {out.data() + first * columns, count, columns, columns});
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    best = std::max(best, 2e-9 * static_cast<double>(rows * inner * columns) / seconds);
  }
  return best;
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
  if (session.json)
    fmt::print("{}\n",
               json_text({{"sound", sound}, {"threads", threads()}, {"blas", blas().name}, {"products", rows}}));
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
  CLI::App* command = app.add_subcommand("selftest", "Check this machine's matrix products against float64");
  command->footer(R"(Examples:
  spikescope selftest                        every kernel this machine has, how exact and how fast
  SPIKESCOPE_KERNEL=avx2 spikescope run ...  compute with that one

A short form of it runs before every capture.)");
  command->callback([&session] { session.action = [&session] { return selftest(session); }; });
}

}  // namespace spikescope
