// Prompts as a pass takes them.
#pragma once

#include <cstdint>
#include <vector>

namespace spikescope {

/// Square images, normalised as the model wants them.
struct Pixels {
  int64_t images = 0, channels = 0, side = 0;
  std::vector<float> values;  ///< [images, channels, side, side]
};

/// Prompts, one after the other: texts, or images.
struct TokenBatch {
  std::vector<int64_t> ids;      ///< [N]; of images not looked at
  std::vector<int64_t> offsets;  ///< [prompts + 1], from 0 to N; no prompt is empty
  Pixels pixels = {};            ///< an image a prompt, for models of images
  /// [prompts] or empty. Prompt p goes on from prompt parents[p], or from none (-1): its first token stands behind the
  /// parent's last one and sees all of them. So prompts that begin alike can share the rows of their beginning. A parent
  /// goes on from none itself, and those that go on from it come right behind it.
  std::vector<int64_t> parents = {};
};

}  // namespace spikescope
