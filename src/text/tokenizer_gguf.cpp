// Tokenizers from GGUF metadata: the vocabulary is there in full, the rest follows from the names of its kind.
#include <algorithm>

#include "base/fail.h"
#include "io/printable.h"
#include "text/bpe.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/gguf_source.h"
#include "text/pattern.h"
#include "text/spm_merges.h"
#include "text/unigram.h"
#include "text/word_piece.h"

namespace spikescope {
namespace {

// "gpt2": byte-level BPE, whatever the model's own name.
void build_byte_level(const GgufSource& source, Tokenizer::Impl& parts) {
  constexpr std::string_view kPre = "tokenizer.ggml.pre", kMerges = "tokenizer.ggml.merges";
  GgufPieces pieces = read_gguf_pieces(source);
  const GgufPreTokenizer& row =
      gguf_pre_tokenizer(json_get_or<std::string>(source.metadata, kPre, "default", source.what), source.where(kPre));
  std::vector<MergePair> merges;
  for (const Json& merge : source.array(kMerges)) {
    if (!merge.is_string()) {
      fail("{}: merge {} is no string; fetch the file again", source.where(kMerges), merges.size());
    }
    merges.push_back(split_merge(merge.get_ref<const std::string&>(), merges.size(), source.where(kMerges)));
  }
  parts.vocabulary = pieces.vocabulary;
  parts.normalizers = normalizers_from_json(row.normalizer, source.where(kPre));
  parts.pre_tokenizers = pre_tokenizers_from_json(row.pre_tokenizer, source.where(kPre));
  parts.decoders = decoders_from_json({{"type", "ByteLevel"}}, source.what);
  BpeOptions options;
  options.ignore_merges = row.ignore_merges;
  options.spell_bytes = parts.pre_tokenizers.spell_bytes_last;
  parts.model =
      std::make_unique<Bpe>(pieces.vocabulary, rules_of_merges(merges, *pieces.vocabulary, 0, source.where(kMerges)),
                            std::move(options), source.what);
  parts.added = AddedTokens(std::move(pieces.added), [&](const std::string& text) { return parts.normalized(text); });
  set_gguf_special_tokens(source, parts, {.add_bos = row.add_bos});
}

// SentencePiece looks for user-defined pieces where spaces are marks already. Files spell those of spaces either way.
AddedTokens sentence_piece_tokens(std::vector<AddedToken> tokens) {
  const auto marked = [](const std::string& text) { return Pattern(std::string(" ")).replace(text, "▁"); };
  for (AddedToken& token : tokens) {
    token.normalized = !token.special && marked(token.content).find("▁") != std::string::npos;
  }
  return AddedTokens(std::move(tokens), marked);
}

// "llama": SentencePiece BPE, with pieces for the bytes of unknown characters.
void build_sentence_piece(const GgufSource& source, Tokenizer::Impl& parts) {
  constexpr std::string_view kScores = "tokenizer.ggml.scores", kSpace = "tokenizer.ggml.add_space_prefix";
  GgufPieces pieces = read_gguf_pieces(source);
  const int64_t count = pieces.vocabulary->size();
  const auto scores = source.scores(static_cast<size_t>(count));
  std::vector<bool> joins;
  for (const int64_t type : pieces.types) joins.push_back(type == kNormal || type == kUserDefined || type == kUnused);
  const bool prefix = source.flag(kSpace, true);
  Json normalizers = Json::array(), decoders = Json::array();
  if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", "▁"}});
  normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}});
  decoders.push_back({{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}});
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  parts.vocabulary = pieces.vocabulary;
  parts.normalizers = normalizers_from_json({{"type", "Sequence"}, {"normalizers", normalizers}}, source.what);
  parts.decoders = decoders_from_json({{"type", "Sequence"}, {"decoders", decoders}}, source.what);
  BpeOptions options;
  const int64_t unknown = source.token_id("tokenizer.ggml.unknown_token_id", count).value_or(0);
  options.unk_token = *pieces.vocabulary->piece(unknown);
  options.fuse_unk = options.byte_fallback = true;
  parts.model = std::make_unique<Bpe>(pieces.vocabulary,
                                      rules_of_scores(*pieces.vocabulary, scores, joins, source.where(kScores)),
                                      std::move(options), source.what);
  parts.added = sentence_piece_tokens(std::move(pieces.added));
  set_gguf_special_tokens(source, parts, {.bos = 1, .eos = 2, .add_bos = true});
}

// The compiled rules under tokenizer.ggml.precompiled_charsmap, an array of bytes.
Normalizers charsmap_of(const GgufSource& source) {
  constexpr std::string_view kMap = "tokenizer.ggml.precompiled_charsmap";
  if (!source.has(kMap)) return {};
  std::string bytes;
  for (const Json& byte : source.array(kMap)) {
    const auto value = byte.is_number_integer() ? byte.get<int64_t>() : INT64_MAX;
    if (value < INT8_MIN || value > UINT8_MAX) {
      fail("{}: value {} is no byte; fetch the file again", source.where(kMap), bytes.size());
    }
    bytes += static_cast<char>(value);
  }
  return normalizers_from_charsmap(Charsmap::from_bytes(bytes, source.where(kMap)));
}

