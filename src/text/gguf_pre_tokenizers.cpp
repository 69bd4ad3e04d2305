#include "text/gguf_pre_tokenizers.h"

#include <vector>

#include "base/fail.h"
#include "io/printable.h"

namespace spikescope {
namespace {

Json split(const std::string& regex) {
  return {{"type", "Split"}, {"behavior", "Isolated"}, {"pattern", {{"Regex", regex}}}};
}
Json byte_level(bool words) { return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", words}}; }
Json digits(bool individual) { return {{"type", "Digits"}, {"individual_digits", individual}}; }
Json sequence(const std::vector<Json>& stages) { return {{"type", "Sequence"}, {"pretokenizers", stages}}; }
Json words(const std::string& regex) { return sequence({split(regex), byte_level(false)}); }

// Normalizers and expressions are those of the models' own tokenizer.json; the names are llama.cpp's.
std::vector<GgufPreTokenizer> make_table() {
  const std::string contractions = R"((?i:'s|'t|'re|'ve|'m|'ll|'d))", letters = R"([^\r\n\p{L}\p{N}]?\p{L}+)";
  const std::string first = R"([^\r\n\p{L}\p{N}]?)", upper = R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])",
                    lower = R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])";
  const std::string capitalised = first + upper + "*" + lower + "+", capitals = first + upper + "+" + lower + "*";
  const std::string spaces = R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
  const std::string symbols = R"( ?[^\s\p{L}\p{N}]+[\r\n]*|)" + spaces;
  const std::string symbols_or_slash = R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|)" + spaces;

  const Json none = nullptr, nfc = {{"type", "NFC"}};
  const Json gpt2 = byte_level(true), each_digit = sequence({digits(true), byte_level(true)});
  const Json llama3 = words(contractions + "|" + letters + R"(|\p{N}{1,3}|)" + symbols);
  const Json qwen2 = words(contractions + "|" + letters + R"(|\p{N}|)" + symbols);
  const Json qwen35 =
      words(contractions + R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)" + spaces);
  const Json gpt4o =
      words(capitalised + contractions + "?|" + capitals + contractions + R"(?|\p{N}{1,3}|)" + symbols_or_slash);
  const Json tekken = words(capitalised + "|" + capitals + R"(|\p{N}|)" + symbols_or_slash);
  const Json deepseek3 = sequence(
      {split(R"(\p{N}{1,3})"), split("[一-龥぀-ゟ゠-ヿ]+"),
       split(
           R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|)" +
           spaces),
       byte_level(false)});
  const Json falcon = sequence({{{"type", "Punctuation"}, {"behavior", "Contiguous"}},
                                byte_level(true),
                                digits(false),
                                split("[0-9][0-9][0-9]")});
  // What files have that were made before there were names.
  const Json unnamed = sequence({split(R"([\p{P}\$\+<=>\^~\|]+)"),
                                 split(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))"),
                                 split(R"(\p{N}+)"), split("[0-9][0-9][0-9]"), byte_level(false)});
  return {
      {"gpt-2 phi-2 roberta-bpe exaone4", gpt2, none, false, false},
      {"mpt olmo", gpt2, nfc, false, false},
      {"smollm starcoder refact codeshell minerva-7b", each_digit, none, false, false},
      {"command-r", each_digit, nfc, false, false},
      {"llama-bpe llama3 llama-v3", llama3, none, true, true},
      {"smaug-bpe dbrx chatglm-bpe", llama3, none, false, false},
      {"glm4", llama3, none, true, false},
      {"qwen2 deepseek-r1-qwen megrez", qwen2, nfc, false, false},
      {"qwen35", qwen35, nfc, false, false},
      {"gpt-4o llama4", gpt4o, none, false, false},
      {"tekken", tekken, none, true, true},
      {"deepseek-v3", deepseek3, none, false, false},
      {"falcon", falcon, none, false, false},
      {"default", unnamed, none, false, false},
  };
}

bool has_name(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    const size_t end = names.find(' ');
    if (names.substr(0, end) == name) return true;
    names.remove_prefix(end == names.npos ? names.size() : end + 1);
  }
  return false;
}

}  // namespace

const GgufPreTokenizer& gguf_pre_tokenizer(std::string_view name, const std::string& where) {
  static const std::vector<GgufPreTokenizer> table = make_table();
  std::string known;
  for (const GgufPreTokenizer& row : table) {
    if (has_name(row.names, name)) return row;
    known += fmt::format("{}{}", known.empty() ? "" : " ", row.names);
  }
  fail(
      "{}: the pre-tokenizer \"{}\" is not known (known: {}); pass token ids, or use a Hugging Face folder of the "
      "model",
      where, printable(name), known);
}

}  // namespace spikescope
