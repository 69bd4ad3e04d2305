#include "text/gguf_export.h"

#include "base/fail.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/gguf_source.h"

namespace spikescope {
namespace {

Json added_token(const AddedToken& token) {
  return {{"id", token.id},          {"content", token.content}, {"single_word", token.single_word},
          {"lstrip", token.lstrip},  {"rstrip", token.rstrip},   {"normalized", token.normalized},
          {"special", token.special}};
}

/// What puts these tokens around a text; null for none.
Json post_processor(const std::optional<std::string>& before, int64_t before_id,
                    const std::optional<std::string>& after, int64_t after_id) {
  if (!before && !after) return nullptr;
  Json single = Json::array(), special = Json::object();
  const auto add = [&](const std::string& token, int64_t id) {
    single.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
    special[token] = {{"id", token}, {"ids", {id}}, {"tokens", {token}}};
  };
  if (before) add(*before, before_id);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  if (after) add(*after, after_id);
  Json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

}  // namespace

std::optional<TokenizerFiles> tokenizer_files_of_gguf(const Json& metadata, const std::string& what) {
  const GgufSource source{metadata, what};
  if (json_get_or<std::string>(metadata, "tokenizer.ggml.model", "none", what) != "gpt2") return std::nullopt;
  constexpr std::string_view kPre = "tokenizer.ggml.pre";
  const GgufPieces pieces = read_gguf_pieces(source);
  const GgufPreTokenizer& row =
      gguf_pre_tokenizer(json_get_or<std::string>(metadata, kPre, "default", what), source.where(kPre));
  Json vocabulary = Json::object(), added = Json::array();
  auto& entries = vocabulary.get_ref<Json::object_t&>();  // a search of all before each would take long
  for (const auto& [piece, id] : pieces.vocabulary->entries())
    if (!piece.empty()) entries.emplace_back(piece, id);
  for (const AddedToken& token : pieces.added) added.push_back(added_token(token));

  const int64_t count = pieces.vocabulary->size();
  struct Special {
    std::optional<int64_t> id;
    std::optional<std::string> around;  // where it is put around texts
  };
  const auto special = [&](std::string_view id_key, std::string_view add_key, bool add) {
    Special token{source.token_id(id_key, count), {}};
    if (token.id && source.flag(add_key, add)) token.around = *pieces.vocabulary->piece(*token.id);
    return token;
  };
  const Special bos = special("tokenizer.ggml.bos_token_id", "tokenizer.ggml.add_bos_token", row.add_bos);
  const Special eos = special("tokenizer.ggml.eos_token_id", "tokenizer.ggml.add_eos_token", false);

  TokenizerFiles files;
  files.tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", row.normalizer},
      {"pre_tokenizer", row.pre_tokenizer},
      {"post_processor", post_processor(bos.around, bos.id.value_or(0), eos.around, eos.id.value_or(0))},
      {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", row.ignore_merges},
        {"vocab", vocabulary},
        {"merges", source.array("tokenizer.ggml.merges")}}}};
  files.config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  if (bos.id) files.config["bos_token"] = *pieces.vocabulary->piece(*bos.id);
  if (eos.id) files.config["eos_token"] = *pieces.vocabulary->piece(*eos.id);
  return files;
}

}  // namespace spikescope
