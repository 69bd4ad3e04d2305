#include "analyses/labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "base/fail.h"

namespace spikescope {
namespace {

// Byte-level BPE writes the bytes of space, newline, tab and carriage return as these letters, SentencePiece the space
// as U+2581.
constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kStandIns = {{
    {"\xC4\xA0", " "},
    {"\xC4\x8A", "\n"},
    {"\xC4\x89", "\t"},
    {"\xC4\x8D", "\r"},
    {"\xE2\x96\x81", " "},
}};
constexpr std::array<std::pair<char, std::string_view>, 3> kEscapes = {{{'\n', "\\n"}, {'\t', "\\t"}, {'\r', "\\r"}}};

std::string escape(char c) {
  for (const auto& [plain, escaped] : kEscapes) {
    if (c == plain) return std::string(escaped);
  }
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
}

std::string with_thousands(std::string digits) {
  const size_t sign = digits.starts_with('-') ? 1 : 0;
  const size_t point = std::min(digits.find('.'), digits.size());
  for (size_t i = point; i > sign + 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

}  // namespace

std::string readable_piece(const std::string& piece) {
  std::string text = piece;
  for (const auto& [letter, plain] : kStandIns) {
    for (size_t at = text.find(letter); at != std::string::npos; at = text.find(letter, at + plain.size())) {
      text.replace(at, letter.size(), plain);
    }
  }
  std::string escaped;
  for (char c : text) escaped += escape(c);
  return escaped;
}

std::string token_text(const DumpTokens& tokens, int64_t row) {
  const auto index = static_cast<size_t>(row);
  if (index < tokens.strings.size() && !tokens.strings[index].empty()) return readable_piece(tokens.strings[index]);
  return fmt::format("id {}", tokens.ids[index]);
}

int64_t token_row(const DumpTokens& tokens, int64_t prompt, int64_t token) {
  if (prompt < 0 || prompt >= tokens.n_prompts() || token < 0 || token >= tokens.length(prompt)) {
    fail("the dump has no token {} in prompt {}: the results are of another one, run `spikescope analyze` again", token,
         prompt);
  }
  return tokens.offsets[static_cast<size_t>(prompt)] + token;
}

std::string token_label(const DumpTokens& tokens, int64_t prompt, int64_t token) {
  return fmt::format("{} '{}'", token, token_text(tokens, token_row(tokens, prompt, token)));
}

std::string number(double value) {
  if (std::isnan(value)) return "-";
  const double magnitude = std::abs(value);
  if (magnitude < 1.0 || magnitude >= 1e9) return fmt::format("{:.3g}", value);
  const int decimals = magnitude >= 1000 ? 0 : magnitude >= 100 ? 1 : magnitude >= 10 ? 2 : 3;
  return with_thousands(fmt::format("{:.{}f}", value, decimals));
}

std::string number(const Json& value) { return number(number_or_nan(value)); }

// An error of 0 says that all windows are the same in this, not that the figure is exact.
std::string number(double value, double error) {
  if (!std::isfinite(value) || !std::isfinite(error) || error <= 0.0) return number(value);
  if (error < 99.5 || error >= 1e9) return fmt::format("{} ± {:.2g}", number(value), error);
  const double unit = std::pow(10.0, std::floor(std::log10(error)) - 1.0);
  return fmt::format("{} ± {}", number(value), with_thousands(fmt::format("{:.0f}", std::round(error / unit) * unit)));
}

double standard_error(const Json& row, const std::string& key) {
  const auto found = row.find(key + "_se");
  return found == row.end() ? std::numeric_limits<double>::quiet_NaN() : number_or_nan(*found);
}

std::string number_with_error(const Json& row, const std::string& key) {
  return number(number_or_nan(row.at(key)), standard_error(row, key));
}

std::string percent(double share) { return std::isnan(share) ? "-" : fmt::format("{:.3g} %", 100.0 * share); }

std::string percent(double share, double error) {
  return std::isfinite(share) && std::isfinite(error) && error > 0.0
             ? fmt::format("{:.3g} ± {:.2g} %", 100.0 * share, 100.0 * error)
             : percent(share);
}

std::string data_label(const Json& results) {
  const int64_t windows = results.at("windows").get<int64_t>(), tokens = results.at("tokens").get<int64_t>();
  return fmt::format("{}, {} prompt{}, {} token{}", results.at("model").get<std::string>(), windows,
                     windows == 1 ? "" : "s", with_thousands(std::to_string(tokens)), tokens == 1 ? "" : "s");
}

std::string layer_range(int64_t first, int64_t last) {
  return first == last ? fmt::format("layer {}", first) : fmt::format("layers {} to {}", first, last);
}

std::string join_words(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " and " : ", ";
    text += words[i];
  }
  return text;
}

double number_or_nan(const Json& value) {
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace spikescope
