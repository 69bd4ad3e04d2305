#include "text/gguf_source.h"

#include "base/fail.h"
#include "base/utf8.h"
#include "io/printable.h"

namespace spikescope {
namespace {

// One number for each piece under `key`.
template <class Number>
std::vector<Number> numbers_per_piece(const GgufSource& source, std::string_view key, size_t pieces) {
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

// What is put around a text: `key` (add_bos_token, ...) says whether, `fallback` counts where it is missing.
void add_special(const GgufSource& source, std::string_view key, bool fallback, std::optional<int64_t> id,
                 std::string_view id_key, std::vector<int64_t>& side) {
  if (!source.flag(key, fallback)) return;
  if (!id && !source.has(key)) return;
  if (!id) fail("{}: is true, but {} is missing; fetch the file again", source.where(key), id_key);
  side.push_back(*id);
}

}  // namespace

std::vector<double> GgufSource::scores(size_t pieces) const {
  return numbers_per_piece<double>(*this, "tokenizer.ggml.scores", pieces);
}

std::optional<int64_t> GgufSource::token_id(std::string_view key, int64_t pieces) const {
  if (!has(key)) return std::nullopt;
  const auto id = json_get<int64_t>(metadata, key, what);
  if (id < 0 || id >= pieces) {
    fail("{}: is {}, expected an id from 0 to {}; fetch the file again", where(key), id, pieces - 1);
  }
  return id;
}

GgufPieces read_gguf_pieces(const GgufSource& source, const GgufSpelling& spelling) {
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
    std::string text = list[i].get<std::string>();
    if (spelling) text = spelling(text, type);
    vocabulary->add(text, static_cast<int64_t>(i));
    if ((special || type == kUserDefined) && !text.empty()) {
      check_added_token({.content = text}, source.where(kKey));
      pieces.added.push_back({.content = text, .id = static_cast<int64_t>(i), .special = special});
    }
  }
  pieces.vocabulary = std::move(vocabulary);
  return pieces;
}

void set_gguf_special_tokens(const GgufSource& source, Tokenizer::Impl& parts, const GgufDefaults& defaults) {
  constexpr std::string_view kBosId = "tokenizer.ggml.bos_token_id", kEosId = "tokenizer.ggml.eos_token_id";
  const int64_t pieces = parts.vocabulary->size();
  const auto id_or = [&](std::string_view key, std::optional<int64_t> fallback) {
    const auto id = source.token_id(key, pieces);
    return id || !fallback || *fallback >= pieces ? id : fallback;
  };
  parts.bos = id_or(kBosId, defaults.bos);
  add_special(source, "tokenizer.ggml.add_bos_token", defaults.add_bos, parts.bos, kBosId, parts.special.before);
  add_special(source, "tokenizer.ggml.add_eos_token", defaults.add_eos, id_or(kEosId, defaults.eos), kEosId,
              parts.special.after);
}

}  // namespace spikescope
