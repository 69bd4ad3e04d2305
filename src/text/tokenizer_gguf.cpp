// Tokenizers from GGUF metadata: the vocabulary is there in full, the rest follows from the names of its kind.
#include <algorithm>

#include "base/fail.h"
#include "base/utf8.h"
#include "io/printable.h"
#include "text/bpe.h"
#include "text/component.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/pattern.h"
#include "text/spm_merges.h"
#include "text/tokenizer_impl.h"

namespace spikescope {
namespace {

// Values of tokenizer.ggml.token_type.
enum TokenType : int64_t { kUndefined = 0, kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct Source {
  const Json& metadata;
  const std::string& what;

  std::string where(std::string_view key) const { return fmt::format("{}: {}", what, key); }
  bool has(std::string_view key) const { return json_optional(metadata, key) != nullptr; }
  const Json& array(std::string_view key) const { return json_array(metadata, key, what); }
  bool flag(std::string_view key, bool fallback) const { return json_get_or<bool>(metadata, key, fallback, what); }
};

struct GgufPieces {
  std::shared_ptr<const Vocabulary> vocabulary;
  std::vector<int64_t> types;
  std::vector<AddedToken> added;
};

// One number for each piece under `key`.
template <class Number>
std::vector<Number> numbers_per_piece(const Source& source, std::string_view key, size_t pieces) {
  const Json& list = source.array(key);
  if (list.size() != pieces) {
    fail("{}: has {} values for {} pieces in tokenizer.ggml.tokens, expected as many; fetch the file again",
         source.where(key), list.size(), pieces);
  }
  std::vector<Number> numbers;
  numbers.reserve(pieces);
  for (size_t i = 0; i < pieces; ++i) {
    const bool fits = std::is_integral_v<Number> ? list[i].is_number_integer() : list[i].is_number();
    if (!fits) {
      fail("{}: value {} is no {}; fetch the file again", source.where(key), i,
           std::is_integral_v<Number> ? "integer" : "number");
    }
    numbers.push_back(list[i].get<Number>());
  }
  return numbers;
}

GgufPieces read_pieces(const Source& source) {
  constexpr std::string_view kKey = "tokenizer.ggml.tokens";
  const Json& list = source.array(kKey);
  if (list.empty()) fail("{}: the vocabulary is empty; fetch the file again", source.where(kKey));
  GgufPieces pieces;
  auto vocabulary = std::make_shared<Vocabulary>(list.size(), source.where(kKey));
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_string()) fail("{}: piece {} is no string; fetch the file again", source.where(kKey), i);
    const auto& text = list[i].get_ref<const std::string&>();
    if (find_invalid_utf8(text) != text.npos) {
      fail("{}: piece {} (\"{}\") is not valid UTF-8; fetch the file again", source.where(kKey), i, printable(text));
    }
    vocabulary->add(text, static_cast<int64_t>(i));
  }
  constexpr std::string_view kTypes = "tokenizer.ggml.token_type";
  pieces.types.assign(list.size(), kNormal);
  if (source.has(kTypes)) pieces.types = numbers_per_piece<int64_t>(source, kTypes, list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const int64_t type = pieces.types[i];
    if (type < kUndefined || type > kByte) {
      fail("{}: value {} is {}, expected 0 to 6; fetch the file again", source.where(kTypes), i, type);
    }
    const bool special = type == kControl || type == kUnknown;
    const auto& text = list[i].get_ref<const std::string&>();
    if ((special || type == kUserDefined) && !text.empty()) {
      pieces.added.push_back({.content = text, .id = static_cast<int64_t>(i), .special = special});
    }
  }
  pieces.vocabulary = std::move(vocabulary);
  return pieces;
}

// The id under `key`; nothing when the key is missing.
std::optional<int64_t> token_id(const Source& source, std::string_view key, int64_t pieces) {
  if (!source.has(key)) return std::nullopt;
  const auto id = json_get<int64_t>(source.metadata, key, source.what);
  if (id < 0 || id >= pieces) {
    fail("{}: is {}, expected an id from 0 to {}; fetch the file again", source.where(key), id, pieces - 1);
  }
  return id;
}

// What is put around a text: `key` (add_bos_token, ...) says whether, `fallback` counts where it is missing.
void add_special(const Source& source, std::string_view key, bool fallback, std::optional<int64_t> id,
                 std::string_view id_key, std::vector<int64_t>& side) {
  if (!source.flag(key, fallback)) return;
  if (!id && !source.has(key)) return;
  if (!id) fail("{}: is true, but {} is missing; fetch the file again", source.where(key), id_key);
  side.push_back(*id);
}

constexpr std::string_view kBosId = "tokenizer.ggml.bos_token_id", kEosId = "tokenizer.ggml.eos_token_id";

struct Defaults {
  std::optional<int64_t> bos = {}, eos = {};
  bool add_bos = false;
};

void set_special_tokens(const Source& source, Tokenizer::Impl& parts, const Defaults& defaults) {
  const int64_t pieces = parts.vocabulary->size();
  const auto id_or = [&](std::string_view key, std::optional<int64_t> fallback) {
    const auto id = token_id(source, key, pieces);
    return id || !fallback || *fallback >= pieces ? id : fallback;
  };
  parts.bos = id_or(kBosId, defaults.bos);
  add_special(source, "tokenizer.ggml.add_bos_token", defaults.add_bos, parts.bos, kBosId, parts.special.before);
  add_special(source, "tokenizer.ggml.add_eos_token", false, id_or(kEosId, defaults.eos), kEosId, parts.special.after);
}

// "gpt2": byte-level BPE, whatever the model's own name.
void build_byte_level(const Source& source, Tokenizer::Impl& parts) {
  constexpr std::string_view kPre = "tokenizer.ggml.pre", kMerges = "tokenizer.ggml.merges";
  GgufPieces pieces = read_pieces(source);
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
  set_special_tokens(source, parts, {.add_bos = row.add_bos});
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
void build_sentence_piece(const Source& source, Tokenizer::Impl& parts) {
  constexpr std::string_view kScores = "tokenizer.ggml.scores", kSpace = "tokenizer.ggml.add_space_prefix";
  GgufPieces pieces = read_pieces(source);
  const int64_t count = pieces.vocabulary->size();
  const auto scores = numbers_per_piece<double>(source, kScores, static_cast<size_t>(count));
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
  const int64_t unknown = token_id(source, "tokenizer.ggml.unknown_token_id", count).value_or(0);
  options.unk_token = *pieces.vocabulary->piece(unknown);
  options.fuse_unk = options.byte_fallback = true;
  parts.model = std::make_unique<Bpe>(pieces.vocabulary,
                                      rules_of_scores(*pieces.vocabulary, scores, joins, source.where(kScores)),
                                      std::move(options), source.what);
  parts.added = sentence_piece_tokens(std::move(pieces.added));
  set_special_tokens(source, parts, {.bos = 1, .eos = 2, .add_bos = true});
}

}  // namespace

Tokenizer Tokenizer::from_gguf(const Json& metadata, const std::string& what) {
  struct Kind {
    std::string_view model;
    void (*build)(const Source&, Impl&);
  };
  static constexpr Kind kKinds[] = {{"gpt2", build_byte_level}, {"llama", build_sentence_piece}};
  constexpr std::string_view kModel = "tokenizer.ggml.model";
  const Source source{metadata, what};
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
      "{}: {} \"{}\" is not supported (supported: gpt2, llama); pass token ids, or use a Hugging Face folder of the "
      "model",
      what, kModel, printable(model));
}

}  // namespace spikescope
