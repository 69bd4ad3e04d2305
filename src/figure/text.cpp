#include "figure/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/utf8.h"

namespace spikescope {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct CodeRange {
  char32_t first, last;
};

bool contains(const auto& ranges, char32_t code) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [code](const CodeRange& range) { return code >= range.first && code <= range.last; });
}

// Drawn as nothing, or changing the order of what is around them; with the controls, and what XML does not allow.
constexpr std::array kHidden = {CodeRange{0x00, 0x1F},     CodeRange{0x7F, 0x9F},     CodeRange{0xAD, 0xAD},
                                CodeRange{0x61C, 0x61C},   CodeRange{0x180E, 0x180E}, CodeRange{0x200B, 0x200F},
                                CodeRange{0x2028, 0x202E}, CodeRange{0x2060, 0x206F}, CodeRange{0xFEFF, 0xFEFF},
                                CodeRange{0xFFF9, 0xFFFB}, CodeRange{0xFFFE, 0xFFFF}, CodeRange{0xE0000, 0xE0FFF}};
constexpr std::array kWide = {CodeRange{0x1100, 0x115F},   CodeRange{0x2E80, 0x303E},  CodeRange{0x3041, 0xA4CF},
                              CodeRange{0xAC00, 0xD7A3},   CodeRange{0xF900, 0xFAFF},  CodeRange{0xFE30, 0xFE6F},
                              CodeRange{0xFF00, 0xFF60},   CodeRange{0xFFE0, 0xFFE6},  CodeRange{0x1F300, 0x1F64F},
                              CodeRange{0x1F680, 0x1FAFF}, CodeRange{0x20000, 0x3FFFD}};
constexpr std::array kCombining = {CodeRange{0x300, 0x36F},   CodeRange{0x483, 0x489},   CodeRange{0x591, 0x5BD},
                                   CodeRange{0x610, 0x61A},   CodeRange{0x64B, 0x65F},   CodeRange{0x93C, 0x94D},
                                   CodeRange{0xE31, 0xE31},   CodeRange{0xE34, 0xE3A},   CodeRange{0xE47, 0xE4E},
                                   CodeRange{0x1AB0, 0x1AFF}, CodeRange{0x1DC0, 0x1DFF}, CodeRange{0x20D0, 0x20FF},
                                   CodeRange{0xFE00, 0xFE0F}, CodeRange{0xFE20, 0xFE2F}};

size_t cells_of(char32_t code) {
  if (contains(kCombining, code)) return 0;
  return contains(kWide, code) ? 2 : 1;
}

void append_visible(std::string& out, char32_t code) {
  if (code == kInvalidUtf8) {
    out += kReplacement;
  } else if (code == '\n') {
    append_utf8(out, 0x23CE);
  } else if (code == '\t') {
    append_utf8(out, 0x21E5);
  } else if (contains(kHidden, code) || (code & 0xFFFE) == 0xFFFE) {
    out += fmt::format("\u2039U+{:04X}\u203A", static_cast<uint32_t>(code));
  } else {
    append_utf8(out, code);
  }
}

}  // namespace

std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t position = 0; position < text.size();) {
    const char32_t code = next_code_point(text, position);
    if (code == kInvalidUtf8 || code == 0) {
      out += kReplacement;
    } else {
      append_utf8(out, code);
    }
  }
  return out;
}

std::string visible_text(std::string_view text, size_t max_cells) {
  std::string out;
  size_t cells = 0, marks = 0;
  size_t end_of_last_fit = 0;  // where to cut, with room left for the ellipsis
  for (size_t position = 0; position < text.size();) {
    const char32_t code = next_code_point(text, position);
    const size_t start = out.size();
    append_visible(out, code);
    const size_t width = display_cells(std::string_view(out).substr(start));
    // A stack of marks on one letter is as good as a long text: it grows over its neighbours.
    marks = width == 0 ? marks + 1 : 0;
    if (marks > 4) {
      out.resize(start);
      continue;
    }
    cells += width;
    if (cells > max_cells) {
      out.resize(end_of_last_fit);
      return out + "\u2026";
    }
    if (cells < max_cells) end_of_last_fit = out.size();
  }
  return out;
}

std::string escape_markup(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

size_t display_cells(std::string_view text) {
  size_t cells = 0;
  for (size_t position = 0; position < text.size();) cells += cells_of(next_code_point(text, position));
  return cells;
}

double text_width(std::string_view text) {
  static constexpr std::string_view narrow = "iljtfI.,:;|!'()[]{} ", broad = "mwMW@%";
  double width = 0;
  for (size_t position = 0; position < text.size();) {
    const char32_t code = next_code_point(text, position);
    const char ascii = code < 0x80 ? static_cast<char>(code) : 'a';
    if (code >= 0x80) {
      width += cells_of(code) == 2 ? 1.0 : 0.58 * static_cast<double>(cells_of(code));
    } else if (narrow.find(ascii) != std::string_view::npos) {
      width += 0.33;
    } else if (broad.find(ascii) != std::string_view::npos) {
      width += 0.85;
    } else {
      width += ascii >= 'A' && ascii <= 'Z' ? 0.63 : 0.565;
    }
  }
  return width;
}

}  // namespace spikescope
