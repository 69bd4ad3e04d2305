// Tokenizers from Hugging Face's tokenizer.json. "truncation" and "padding" in it are settings for making batches,
// which transformers overrides at every call; they are not looked at.
#include "base/fail.h"
#include "io/printable.h"
#include "text/bpe.h"
#include "text/component.h"
#include "text/tokenizer_impl.h"
#include "text/unigram.h"
#include "text/word_piece.h"

namespace spikescope {
namespace {

const Json& member(const Json& json, std::string_view key) {
  static const Json kNull;
  const Json* value = json_optional(json, key);
  return value ? *value : kNull;
}

std::shared_ptr<const Vocabulary> vocabulary_from_json(const Json& model, const std::string& where) {
  const Json& table = member(model, "vocab");
  if (!table.is_object()) fail("{}: expected an object under \"vocab\" that gives every piece its id", where);
  auto vocabulary = std::make_shared<Vocabulary>(table.size(), where + ".vocab");
  for (const auto& [piece, id] : table.items()) {
    if (!id.is_number_integer() || (id.is_number_unsigned() && id.get<uint64_t>() > INT64_MAX)) {
      fail("{}.vocab: the id of \"{}\" should be an integer from 0 on; correct the file or fetch it again", where,
           printable(piece));
    }
    vocabulary->add(piece, id.get<int64_t>());
  }
  return vocabulary;
}

std::vector<AddedToken> added_tokens_from_json(const Json& json, const Vocabulary& vocabulary,
                                               const std::string& what) {
  std::vector<AddedToken> tokens;
  if (member(json, "added_tokens").is_null()) return tokens;
  const Json& list = json_array(json, "added_tokens", what);
  Vocabulary others(list.size() + static_cast<size_t>(vocabulary.size()), what + ": added_tokens");  // checks ids
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = fmt::format("{}: added_tokens[{}]", what, i);
    AddedToken token;
    token.content = json_get<std::string>(list[i], "content", where);
    token.special = json_get_or<bool>(list[i], "special", false, where);
    token.normalized = json_get_or<bool>(list[i], "normalized", !token.special, where);
    token.lstrip = json_get_or<bool>(list[i], "lstrip", false, where);
    token.rstrip = json_get_or<bool>(list[i], "rstrip", false, where);
    token.single_word = json_get_or<bool>(list[i], "single_word", false, where);
    if (token.content.empty()) continue;
    check_added_token(token, where);
    token.id = json_get<int64_t>(list[i], "id", where);
    if (const int64_t known = vocabulary.find(token.content); known >= 0) {
      token.id = known;  // as the library does, whatever the entry says
    } else if (const std::string* owner = vocabulary.piece(token.id)) {
      fail("{}: \"{}\" has the id {}, which belongs to \"{}\"; correct the file or fetch it again", where,
           printable(token.content), token.id, printable(*owner));
    }
    if (others.find(token.content) != token.id) others.add(token.content, token.id);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

using SharedVocabulary = std::shared_ptr<const Vocabulary>;
struct ModelRow {
  std::string_view type;
  std::string_view mark;  // a key that tells the type in old files, which leave it out
  SharedVocabulary (*vocabulary)(const Json& model, const std::string& where);
  bool spells_bytes;  // can do what PreTokenizers::spell_bytes_last leaves to it
  std::unique_ptr<const Model> (*make)(const Json& model, SharedVocabulary vocabulary, bool spell_bytes,
                                       const std::string& where);
};
constexpr ModelRow kModels[] = {
    {"BPE", "merges", vocabulary_from_json, true, bpe_from_json},
    {"WordPiece", "max_input_chars_per_word", vocabulary_from_json, false,
     [](const Json& model, SharedVocabulary vocabulary, bool, const std::string& where) {
       return word_piece_from_json(model, std::move(vocabulary), where);
     }},
    {"Unigram", "unk_id", unigram_vocabulary_from_json, false,
     [](const Json& model, SharedVocabulary vocabulary, bool, const std::string& where) {
       return unigram_from_json(model, std::move(vocabulary), where);
     }},
};

const ModelRow& model_row(const Json& model, const std::string& where) {
  const auto type = json_get_or<std::string>(model, "type", "", where);
  std::string known;
  for (const ModelRow& row : kModels) {
    if (type.empty() ? model.contains(row.mark) : row.type == type) return row;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", row.type);
  }
  fail("{}: the model type \"{}\" is not supported (supported: {}); use another tokenizer, or pass token ids", where,
       printable(type), known);
}

// The id of "bos_token": "<s>", or of {"content": "<s>", ...}; nothing when there is none in the vocabulary.
std::optional<int64_t> config_token(const Json& config, std::string_view key, const Tokenizer::Impl& parts) {
  const Json* token = config.is_object() ? json_optional(config, key) : nullptr;
  if (token && token->is_object()) token = json_optional(*token, "content");
  if (!token || !token->is_string()) return std::nullopt;
  return parts.find(token->get<std::string>());
}

// Where the post-processor is silent, add_bos_token and add_eos_token of tokenizer_config.json count.
void add_config_tokens(const Json& config, Tokenizer::Impl& parts, const std::string& what) {
  const auto add = [&](std::string_view flag, std::string_view name, std::vector<int64_t>& side) {
    if (!json_get_or<bool>(config, flag, false, what)) return;
    const auto id = config_token(config, name, parts);
    if (!id) {
      fail("{}: {} is true, but {} names no token of the vocabulary; correct the file or fetch it again", what, flag,
           name);
    }
    side.push_back(*id);
  };
  add("add_bos_token", "bos_token", parts.special.before);
  add("add_eos_token", "eos_token", parts.special.after);
}

}  // namespace

Tokenizer Tokenizer::from_json(const Json& tokenizer, const Json& config, const std::string& what) {
  if (!tokenizer.is_object()) fail("{}: expected an object with the key \"model\"; this is no tokenizer.json", what);
  auto parts = std::make_unique<Impl>();
  parts->what = what;
  const auto where = [&](std::string_view key) { return fmt::format("{}: {}", what, key); };
  const Json& model = member(tokenizer, "model");
  const ModelRow& row = model_row(model, where("model"));
  const SharedVocabulary vocabulary = row.vocabulary(model, where("model"));
  parts->vocabulary = vocabulary;
  parts->normalizers = normalizers_from_json(member(tokenizer, "normalizer"), where("normalizer"));
  parts->pre_tokenizers = pre_tokenizers_from_json(member(tokenizer, "pre_tokenizer"), where("pre_tokenizer"));
  if (!row.spells_bytes) parts->pre_tokenizers.spell_bytes_now();
  parts->model = row.make(model, vocabulary, parts->pre_tokenizers.spell_bytes_last, where("model"));
  parts->decoders = decoders_from_json(member(tokenizer, "decoder"), where("decoder"));
  parts->added = AddedTokens(added_tokens_from_json(tokenizer, *vocabulary, what),
                             [&](const std::string& text) { return parts->normalized(text); });
  parts->special = special_tokens_from_json(
      member(tokenizer, "post_processor"), [&](int64_t id) { return parts->piece(id) != nullptr; },
      where("post_processor"));
  if (!config.is_null()) {
    const std::string config_name = what + " (tokenizer_config.json)";
    if (!config.is_object()) fail("{}: expected an object", config_name);
    if (parts->special.empty()) add_config_tokens(config, *parts, config_name);
  }
  parts->bos = config_token(config, "bos_token", *parts);
  if (!parts->bos && !parts->special.before.empty()) parts->bos = parts->special.before.front();
  return Tokenizer(std::move(parts));
}

}  // namespace spikescope
