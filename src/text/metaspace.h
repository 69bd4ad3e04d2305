// SentencePiece's mark for a space, as a pre-tokenizer puts it in and a decoder takes it out.
#pragma once

#include <string>

#include "io/json.h"

namespace spikescope {

enum class MetaspacePrepend { kAlways, kFirst, kNever };

struct MetaspaceOptions {
  std::string replacement;  ///< one character, usually U+2581
  MetaspacePrepend prepend = MetaspacePrepend::kAlways;
  bool split = true;
};

/// From {"type": "Metaspace", ...}, in today's form (prepend_scheme, split) or the older one (add_prefix_space). Throws
/// Error, naming `where`.
MetaspaceOptions metaspace_from_json(const Json& json, const std::string& where);

}  // namespace spikescope
