// Strings out of untrusted models and prompts, made fit to be shown; and how much room they take.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace spikescope {

/// `text` with every byte sequence that is not UTF-8 replaced by U+FFFD, and NUL as well (XML, HTML and CSV readers
/// choke on it). All else is kept.
std::string valid_utf8(std::string_view text);

/// `text` as one line that shows all there is: UTF-8, a newline as ⏎, a tab as ⇥, other control characters and those
/// that hide or reorder others (bidi controls, zero widths) by number, e.g. "‹U+202E›". The result has no character
/// that XML forbids. Longer than `max_cells` (display_cells), it is cut and ends in "…".
std::string visible_text(std::string_view text, size_t max_cells = static_cast<size_t>(-1));

/// `text` for the content of HTML, SVG and XML elements and for plotly.js, with & < > as entities. Not for attributes:
/// quotes stay, since plotly.js shows their entities as they are.
std::string escape_markup(std::string_view text);

/// Columns that `text` takes in a monospaced font: 2 for East Asian wide characters and emoji, 0 for combining marks.
size_t display_cells(std::string_view text);

/// Approximate width of `text` in the figures' proportional font, in units of the font size.
double text_width(std::string_view text);

}  // namespace spikescope
