#include "figure/palette.h"

#include <algorithm>
#include <cmath>

namespace spikescope {
namespace {

constexpr std::array<std::string_view, kSeriesColors> kSeries = {"#0072b2", "#d55e00", "#009e73",
                                                                 "#e69f00", "#cc79a7", "#56b4e9"};
constexpr std::array<std::string_view, 11> kViridis = {"#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c",
                                                       "#22a884", "#44bf70", "#7ad151", "#bddf26", "#fde725"};
constexpr std::array<std::string_view, 6> kBlues = {"#f7fbff", "#d6e6f4", "#abd0e6", "#6aaed6", "#3787c0", "#105ba4"};

unsigned rgb(std::string_view color) {
  return static_cast<unsigned>(std::stoul(std::string(color.substr(1)), nullptr, 16));
}

}  // namespace

std::string_view series_color(size_t n) { return kSeries[n % kSeriesColors]; }
std::span<const std::string_view> viridis() { return kViridis; }
std::span<const std::string_view> blues() { return kBlues; }

unsigned palette_color(std::span<const std::string_view> palette, double position) {
  const double steps = static_cast<double>(palette.size() - 1);
  const double place = std::isnan(position) ? 0 : std::clamp(position, 0.0, 1.0) * steps;
  const size_t below = std::min(static_cast<size_t>(place), palette.size() - 2);
  const double part = place - static_cast<double>(below);
  const unsigned low = rgb(palette[below]), high = rgb(palette[below + 1]);
  unsigned color = 0;
  for (const int shift : {16, 8, 0}) {
    const double channel = (low >> shift & 0xFF) * (1 - part) + (high >> shift & 0xFF) * part;
    color |= static_cast<unsigned>(std::lround(channel)) << shift;
  }
  return color;
}

}  // namespace spikescope
