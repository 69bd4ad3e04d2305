// The parts that line plots and heat maps share: the frame with its axes, ticks and labels, and the marked ranges of x.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "figure/drawing.h"
#include "figure/figure.h"
#include "figure/ticks.h"

namespace spikescope {

inline constexpr double kSheetWidth = 4.8;  ///< inches: a column and a half, readable when set as one column
inline constexpr double kLabelSize = 9, kTickSize = 8;  ///< points
inline constexpr std::string_view kInk = "#262626", kMuted = "#5f6368", kGrid = "#e8e8e8";

/// Width of `text` in inches at `points`.
double text_inches(std::string_view text, double points);
/// `text`, made visible, in one line or two (broken at a space near its middle) of at most `inches`, cut where it must
/// be.
std::vector<std::string> fitted_lines(std::string_view text, double points, double inches);
/// Width of the widest tick label, in inches.
double widest_label(std::span<const Tick> ticks);

/// Where the data go: a box on the sheet and the ranges of its two axes.
struct Frame {
  Box box;
  Range x, y;

  double at_x(double value) const { return box.left + x.position(value) * (box.right - box.left); }
  double at_y(double value) const { return box.bottom + y.position(value) * (box.top - box.bottom); }
};

/// Ticks below the frame: as many as have room, turned by 45 degrees where names are long.
struct BottomAxis {
  std::vector<Tick> ticks;
  bool turned = false;
  double height = 0;    ///< inches that ticks and label take below the frame
  double overhang = 0;  ///< inches that the first name, turned, reaches beyond the frame's left edge
};
BottomAxis bottom_axis(const Axis& axis, const Range& range, double width, bool whole);
void draw_bottom_axis(Drawing& sheet, const Frame& frame, const Axis& axis, const BottomAxis& bottom);

/// Ticks beside the frame; `right`: on its right side.
void draw_side_axis(Drawing& sheet, const Frame& frame, const Range& range, const Axis& axis,
                    std::span<const Tick> ticks, bool right);
/// Inches that a side axis takes beside a frame of that height.
double side_axis_width(const Axis& axis, std::span<const Tick> ticks, double frame_height);

/// Labels of the bands, placed in rows above the frame so that they do not meet.
struct BandRows {
  std::vector<int> row;
  double height = 0;  ///< inches above the frame
};
BandRows band_rows(std::span<const Band> bands, const Frame& frame);
/// With `shade`, the bands' background inside the frame; otherwise a bracket above it.
void draw_band_shade(Drawing& sheet, const Frame& frame, std::span<const Band> bands);
void draw_band_labels(Drawing& sheet, const Frame& frame, std::span<const Band> bands, const BandRows& rows,
                      bool bracket);

}  // namespace spikescope
