#include "model/gemm.h"

#include <dlfcn.h>
#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "base/fail.h"
#include "model/torch_library.h"

namespace spikescope {
namespace {

constexpr const char* kTorchLibrary = "libspikescope_torch.so";

std::atomic<bool> backend_loaded = false;

/// Folder of the library or program that holds this code.
std::string own_folder() {
  Dl_info info{};
  if (!dladdr(reinterpret_cast<void*>(&own_folder), &info) || !info.dli_fname) return ".";
  const std::string path = info.dli_fname;
  return path.substr(0, path.rfind('/'));
}

SpikescopeMatrix matrix(const ConstMatrixView& m) {
  // The products read their inputs only; LibTorch has no view of constant values.
  return {const_cast<float*>(m.data), m.rows, m.columns, m.stride, 1};
}
SpikescopeMatrix transposed(const ConstMatrixView& m) {
  return {const_cast<float*>(m.data), m.columns, m.rows, 1, m.stride};
}

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
  if (const double quota = cgroup_cores(); quota > 0)
    cores = std::min(cores, std::max(1, static_cast<int>(std::lround(quota))));
  return std::max(1, cores);
}

}  // namespace

const SpikescopeTorchBackend& torch_backend() {
  static const SpikescopeTorchBackend& backend = [&]() -> const SpikescopeTorchBackend& {
    // Global, so that the BLAS behind LibTorch can be asked about itself.
    void* library = dlopen(kTorchLibrary, RTLD_LAZY | RTLD_GLOBAL);
    // Under AddressSanitizer, which calls dlopen in our place, our own search path does not count.
    for (const char* up : {"/", "/../"})
      if (!library) library = dlopen((own_folder() + up + kTorchLibrary).c_str(), RTLD_LAZY | RTLD_GLOBAL);
    if (!library) fail("cannot load LibTorch: {}; is it installed where Spikescope was built against it?", dlerror());
    const auto entry =
        reinterpret_cast<decltype(&spikescope_torch_backend)>(dlsym(library, "spikescope_torch_backend"));
    if (!entry) fail("libspikescope_torch.so is not Spikescope's: {}", dlerror());
    entry()->set_threads(omp_get_max_threads());
    backend_loaded = true;
    return *entry();
  }();
  return backend;
}

void multiply_transposed(ConstMatrixView a, ConstMatrixView b, MatrixView out) {
  torch_backend().multiply(matrix(a), transposed(b), matrix(out));
}

void multiply(ConstMatrixView a, ConstMatrixView b, MatrixView out) {
  torch_backend().multiply(matrix(a), matrix(b), matrix(out));
}

void set_threads(int threads) {
  const int count = threads > 0 ? threads : available_cores();
  omp_set_num_threads(count);
  if (backend_loaded) torch_backend().set_threads(count);  // else told when it is loaded
}

int threads() { return omp_get_max_threads(); }

SerialProducts::SerialProducts() {
  if (!backend_loaded || !blas().threads_of_its_own) return;
  before_ = symbol<int (*)()>("openblas_get_num_threads")();
  symbol<void (*)(int)>("openblas_set_num_threads")(1);
}

SerialProducts::~SerialProducts() {
  if (before_ > 0) symbol<void (*)(int)>("openblas_set_num_threads")(before_);
}

Blas blas() {
  static const Blas found = [] {
    Blas result;
    result.torch = torch_backend().version;
    const auto config = symbol<char* (*)()>("openblas_get_config");
    const auto core = symbol<char* (*)()>("openblas_get_corename");
    const auto parallel = symbol<int (*)()>("openblas_get_parallel");
    if (torch_backend().has_mkl) {
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
