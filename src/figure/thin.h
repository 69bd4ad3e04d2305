// Fewer points without losing a spike.
#pragma once

#include <cstddef>
#include <vector>

#include "figure/figure.h"

namespace spikescope {

/// For each row of the surface, the cells (indices into z, in order of x) that draw it with about `most_a_row` points:
/// all of a short row, else the cell of largest |z| in each of that many bins of columns, and both ends.
std::vector<std::vector<size_t>> thin_rows(const Surface& surface, size_t most_a_row);

/// The cells that stand out, largest |z| first, at most `most`: at least a twentieth of the largest, and fifty times
/// the median of |z|. Empty for a surface without spikes.
std::vector<size_t> peak_cells(const Surface& surface, size_t most);

}  // namespace spikescope
