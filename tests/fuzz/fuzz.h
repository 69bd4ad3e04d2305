// What the fuzz targets share: the input as a file, and what counts as a finding.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "io/tensor_table.h"

namespace spikescope::fuzz {

/// A file in memory with these bytes, under a path that programs can open. One at a time.
inline std::filesystem::path file_with(const uint8_t* data, size_t size) {
  static const int descriptor = memfd_create("fuzz", 0);
  if (descriptor < 0 || ftruncate(descriptor, 0) != 0 || pwrite(descriptor, data, size, 0) != static_cast<ssize_t>(size))
    std::abort();
  return "/proc/self/fd/" + std::to_string(descriptor);
}

/// Runs `work`. An Error is how bad input is to be refused, in one line; whatever else it throws is a finding.
template <class Work>
int refused_or_read(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
  }
  return 0;
}

/// Converts the tensors that are small enough for a fuzzer.
inline void read_tensors(const TensorTable& tensors) {
  for (const TensorInfo& tensor : tensors.tensors())
    if (tensor.readable() && tensor.values() < (1 << 16)) read_tensor(tensor);
}

}  // namespace spikescope::fuzz
