// Decoders: from the pieces that ids stand for back to text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/json.h"

namespace spikescope {

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Rewrites the pieces in place; the text is the pieces that the last decoder leaves, one after the other.
  virtual void apply(std::vector<std::string>& pieces) const = 0;
};

/// Decoders in the order in which they apply, Sequences unrolled.
using Decoders = std::vector<std::unique_ptr<const Decoder>>;

/// From tokenizer.json's "decoder" (null: none). Throws Error, naming `where`, for what is not supported.
Decoders decoders_from_json(const Json& json, const std::string& where);

}  // namespace spikescope
