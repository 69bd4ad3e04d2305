#include "text/decoder.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/component.h"
#include "text/metaspace.h"
#include "text/pattern.h"
#include "text/text_steps.h"

namespace spikescope {
namespace {

using Pieces = std::vector<std::string>;

template <class Function>
class FunctionDecoder final : public Decoder {
 public:
  explicit FunctionDecoder(Function function) : function_(std::move(function)) {}
  void apply(Pieces& pieces, size_t most) const override {
    if constexpr (std::is_invocable_v<Function, Pieces&, size_t>) {
      function_(pieces, most);
    } else {
      function_(pieces);
    }
  }

 private:
  Function function_;
};

template <class Function>
Decoders single(Function function) {
  Decoders result;
  result.push_back(std::make_unique<FunctionDecoder<Function>>(std::move(function)));
  return result;
}

Decoders make_sequence(const Json& json, const std::string& where) {
  Decoders result;
  const Json& list = json_array(json, "decoders", where);
  for (size_t i = 0; i < list.size(); ++i) {
    for (auto& decoder : decoders_from_json(list[i], fmt::format("{}.decoders[{}]", where, i))) {
      result.push_back(std::move(decoder));
    }
  }
  return result;
}

// A piece with a character that spells no byte stands for its own bytes.
void decode_byte_level(Pieces& pieces) {
  std::string bytes;
  for (const std::string& piece : pieces) bytes += byte_level_bytes(piece).value_or(piece);
  pieces.assign(1, utf8_lossy(bytes));
}

// The byte that a piece like "<0xE2>" stands for.
std::optional<char> fallback_byte(const std::string& piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece.back() != '>') return std::nullopt;
  unsigned value = 0;
  const char* end = piece.data() + 5;
  if (const auto [at, error] = std::from_chars(piece.data() + 3, end, value, 16); error != std::errc() || at != end) {
    return std::nullopt;
  }
  return static_cast<char>(value);
}

// Runs of byte pieces become text when they are well-formed as a whole, else one U+FFFD a byte.
void decode_byte_fallback(Pieces& pieces) {
  Pieces result;
  std::string bytes;
  const auto flush = [&] {
    if (find_invalid_utf8(bytes) == bytes.npos) {
      if (!bytes.empty()) result.push_back(std::move(bytes));
    } else {
      for (size_t i = 0; i < bytes.size(); ++i) result.push_back("\ufffd");
    }
    bytes.clear();
  };
  for (std::string& piece : pieces) {
    if (const auto byte = fallback_byte(piece)) {
      bytes += *byte;
      continue;
    }
    flush();
    result.push_back(std::move(piece));
  }
  flush();
  pieces = std::move(result);
}

void decode_fuse(Pieces& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += piece;
  pieces.assign(1, std::move(text));
}

Decoders make_replace(const Json& json, const std::string& where) {
  auto pattern = std::make_shared<const Pattern>(Pattern::from_json(json.value("pattern", Json()), where));
  return single([pattern, content = json_get<std::string>(json, "content", where)](Pieces& pieces, size_t most) {
    for (std::string& piece : pieces) {
      piece = pattern->replace(piece, content, most);
      most -= std::min(most, piece.size());
    }
  });
}

int64_t strip_count(const Json& json, std::string_view key, const std::string& where) {
  const auto count = json_get<int64_t>(json, key, where);
  if (count < 0) fail("{}: \"{}\" is {}, expected a count from 0 on", where, key, count);
  return count;
}

Decoders make_strip(const Json& json, const std::string& where) {
  const auto content = json_get<std::string>(json, "content", where);
  if (content.empty() || utf8_length(content[0]) != content.size()) {
    fail("{}: \"content\" is \"{}\", expected a single character", where, printable(content));
  }
  return single(
      [content, start = strip_count(json, "start", where), stop = strip_count(json, "stop", where)](Pieces& pieces) {
        for (std::string& piece : pieces) {
          std::string_view rest = piece;
          for (int64_t i = 0; i < start && rest.starts_with(content); ++i) rest.remove_prefix(content.size());
          for (int64_t i = 0; i < stop && rest.ends_with(content); ++i) rest.remove_suffix(content.size());
          piece = std::string(rest);
        }
      });
}

Decoders make_metaspace(const Json& json, const std::string& where) {
  return single([options = metaspace_from_json(json, where)](Pieces& pieces) {
    for (size_t i = 0; i < pieces.size(); ++i) {
      const std::string_view space = i == 0 && options.prepend != MetaspacePrepend::kNever ? "" : " ";
      std::string text;
      Pattern(options.replacement).for_each_part(pieces[i], [&](std::string_view part, bool is_match) {
        text += is_match ? space : part;
      });
      pieces[i] = std::move(text);
    }
  });
}

void replace_all(std::string& text, const std::string& from, std::string_view to) {
  if (text.find(from) != text.npos) text = Pattern(from).replace(text, to);
}

// Spaces that English writes and WordPiece puts in front of punctuation.
void clean_up(std::string& text) {
  static const std::pair<std::string, std::string_view> kTable[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [from, to] : kTable) replace_all(text, from, to);
}

Decoders make_word_piece(const Json& json, const std::string& where) {
  return single([prefix = json_get<std::string>(json, "prefix", where),
                 cleanup = json_get_or<bool>(json, "cleanup", true, where)](Pieces& pieces) {
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (i > 0) pieces[i] = pieces[i].starts_with(prefix) ? pieces[i].substr(prefix.size()) : " " + pieces[i];
      if (cleanup) clean_up(pieces[i]);
    }
  });
}

Decoders make_bpe(const Json& json, const std::string& where) {
  const auto suffix = json_get<std::string>(json, "suffix", where);
  if (suffix.empty()) fail("{}: \"suffix\" is empty, expected the mark of a word's end", where);
  return single([suffix](Pieces& pieces) {
    for (size_t i = 0; i < pieces.size(); ++i) replace_all(pieces[i], suffix, i + 1 == pieces.size() ? "" : " ");
  });
}

constexpr ComponentRow<Decoders> kDecoders[] = {
    {"Sequence", make_sequence},
    {"ByteLevel", [](const Json&, const std::string&) { return single(decode_byte_level); }},
    {"ByteFallback", [](const Json&, const std::string&) { return single(decode_byte_fallback); }},
    {"Fuse", [](const Json&, const std::string&) { return single(decode_fuse); }},
    {"Replace", make_replace},
    {"Strip", make_strip},
    {"Metaspace", make_metaspace},
    {"WordPiece", make_word_piece},
    {"BPEDecoder", make_bpe},
};

}  // namespace

void decode_pieces(const Decoders& decoders, std::vector<std::string>& pieces, const std::string& what) {
  const auto bytes = [&] {
    size_t sum = 0;
    for (const std::string& piece : pieces) sum += piece.size();
    return sum;
  };
  const size_t before = bytes(), most = most_bytes_from(before);
  for (const auto& decoder : decoders) {
    decoder->apply(pieces, most);
    if (bytes() > most) {
      fail("{}: the decoder makes more than {} bytes of pieces of {}; correct the file or fetch it again", what, most,
           before);
    }
  }
}

Decoders decoders_from_json(const Json& json, const std::string& where) {
  if (json.is_null()) return {};
  return make_component<Decoders>(kDecoders, "decoder", json, where);
}

}  // namespace spikescope
