// Colours that the colour-blind can tell apart.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace spikescope {

inline constexpr size_t kSeriesColors = 6;
/// Colour of the n-th series, "#0072b2": Okabe and Ito's eight without black and yellow, which vanish on a dark or a
/// white page. Repeats after kSeriesColors.
std::string_view series_color(size_t n);

/// Viridis (van der Walt and Smith), eleven even steps from low to high.
std::span<const std::string_view> viridis();

/// White to dark blue (ColorBrewer Blues), for values behind black text.
std::span<const std::string_view> blues();

/// Colour at `position` (clamped to 0..1) between the steps of `palette`, as 0xRRGGBB.
unsigned palette_color(std::span<const std::string_view> palette, double position);

inline constexpr std::string_view kRidgeColor = "#2a6f9e";  ///< the floor of a surface
inline constexpr std::string_view kSpikeColor = "#d55e00";  ///< peaks, outlines of spike tokens

}  // namespace spikescope
