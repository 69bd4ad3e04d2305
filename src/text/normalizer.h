// Normalizers: what happens to text before it is cut into words.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/json.h"
#include "text/charsmap.h"

namespace spikescope {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Changes well-formed UTF-8 text into well-formed UTF-8 text. A result of more than `most` bytes need not be made to
  /// its end.
  virtual void apply(std::string& text, size_t most) const = 0;
};

/// Normalizers in the order in which they apply, Sequences unrolled.
using Normalizers = std::vector<std::unique_ptr<const Normalizer>>;

/// Applies them all. Throws Error, naming the tokenizer `what`, when a text becomes many times longer, which only files
/// made to fill the memory do.
void normalize(const Normalizers& normalizers, std::string& text, const std::string& what);

/// From tokenizer.json's "normalizer" (null: none). Throws Error, naming `where`, for what is not supported.
Normalizers normalizers_from_json(const Json& json, const std::string& where);
/// The one that applies compiled rules ("Precompiled").
Normalizers normalizers_from_charsmap(Charsmap map);

}  // namespace spikescope
