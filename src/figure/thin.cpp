#include "figure/thin.h"

#include <algorithm>
#include <cmath>

namespace spikescope {

std::vector<std::vector<size_t>> thin_rows(const Surface& surface, size_t most_a_row) {
  const size_t columns = surface.x.size();
  const size_t bins = std::min(columns, std::max<size_t>(most_a_row, 2));
  std::vector<std::vector<size_t>> rows(surface.y.size());
  for (size_t r = 0; r < rows.size(); ++r) {
    const auto size_at = [&](size_t column) {
      const double z = surface.z[r * columns + column];
      return std::isfinite(z) ? std::abs(z) : -1;  // a bin of nothing but NaN keeps one, as the gap
    };
    for (size_t bin = 0; bin < bins; ++bin) {
      const size_t first = bin * columns / bins, end = (bin + 1) * columns / bins;
      size_t best = first;
      for (size_t c = first; c < end; ++c) {
        if (size_at(c) > size_at(best)) best = c;
      }
      if (bin == 0 && best != 0) rows[r].push_back(r * columns);
      rows[r].push_back(r * columns + best);
      if (bin + 1 == bins && best + 1 != columns) rows[r].push_back(r * columns + columns - 1);
    }
  }
  return rows;
}

std::vector<size_t> peak_cells(const Surface& surface, size_t most) {
  std::vector<double> sizes;
  std::vector<size_t> cells;
  for (size_t i = 0; i < surface.z.size(); ++i) {
    if (!std::isfinite(surface.z[i])) continue;
    sizes.push_back(std::abs(surface.z[i]));
    cells.push_back(i);
  }
  if (cells.empty()) return {};
  const auto middle = sizes.begin() + static_cast<std::ptrdiff_t>((sizes.size() - 1) / 2);
  std::nth_element(sizes.begin(), middle, sizes.end());
  const double median = *middle;
  const size_t kept = std::min(most, cells.size());
  const auto larger = [&](size_t a, size_t b) { return std::abs(surface.z[a]) > std::abs(surface.z[b]); };
  std::partial_sort(cells.begin(), cells.begin() + static_cast<std::ptrdiff_t>(kept), cells.end(), larger);
  cells.resize(kept);
  if (cells.empty()) return {};
  const double largest = std::abs(surface.z[cells[0]]);
  const double least = std::max(largest / 20, 50 * median);
  std::erase_if(cells, [&](size_t cell) { return std::abs(surface.z[cell]) < least || surface.z[cell] == 0; });
  return cells;
}

}  // namespace spikescope
