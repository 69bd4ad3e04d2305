#include "capture/images.h"

#include <fmt/ranges.h>

#include <cmath>

#include "base/fail.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "model/patch_embedding.h"

namespace spikescope {

Pixels read_pixels(const std::filesystem::path& path) {
  constexpr int64_t kMostImages = 1 << 16, kMostChannels = 64, kLargestSide = 1 << 14;
  const SafetensorsFile file = read_safetensors(path);
  const TensorInfo& tensor = file.tensors.require("pixel_values");
  std::vector<int64_t> shape = tensor.shape;
  if (shape.size() == 3) shape.insert(shape.begin(), 1);
  const bool good = shape.size() == 4 && shape[2] == shape[3] && shape[0] >= 1 && shape[0] <= kMostImages &&
                    shape[1] >= 1 && shape[1] <= kMostChannels && shape[2] >= 1 && shape[2] <= kLargestSide;
  if (!good)
    fail(
        "{}: pixel_values has the shape [{}]; expected [channels, S, S] or [images, channels, S, S], square and not "
        "empty",
        path.string(), fmt::join(tensor.shape, ", "));
  Pixels pixels{shape[0], shape[1], shape[2], read_tensor(tensor)};
  for (size_t i = 0; i < pixels.values.size(); ++i)
    if (!std::isfinite(pixels.values[i]))
      fail("{}: pixel_values holds {} at value {}; expected finite numbers", path.string(), pixels.values[i], i);
  return pixels;
}

DumpTokens image_prompts(const Patches& patches, const Pixels& pixels, const std::string& source) {
  const int64_t grid = pixels.side / patches.size;
  std::vector<std::string> strings;
  if (patches.cls) strings.emplace_back("[CLS]");
  if (patches.distillation) strings.emplace_back("[DIST]");
  for (int64_t i = 0; i < patches.registers; ++i) strings.push_back(fmt::format("[REG {}]", i));
  for (int64_t row = 0; row < grid; ++row)
    for (int64_t column = 0; column < grid; ++column) strings.push_back(fmt::format("patch {},{}", row, column));

  DumpTokens tokens;
  tokens.offsets = {0};
  for (int64_t image = 0; image < pixels.images; ++image) {
    for (size_t i = 0; i < strings.size(); ++i) tokens.ids.push_back(static_cast<int64_t>(i));
    tokens.strings.insert(tokens.strings.end(), strings.begin(), strings.end());
    tokens.offsets.push_back(tokens.size());
    tokens.prompts.push_back({{"source", source}, {"image", image}});
  }
  return tokens;
}

std::string pixels_fingerprint(const Pixels& pixels) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(pixels.values)));
  return hash.hex();
}

}  // namespace spikescope
