// The parts of a tokenizer, as tokenizer_json.cpp and tokenizer_gguf.cpp put them together.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace spikescope {

struct Tokenizer::Impl {
  std::string what;  ///< names the tokenizer in messages
  AddedTokens added;
  Normalizers normalizers;
  PreTokenizers pre_tokenizers;
  std::shared_ptr<const Vocabulary>
      vocabulary;  ///< the model's pieces, without the added tokens that only the file lists
  std::unique_ptr<const Model> model;
  SpecialTokens special;
  Decoders decoders;
  std::optional<int64_t> bos;

  /// A text as the normalizers change it.
  std::string normalized(std::string text) const {
    normalize(normalizers, text, what);
    return text;
  }
  /// nullptr when no piece has the id.
  const std::string* piece(int64_t id) const;
  /// Id of an added token or a piece of the model; nothing when it is neither.
  std::optional<int64_t> find(const std::string& piece) const;
  void encode_between_tokens(std::string_view text, bool at_start, Workspace& workspace,
                             std::vector<int64_t>& ids) const;
  void encode(std::string_view text, Workspace& workspace, std::vector<int64_t>& ids) const;

  /// Shared by calls that come one at a time; a call that finds it taken works with its own.
  mutable std::mutex workspace_mutex;
  mutable Workspace workspace;
};

}  // namespace spikescope
