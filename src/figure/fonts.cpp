#include "figure/fonts.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "base/error.h"
#include "base/utf8.h"
#include "figure/text.h"
#include "io/output_file.h"
#include "io/process.h"
#include "io/scratch_folder.h"

namespace spikescope {
namespace {

constexpr std::string_view kCommon =
    "20-7e a0-24f 370-3ff 400-4ff 2010-203a 2070-2079 207a-207b 2190-2195 2212 221e 2264-2265";

std::string ask_fontconfig() {
  try {
    const ScratchFolder scratch;
    const int code = run_process({"fc-list", "--format", "%{charset}\n"}, scratch / "charsets").code;
    return code == 0 ? read_file(scratch / "charsets", 64 << 20) : std::string();
  } catch (const Error&) {
    return "";
  }
}

}  // namespace

FontCoverage::FontCoverage(std::string_view charsets) {
  for (size_t begin = 0; begin < charsets.size();) {
    const size_t end = std::min(charsets.find_first_of(" \n", begin), charsets.size());
    const std::string_view word = charsets.substr(begin, end - begin);
    begin = end + 1;
    uint32_t first = 0, last = 0;
    const char* stop = word.data() + word.size();
    auto parsed = std::from_chars(word.data(), stop, first, 16);
    if (parsed.ec != std::errc()) continue;
    last = first;
    if (parsed.ptr != stop && *parsed.ptr == '-') {
      parsed = std::from_chars(parsed.ptr + 1, stop, last, 16);
      if (parsed.ec != std::errc()) continue;
    }
    if (parsed.ptr == stop && first <= last) spans_.push_back({first, last});
  }
  std::sort(spans_.begin(), spans_.end(), [](const Span& a, const Span& b) { return a.first < b.first; });
  std::vector<Span> merged;
  for (const Span& span : spans_) {
    if (!merged.empty() && span.first <= merged.back().last + 1) {
      merged.back().last = std::max(merged.back().last, span.last);
    } else {
      merged.push_back(span);
    }
  }
  spans_ = std::move(merged);
}

bool FontCoverage::covers(char32_t code) const {
  const auto above = std::upper_bound(spans_.begin(), spans_.end(), code,
                                      [](char32_t value, const Span& span) { return value < span.first; });
  return above != spans_.begin() && code <= std::prev(above)->last;
}

std::string FontCoverage::drawable(std::string_view text) const {
  std::string out;
  for (size_t position = 0; position < text.size();) {
    const size_t start = position;
    const char32_t code = next_code_point(text, position);
    const std::string_view letter = text.substr(start, position - start);
    if (code < 0x80 || covers(code)) {
      out += letter;
    } else {
      const std::string_view square = covers(0x25A1) ? "\u25A1" : "?";
      for (size_t i = 0; i < display_cells(letter); ++i) out += square;
    }
  }
  return out;
}

const FontCoverage& installed_fonts() {
  static const FontCoverage fonts = [] {
    const FontCoverage found(ask_fontconfig());
    return found.covers('a') ? found : FontCoverage(kCommon);
  }();
  return fonts;
}

}  // namespace spikescope
