// How text is cut into words by tokenizers that GGUF files know by a name only (tokenizer.ggml.pre).
#pragma once

#include <string>
#include <string_view>

#include "io/json.h"

namespace spikescope {

/// One row of the table. Components are written as in tokenizer.json.
struct GgufPreTokenizer {
  std::string_view names;  ///< values of tokenizer.ggml.pre, with a space between them
  Json pre_tokenizer;
  Json normalizer;
  bool ignore_merges;  ///< words that are pieces stay whole
  bool add_bos;        ///< where tokenizer.ggml.add_bos_token is missing
};

/// Throws Error, naming `where` and the known names, when there is no such row.
const GgufPreTokenizer& gguf_pre_tokenizer(std::string_view name, const std::string& where);

}  // namespace spikescope
