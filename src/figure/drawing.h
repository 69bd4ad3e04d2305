// A sheet of paper in inches, turned into a gnuplot script. Everything that a paper figure is made of - lines, areas,
// boxes, dots, text - is placed by the figure's own layout code; gnuplot sets the type and writes SVG, PDF and PNG.
// Texts reach the script as octal escapes only, so that none can be a command, a shell substitution or a format.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spikescope {

/// Inches from the lower left corner.
struct PaperPoint {
  double x, y;
};

/// width in points. The color, "#rrggbb" or with opacity in front "#aarrggbb" (00 is opaque), is the program's own,
/// never a string from outside.
struct Stroke {
  std::string_view color = "#333333";
  double width = 0.6;
  bool dashed = false;
};

struct TextStyle {
  enum class Align { left, center, right };
  Align align = Align::left;
  double size = 8;  ///< in points
  std::string_view color = "#222222";
  int rotate = 0;  ///< degrees, counter-clockwise
  bool mono = false, bold = false;
};

/// An axis-parallel box with its color 0xRRGGBB.
struct Box {
  double left, bottom, right, top;
  unsigned color;
};

class Drawing {
 public:
  Drawing(double width, double height);

  double width() const { return width_; }
  double height() const { return height_; }

  /// Shapes cover what was drawn before them; texts are above all shapes.
  void line(std::span<const PaperPoint> points, const Stroke& stroke);
  void line(PaperPoint from, PaperPoint to, const Stroke& stroke);
  void area(std::span<const PaperPoint> outline, std::string_view color);
  void dots(std::span<const PaperPoint> points, double radius, std::string_view color);
  void boxes(std::span<const Box> boxes);
  /// A raster, the lower row first, of equal cells that fill `frame` (its color is not used).
  void raster(const Box& frame, size_t columns, size_t rows, std::span<const unsigned> colors);
  /// Centred vertically on `at`. `text` may be anything; it is made visible first.
  void text(PaperPoint at, std::string_view text, const TextStyle& style = {});

  /// gnuplot commands that write the sheet to the three files.
  std::string script(const std::filesystem::path& svg, const std::filesystem::path& pdf,
                     const std::filesystem::path& png) const;

 private:
  std::string& start_data(std::string_view columns, std::string_view style);

  double width_, height_;
  std::string setup_;    ///< data blocks and labels
  std::string clauses_;  ///< of the plot command
  int blocks_ = 0;
};

/// `text`, made visible and drawable with the installed fonts, as a double-quoted gnuplot string of letters, spaces and
/// \ooo alone.
std::string gnuplot_string(std::string_view text);

}  // namespace spikescope
