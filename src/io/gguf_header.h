// One GGUF file's header: what read_gguf joins. Internal to io.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "io/json.h"
#include "io/tensor_table.h"

namespace spikescope {

struct GgufHeader {
  int version = 0;
  Json metadata = Json::object();
  std::vector<TensorInfo> tensors;  ///< their bytes are parts of the span that was parsed
};

/// Parses and checks a whole file given as bytes; `file` names it in messages. Throws Error as read_gguf does.
GgufHeader parse_gguf_header(std::span<const std::byte> bytes, const std::string& file);

}  // namespace spikescope
