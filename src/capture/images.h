// Images as users give them: pixel values, already resized and normalised as the model wants them.
#pragma once

#include <filesystem>

#include "capture/dump.h"
#include "model/architecture.h"
#include "model/batch.h"

namespace spikescope {

/// The tensor `pixel_values` of a safetensors file, [3, S, S] or [B, 3, S, S]. Throws Error naming file and shape for
/// anything else, and for values that are not finite.
Pixels read_pixels(const std::filesystem::path& path);

/// A prompt an image: its tokens' ids count from 0, their strings say what they are ("[CLS]", "[REG 0]", "patch 3,4":
/// row and column). `source` is recorded.
DumpTokens image_prompts(const Patches& patches, const Pixels& pixels, const std::string& source);

/// What tells whether two runs had the same images.
std::string pixels_fingerprint(const Pixels& pixels);

}  // namespace spikescope
