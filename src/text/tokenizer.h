// Text to token ids and back, equal to Hugging Face's tokenizers, from tokenizer.json or from GGUF metadata.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace spikescope {

class Tokenizer {
 public:
  /// From the contents of tokenizer.json; `config` is tokenizer_config.json where there is one (null otherwise): its
  /// add_bos_token and bos_token count where the post-processor is silent. `what` names the file in messages. Throws
  /// Error naming what is not supported (a model type, a normalizer) or broken (a merge that names an unknown token).
  static Tokenizer from_json(const Json& tokenizer, const Json& config, const std::string& what);
  /// From a GGUF's metadata (tokenizer.ggml.*). Throws Error as above; a GGUF without a tokenizer is an Error that says
  /// so.
  static Tokenizer from_gguf(const Json& metadata, const std::string& what);
  /// From a Hugging Face folder (tokenizer.json, tokenizer_config.json) or a GGUF file.
  static Tokenizer from_path(const std::filesystem::path& path);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of a UTF-8 text. Special tokens written in the text are recognised, as Hugging Face does. With `special`, what
  /// the tokenizer's own post-processing adds (BOS, EOS, ...) is added. Throws Error for invalid UTF-8, naming the
  /// byte.
  std::vector<int64_t> encode(std::string_view text, bool special = true) const;
  /// Text of ids; bytes that are not valid UTF-8 become U+FFFD. Throws Error for an id outside the vocabulary.
  std::string decode(std::span<const int64_t> ids, bool skip_special = false) const;
  /// The piece as the vocabulary spells it ("Ġthe", "▁the"). Throws Error for an id outside the vocabulary.
  std::string piece(int64_t id) const;

  int64_t size() const;                ///< highest id + 1, added tokens included
  std::optional<int64_t> bos() const;  ///< the BOS token, where the tokenizer names one
  bool adds_bos() const;               ///< whether encode(text, true) begins with it
  std::string description() const;     ///< a line for `inspect`: kind, size, merges, special tokens

  struct Impl;  ///< internal: text/tokenizer_impl.h

 private:
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace spikescope