// "t5": SentencePiece's unigram model.
void build_unigram(const GgufSource& source, Tokenizer::Impl& parts) {
  GgufPieces pieces = read_gguf_pieces(source);
  const int64_t count = pieces.vocabulary->size();
  UnigramOptions options;
  options.unk_id = source.token_id("tokenizer.ggml.unknown_token_id", count);
  const auto unknown = std::find(pieces.types.begin(), pieces.types.end(), kUnknown);
  if (!options.unk_id && unknown != pieces.types.end()) options.unk_id = unknown - pieces.types.begin();
  parts.vocabulary = pieces.vocabulary;
  parts.normalizers = charsmap_of(source);
  if (source.flag("tokenizer.ggml.remove_extra_whitespaces", true)) {
    const Json tidy = {{{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}},
                       {{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}}};
    for (auto& step : normalizers_from_json({{"type", "Sequence"}, {"normalizers", tidy}}, source.what)) {
      parts.normalizers.push_back(std::move(step));
    }
  }
  const bool prefix = source.flag("tokenizer.ggml.add_space_prefix", true);
  const Json metaspace = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", prefix ? "always" : "never"}, {"split", true}};
  parts.pre_tokenizers = pre_tokenizers_from_json(metaspace, source.what);
  parts.decoders = decoders_from_json(metaspace, source.what);
  parts.model = std::make_unique<Unigram>(pieces.vocabulary, source.scores(static_cast<size_t>(count)), options,
                                          source.where("tokenizer.ggml.scores"));
  parts.added = sentence_piece_tokens(std::move(pieces.added));
  set_gguf_special_tokens(source, parts, {.eos = 1, .add_eos = true});
}

// "bert": WordPiece. Files mark the beginnings of words instead of what goes on with them.
void build_word_piece(const GgufSource& source, Tokenizer::Impl& parts) {
  constexpr std::string_view kMark = "▁";
  bool has_capitals = false;
  GgufPieces pieces = read_gguf_pieces(source, [&](const std::string& text, int64_t type) {
    if (type != kNormal || text.empty() || (text.starts_with('[') && text.ends_with(']'))) return text;
    has_capitals = has_capitals || std::any_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
    return text.starts_with(kMark) ? text.substr(kMark.size()) : "##" + text;
  });
  parts.vocabulary = pieces.vocabulary;
  // Whether the model is an uncased one stands nowhere; its pieces tell.
  parts.normalizers = normalizers_from_json({{"type", "BertNormalizer"}, {"lowercase", !has_capitals}}, source.what);
  parts.pre_tokenizers = pre_tokenizers_from_json({{"type", "BertPreTokenizer"}}, source.what);
  parts.decoders = decoders_from_json({{"type", "WordPiece"}, {"prefix", "##"}}, source.what);
  const int64_t count = pieces.vocabulary->size();
  WordPieceOptions options;
  if (const auto id = source.token_id("tokenizer.ggml.unknown_token_id", count)) {
    options.unk_token = *pieces.vocabulary->piece(*id);
  }
  parts.model = std::make_unique<WordPiece>(pieces.vocabulary, options, source.where("tokenizer.ggml.tokens"));
  parts.added = AddedTokens(std::move(pieces.added), [&](const std::string& text) { return parts.normalized(text); });
  const auto around = [&](std::string_view key, const char* piece) {
    const int64_t id = source.token_id(key, count).value_or(pieces.vocabulary->find(piece));
    return id < 0 ? std::vector<int64_t>() : std::vector{id};
  };
  parts.special.before = around("tokenizer.ggml.bos_token_id", "[CLS]");
  parts.special.after = around("tokenizer.ggml.seperator_token_id", "[SEP]");  // spelled so in the files
}

}  // namespace

Tokenizer Tokenizer::from_gguf(const Json& metadata, const std::string& what) {
  struct Kind {
    std::string_view model;
    void (*build)(const GgufSource&, Impl&);
  };
  static constexpr Kind kKinds[] = {
      {"gpt2", build_byte_level}, {"llama", build_sentence_piece}, {"t5", build_unigram}, {"bert", build_word_piece}};
  constexpr std::string_view kModel = "tokenizer.ggml.model";
  const GgufSource source{metadata, what};
  const std::string model = json_get_or<std::string>(metadata, kModel, "none", what);
  if (model == "none" || model == "no_vocab") {
    fail("{}: has no tokenizer ({} is missing or \"none\"); pass token ids, or use a file with a vocabulary", what,
         kModel);
  }
  for (const Kind& kind : kKinds) {
    if (kind.model != model) continue;
    auto parts = std::make_unique<Impl>();
    parts->what = what;
    kind.build(source, *parts);
    return Tokenizer(std::move(parts));
  }
  fail(
      "{}: {} \"{}\" is not supported (supported: gpt2, llama, t5, bert); pass token ids, or use a Hugging Face folder "
      "of the "
      "model",
      what, kModel, printable(model));
}

}  // namespace spikescope
