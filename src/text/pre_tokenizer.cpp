#include "text/pre_tokenizer.h"

#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/characters.h"
#include "text/component.h"
#include "text/metaspace.h"
#include "text/pattern.h"

namespace spikescope {
namespace {

// The expression of GPT-2, which every ByteLevel with use_regex has.
constexpr std::string_view kGpt2Words = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Cuts a piece: `parts(text, visit)` calls visit(part, is_match) for delimiters and what is between them.
template <class Parts>
void split_piece(Pieces& pieces, const Piece& piece, SplitBehavior behavior, const Parts& parts) {
  PieceJoiner joiner(
      behavior, [&](std::string_view text) { pieces.add(text, piece.at_start && text.data() == piece.text.data()); });
  parts(piece.text, [&](std::string_view part, bool is_match) { joiner.add(part, is_match); });
  joiner.finish();
}

class Split final : public PreTokenizer {
 public:
  Split(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void apply(Pieces& pieces) const override {
    pieces.rewrite([&](const Piece& piece) {
      split_piece(pieces, piece, behavior_, [&](std::string_view text, const auto& visit) {
        pattern_.for_each_part(text, [&](std::string_view part, bool is_match) { visit(part, is_match != invert_); });
      });
    });
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// Cuts at characters of a class, each of them a delimiter of its own.
class CharacterSplit final : public PreTokenizer {
 public:
  using Class = bool (*)(char32_t);
  CharacterSplit(Class is_delimiter, SplitBehavior behavior) : is_delimiter_(is_delimiter), behavior_(behavior) {}
  void apply(Pieces& pieces) const override {
    pieces.rewrite([&](const Piece& piece) {
      split_piece(pieces, piece, behavior_, [&](std::string_view text, const auto& visit) {
        size_t done = 0;
        for (size_t offset = 0; offset < text.size();) {
          const size_t begin = offset;
          if (!is_delimiter_(next_character(text, offset))) continue;
          if (begin > done) visit(text.substr(done, begin - done), false);
          visit(text.substr(begin, offset - begin), true);
          done = offset;
        }
        if (done < text.size()) visit(text.substr(done), false);
      });
    });
  }

 private:
  Class is_delimiter_;
  SplitBehavior behavior_;
};

// Runs of word characters, and runs of others that are not white space.
class WordSplit final : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    const auto kind = [](char32_t c) { return is_word(c) ? 'w' : is_whitespace(c) ? ' ' : '.'; };
    pieces.rewrite([&](const Piece& piece) {
      const std::string_view text = piece.text;
      for (size_t offset = 0; offset < text.size();) {
        const size_t begin = offset;
        const char first = kind(next_character(text, offset));
        for (size_t next = offset; next < text.size() && kind(next_character(text, next)) == first;) offset = next;
        if (first != ' ') pieces.add(text.substr(begin, offset - begin), piece.at_start && begin == 0);
      }
    });
  }
};

class PrefixSpace final : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    pieces.rewrite([&](const Piece& piece) {
      if (piece.text.starts_with(' ')) return pieces.add(piece.text, piece.at_start);
      std::string text = " ";
      text += piece.text;
      pieces.add(pieces.keep(std::move(text)), piece.at_start);
    });
  }
};

class SpellBytes final : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    pieces.rewrite([&](const Piece& piece) { pieces.add(pieces.keep(byte_level_spell(piece.text)), piece.at_start); });
  }
};

class Metaspace final : public PreTokenizer {
 public:
  explicit Metaspace(MetaspaceOptions options) : options_(std::move(options)) {}
  void apply(Pieces& pieces) const override {
    pieces.rewrite([&](const Piece& piece) {
      std::string text = spaces_.replace(piece.text, options_.replacement);
      const bool wanted = options_.prepend == MetaspacePrepend::kAlways ||
                          (options_.prepend == MetaspacePrepend::kFirst && piece.at_start);
      if (wanted && !text.starts_with(options_.replacement)) text.insert(0, options_.replacement);
      const Piece marked = {pieces.keep(std::move(text)), piece.at_start};
      if (!options_.split) return pieces.add(marked.text, marked.at_start);
      split_piece(pieces, marked, SplitBehavior::kMergedWithNext,
                  [&](std::string_view whole, const auto& visit) { marks_.for_each_part(whole, visit); });
    });
  }

