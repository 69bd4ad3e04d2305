// A tokenizer's parts in GGUF metadata (tokenizer.ggml.*), checked as they are read. Internal to text.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/component.h"
#include "text/tokenizer_impl.h"
#include "text/vocabulary.h"

namespace spikescope {

/// Values of tokenizer.ggml.token_type.
enum TokenType : int64_t { kUndefined = 0, kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct GgufSource {
  const Json& metadata;
  const std::string& what;  ///< names the file in messages

  std::string where(std::string_view key) const { return fmt::format("{}: {}", what, key); }
  bool has(std::string_view key) const { return json_optional(metadata, key) != nullptr; }
  const Json& array(std::string_view key) const { return json_array(metadata, key, what); }
  bool flag(std::string_view key, bool fallback) const { return json_get_or<bool>(metadata, key, fallback, what); }
  /// The id under `key`, which must be one of `pieces`; nothing when the key is missing.
  std::optional<int64_t> token_id(std::string_view key, int64_t pieces) const;
  /// tokenizer.ggml.scores, one number for each piece.
  std::vector<double> scores(size_t pieces) const;
};

struct GgufPieces {
  std::shared_ptr<const Vocabulary> vocabulary;
  std::vector<int64_t> types;     ///< a TokenType for each id
  std::vector<AddedToken> added;  ///< control tokens, unknown ones and user-defined pieces
};

/// How a piece that a file has as `text` is spelled in the vocabulary.
using GgufSpelling = std::function<std::string(const std::string& text, int64_t type)>;

/// tokenizer.ggml.tokens and their types. Throws Error, naming file, key and place.
GgufPieces read_gguf_pieces(const GgufSource& source, const GgufSpelling& spelling = nullptr);

/// What counts where the file is silent.
struct GgufDefaults {
  std::optional<int64_t> bos = {}, eos = {};
  bool add_bos = false, add_eos = false;
};
/// Sets what is put around texts, from add_bos_token, bos_token_id and the like.
void set_gguf_special_tokens(const GgufSource& source, Tokenizer::Impl& parts, const GgufDefaults& defaults);

}  // namespace spikescope
