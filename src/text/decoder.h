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
  /// Rewrites the pieces in place; the text is the pieces that the last decoder leaves, one after the other. A result
  /// of more than `most` bytes need not be made to its end.
  virtual void apply(std::vector<std::string>& pieces, size_t most) const = 0;
};

/// Decoders in the order in which they apply, Sequences unrolled.
using Decoders = std::vector<std::unique_ptr<const Decoder>>;

/// Applies them all. Throws Error, naming the tokenizer `what`, when the pieces become many times longer, which only
/// files made to fill the memory do.
void decode_pieces(const Decoders& decoders, std::vector<std::string>& pieces, const std::string& what);

/// From tokenizer.json's "decoder" (null: none). Throws Error, naming `where`, for what is not supported.
Decoders decoders_from_json(const Json& json, const std::string& where);

}  // namespace spikescope