 private:
  MetaspaceOptions options_;
  Pattern spaces_{std::string(" ")};
  Pattern marks_{options_.replacement};
};

template <class Stage, class... Args>
PreTokenizers single(Args&&... args) {
  PreTokenizers result;
  result.stages.push_back(std::make_unique<Stage>(std::forward<Args>(args)...));
  return result;
}

void append(PreTokenizers& all, PreTokenizers more) {
  all.spell_bytes_now();
  for (auto& stage : more.stages) all.stages.push_back(std::move(stage));
  all.spell_bytes_last = more.spell_bytes_last;
}

PreTokenizers make_sequence(const Json& json, const std::string& where) {
  PreTokenizers result;
  const Json& list = json_array(json, "pretokenizers", where);
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].is_null()) fail("{}.pretokenizers[{}]: expected a pre-tokenizer, found null", where, i);
    append(result, pre_tokenizers_from_json(list[i], fmt::format("{}.pretokenizers[{}]", where, i)));
  }
  return result;
}

PreTokenizers make_byte_level(const Json& json, const std::string& where) {
  PreTokenizers result;
  if (json_get<bool>(json, "add_prefix_space", where)) result.stages.push_back(std::make_unique<PrefixSpace>());
  if (json_get_or<bool>(json, "use_regex", true, where)) {
    result.stages.push_back(
        std::make_unique<Split>(Pattern(Regex(kGpt2Words, where)), SplitBehavior::kIsolated, false));
  }
  result.spell_bytes_last = true;
  return result;
}

PreTokenizers make_split(const Json& json, const std::string& where) {
  return single<Split>(Pattern::from_json(json.value("pattern", Json()), where), split_behavior_from_json(json, where),
                       json_get_or<bool>(json, "invert", false, where));
}

PreTokenizers make_digits(const Json& json, const std::string& where) {
  const bool individual = json_get_or<bool>(json, "individual_digits", false, where);
  return single<CharacterSplit>(is_numeric, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
}

PreTokenizers make_punctuation(const Json& json, const std::string& where) {
  return single<CharacterSplit>(
      is_punctuation, json.contains("behavior") ? split_behavior_from_json(json, where) : SplitBehavior::kIsolated);
}

PreTokenizers make_delimiter(const Json& json, const std::string& where) {
  std::string delimiter = json_get<std::string>(json, "delimiter", where);
  if (delimiter.empty() || utf8_length(delimiter[0]) != delimiter.size()) {
    fail("{}: \"delimiter\" is \"{}\", expected a single character", where, printable(delimiter));
  }
  return single<Split>(Pattern(std::move(delimiter)), SplitBehavior::kRemoved, false);
}

PreTokenizers make_bert(const Json&, const std::string&) {
  PreTokenizers result = single<CharacterSplit>(is_whitespace, SplitBehavior::kRemoved);
  append(result, single<CharacterSplit>(is_punctuation, SplitBehavior::kIsolated));
  return result;
}

constexpr ComponentRow<PreTokenizers> kPreTokenizers[] = {
    {"Sequence", make_sequence},
    {"ByteLevel", make_byte_level},
    {"Split", make_split},
    {"Digits", make_digits},
    {"Metaspace",
     [](const Json& json, const std::string& where) { return single<Metaspace>(metaspace_from_json(json, where)); }},
    {"Whitespace", [](const Json&, const std::string&) { return single<WordSplit>(); }},
    {"WhitespaceSplit",
     [](const Json&, const std::string&) { return single<CharacterSplit>(is_whitespace, SplitBehavior::kRemoved); }},
    {"Punctuation", make_punctuation},
    {"CharDelimiterSplit", make_delimiter},
    {"BertPreTokenizer", make_bert},
};

}  // namespace

void PreTokenizers::spell_bytes_now() {
  if (spell_bytes_last) stages.push_back(std::make_unique<SpellBytes>());
  spell_bytes_last = false;
}

PreTokenizers pre_tokenizers_from_json(const Json& json, const std::string& where) {
  if (json.is_null()) return {};
  return make_component<PreTokenizers>(kPreTokenizers, "pre-tokenizer", json, where);
}

}  // namespace spikescope
