#include "model/gemm.h"

#include <dlfcn.h>

#include <atomic>
#include <string>

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

void set_blas_threads(int count) {
  if (blas().threads_of_its_own)
    symbol<void (*)(int)>("openblas_set_num_threads")(count);
  else
    torch_backend().set_threads(count);
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
    entry()->set_threads(threads());
    backend_loaded = true;
    return *entry();
  }();
  return backend;
}

// An OpenMP library that LibTorch brings along, as that from PyPI does, knows nothing of our threads and would start
// others for each of them.
const SpikescopeTorchBackend& torch_backend_here() {
  const SpikescopeTorchBackend& backend = torch_backend();
  if (thread_index() > 0) {
    thread_local const bool told = (backend.set_threads(1), true);
    static_cast<void>(told);
  }
  return backend;
}

void multiply_transposed(ConstMatrixView a, ConstMatrixView b, MatrixView out) {
  torch_backend_here().multiply(matrix(a), transposed(b), matrix(out));
}

void multiply(ConstMatrixView a, ConstMatrixView b, MatrixView out) {
  torch_backend_here().multiply(matrix(a), matrix(b), matrix(out));
}

void set_threads(int threads) {
  const int count = threads > 0 ? threads : available_cores();
  set_pool_threads(count);
  if (backend_loaded) torch_backend().set_threads(count);  // else told when it is loaded
}

SerialProducts::SerialProducts() {
  if (!backend_loaded) return;
  serial_ = true;
  set_blas_threads(1);
}

SerialProducts::~SerialProducts() {
  if (serial_) set_blas_threads(threads());
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
