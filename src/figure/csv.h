#pragma once

#include <string>

#include "figure/figure.h"

namespace spikescope {

/// The figure's data as CSV by RFC 4180: comma, CRLF, quotes where needed, UTF-8 (bytes that are not become U+FFFD), a
/// header line. Lines with one x: a column a series; else series, x, y.
/// Panels: panel, series, x, value. Heat maps and surfaces: x, y, value, a line a
/// cell. Token strips: index, token, value, marked. Categories have a column with their name. Numbers have nine
/// significant digits; NaN is an empty field. Throws Error for a figure that check_figure refuses.
std::string to_csv(const Figure& figure);

/// A table's columns and rows, in the same way; its cells as they are.
std::string to_csv(const Table& table);

}  // namespace spikescope
