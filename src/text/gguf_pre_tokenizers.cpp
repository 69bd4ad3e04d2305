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
  // The letters that have cases, as a DeepSeek tokenizer.json lists them: less than Unicode's own category.
  const std::string cased =
      "["
      R"(A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293})"
      R"(\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A})"
      R"(\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556})"
      R"(\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF})"
      R"(\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D})"
      R"(\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D})"
      R"(\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC})"
      R"(\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC})"
      R"(\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128})"
      R"(\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183})"
      R"(\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D})"
      R"(\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF})"
      R"(\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F})"
      R"(\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2})"
      R"(\x{118A0}-\x{118DF}\x{1E900}-\x{1E943})"
      "]";
  const std::string asian = R"([一-龥\u0800-一가-\uD7FF]+)";
  const Json deepseek_llm =
      sequence({split(R"([\r\n])"), split(R"(\s?)" + cased + "+"), split(R"(\s?[!-/:-~！-／：-～‘-‟\u3000-。]+)"),
                split(R"(\s+$)"), split(asian), digits(true), byte_level(false)});
  const Json deepseek_coder = sequence({split(R"([\r\n])"), split(R"(\s?\p{L}+)"), split(R"(\s?\p{P}+)"), split(asian),
                                        digits(true), byte_level(false)});
  const Json deepseek3 = sequence(
      {split(R"(\p{N}{1,3})"), split("[一-龥぀-ゟ゠-ヿ]+"),
       split(
           R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|)" +
           spaces),
       byte_level(false)});
  const Json bloom = words(R"( ?[^(\s|[.,!?…。，、।۔،])]+)");
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
      {"deepseek-llm", deepseek_llm, none, false, false},
      {"deepseek-coder", deepseek_coder, none, false, false},
      {"deepseek-v3", deepseek3, none, false, false},
      {"bloom", bloom, none, false, false},
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
