#pragma once

#include <filesystem>
#include <span>

#include "figure/figure.h"

namespace spikescope {

/// Writes ID.svg, ID.pdf, ID.png (200 dots an inch) and ID.csv of each figure into `folder`, by one run of gnuplot.
/// Files appear whole or not at all. Throws Error when two figures have the same id, a figure's arrays do not fit
/// together, gnuplot is missing or fails, or the folder cannot be written to.
void render_files(std::span<const Figure> figures, const std::filesystem::path& folder);
void render_files(const Figure& figure, const std::filesystem::path& folder);

}  // namespace spikescope
