// A GGUF's tokenizer written as Hugging Face's tokenizer.json.
#pragma once

#include <optional>
#include <string>

#include "io/json.h"

namespace spikescope {

struct TokenizerFiles {
  Json tokenizer;  ///< tokenizer.json
  Json config;     ///< tokenizer_config.json
};

/// Of byte-level BPE ("gpt2"); nothing for other kinds, whose rules tokenizer.json says in another way. `what` names
/// the file in messages. Throws Error as Tokenizer::from_gguf does.
std::optional<TokenizerFiles> tokenizer_files_of_gguf(const Json& metadata, const std::string& what);

}  // namespace spikescope
