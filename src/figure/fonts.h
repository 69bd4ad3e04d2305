// What the installed fonts can draw. For a character that no font has, pango draws a box with its number - in gnuplot's
// terminals hundreds of times too large, over the whole figure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace spikescope {

/// A set of code points.
class FontCoverage {
 public:
  /// `charsets`: lines as fc-list prints them for %{charset}, "20-7e a0 e001-e0ff", in any order.
  explicit FontCoverage(std::string_view charsets);

  bool covers(char32_t code) const;
  /// `text` with an empty square in each column that no font could fill, so that its width stays.
  std::string drawable(std::string_view text) const;

 private:
  struct Span {
    char32_t first, last;
  };
  std::vector<Span> spans_;  ///< ascending, apart
};

/// What all fonts of the system have together, asked of fontconfig once a process; where it cannot be asked, European
/// alphabets and the signs that figures use.
const FontCoverage& installed_fonts();

}  // namespace spikescope
