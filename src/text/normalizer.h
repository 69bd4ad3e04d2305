// Normalizers: what happens to text before it is cut into words.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/json.h"

namespace spikescope {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Changes well-formed UTF-8 text into well-formed UTF-8 text.
  virtual void apply(std::string& text) const = 0;
};

/// Normalizers in the order in which they apply, Sequences unrolled.
using Normalizers = std::vector<std::unique_ptr<const Normalizer>>;

/// From tokenizer.json's "normalizer" (null: none). Throws Error, naming `where`, for what is not supported.
Normalizers normalizers_from_json(const Json& json, const std::string& where);

}  // namespace spikescope
