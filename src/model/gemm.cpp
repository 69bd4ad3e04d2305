#include "model/gemm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <dlfcn.h>
#include <omp.h>
#include <sched.h>
#include <torch/csrc/api/include/torch/version.h>

#include <algorithm>
#include <cmath>
#include <fstream>

namespace spikescope {
namespace {

at::Tensor tensor(const float* data, int64_t rows, int64_t columns, int64_t stride) {
  // The products read their inputs only; from_blob has no const form.
  return at::from_blob(const_cast<float*>(data), {rows, columns}, {stride, 1}, at::kFloat);
}
at::Tensor tensor(const ConstMatrixView& m) { return tensor(m.data, m.rows, m.columns, m.stride); }

template <class Function>
Function symbol(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

/// CPU quota of the cgroup in cores; 0 when there is none.
double cgroup_cores() {
  std::ifstream unified("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (unified >> quota >> period && quota != "max" && period > 0) return std::stod(quota) / period;
  return 0;
}

int available_cores() {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : omp_get_num_procs();
  if (const double quota = cgroup_cores(); quota > 0) cores = std::min(cores, std::max(1, static_cast<int>(std::lround(quota))));
  return std::max(1, cores);
}

}  // namespace

void multiply_transposed(ConstMatrixView a, ConstMatrixView b, MatrixView out) {
  at::Tensor result = tensor(ConstMatrixView(out));
  at::mm_out(result, tensor(a), tensor(b).t());
}

void multiply(ConstMatrixView a, ConstMatrixView b, MatrixView out) {
  at::Tensor result = tensor(ConstMatrixView(out));
  at::mm_out(result, tensor(a), tensor(b));
}

void set_threads(int threads) {
  const int count = threads > 0 ? threads : available_cores();
  at::set_num_threads(count);
  omp_set_num_threads(count);
}

int threads() { return omp_get_max_threads(); }

SerialProducts::SerialProducts() {
  if (!blas().threads_of_its_own) return;
  before_ = symbol<int (*)()>("openblas_get_num_threads")();
  symbol<void (*)(int)>("openblas_set_num_threads")(1);
}

SerialProducts::~SerialProducts() {
  if (before_ > 0) symbol<void (*)(int)>("openblas_set_num_threads")(before_);
}

Blas blas() {
  static const Blas found = [] {
    Blas result;
    result.torch = TORCH_VERSION;
    const auto config = symbol<char* (*)()>("openblas_get_config");
    const auto core = symbol<char* (*)()>("openblas_get_corename");
    const auto parallel = symbol<int (*)()>("openblas_get_parallel");
    if (at::hasMKL()) {
      result.name = "MKL";
    } else if (config && core) {
      const std::string text = config();
      result.name = text.substr(0, text.find(' ', text.find(' ') + 1)) + " " + core();
      result.threads_of_its_own = parallel && parallel() == 1;
    } else {
      result.name = "unknown";
      result.fast = false;
    }
    return result;
  }();
  return found;
}

}  // namespace spikescope
