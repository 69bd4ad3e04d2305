#include "report/html.h"

#include <algorithm>
#include <cstdint>

#include "figure/text.h"

namespace spikescope {
namespace {

bool starts_with_any_case(std::string_view text, std::string_view lower) {
  if (text.size() < lower.size()) return false;
  for (size_t i = 0; i < lower.size(); ++i) {
    const char c = text[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c) != lower[i]) return false;
  }
  return true;
}

}  // namespace

std::string html_text(std::string_view text, size_t max_cells) {
  std::string out;
  for (const char c : escape_markup(visible_text(text, max_cells))) {
    if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string html_lines(std::string_view text) {
  std::string out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    out += html_text(text.substr(begin, end - begin));
    out += '\n';
    begin = end + 1;
  }
  return out;
}

std::string data_uri(std::string_view type, std::string_view bytes) {
  static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out = "data:";
  out.append(type).append(";base64,");
  out.reserve(out.size() + bytes.size() * 4 / 3 + 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](size_t at) { return at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0u; };
    const uint32_t group = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    out += digits[group >> 18];
    out += digits[group >> 12 & 63];
    out += i + 1 < bytes.size() ? digits[group >> 6 & 63] : '=';
    out += i + 2 < bytes.size() ? digits[group & 63] : '=';
  }
  return out;
}

std::string json_in_script(std::string json) {
  std::string out;
  out.reserve(json.size() + json.size() / 16);
  for (const char c : json) {
    // These stand within strings only, where \u is as good as the letter.
    if (c == '<')
      out += "\\u003c";
    else if (c == '>')
      out += "\\u003e";
    else if (c == '&')
      out += "\\u0026";
    else
      out += c;
  }
  return out;
}

std::string javascript_in_script(std::string_view code) {
  std::string out;
  out.reserve(code.size() + 64);
  for (size_t i = 0; i < code.size(); ++i) {
    const std::string_view rest = code.substr(i);
    out += code[i];
    if (code[i] != '<') continue;
    if (starts_with_any_case(rest, "</script") || rest.starts_with("<!--")) out += '\\';
    if (starts_with_any_case(rest, "<script")) {
      out += "\\x73";  // the s
      ++i;
    }
  }
  return out;
}

}  // namespace spikescope
