// A safetensors file.
#include "io/safetensors.h"

#include "fuzz/fuzz.h"

using namespace spikescope;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::refused_or_read([&] { fuzz::read_tensors(read_safetensors(fuzz::file_with(data, size)).tensors); });
}
