// Quantized weights in the compressed-tensors layout: a line with quantization_config, then a safetensors file of its
// parts, which are joined and unpacked.
#include <algorithm>

#include "families/compressed_tensors.h"
#include "fuzz/fuzz.h"
#include "io/safetensors.h"

using namespace spikescope;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const uint8_t* const end = data + size;
  const uint8_t* const line = std::find(data, end, '\n');
  if (line == end) return 0;
  return fuzz::refused_or_read([&] {
    const Json config = {{"quantization_config", parse_json(std::string(data, line), "fuzz")}};
    std::optional<Quantization> quantization = read_quantization(config, "fuzz");
    if (!quantization) return;
    const SafetensorsFile file = read_safetensors(fuzz::file_with(line + 1, static_cast<size_t>(end - line - 1)));
    const TensorTable joined = join_quantized(file.tensors, *quantization, "fuzz");
    fuzz::read_tensors(joined);
    quantization->text();
    to_json(*quantization);
  });
}
