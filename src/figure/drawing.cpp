#include "figure/drawing.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>

#include "figure/fonts.h"
#include "figure/text.h"

namespace spikescope {
namespace {

constexpr double kPngDpi = 200;
// Sober, narrow, and with nearly the widths of Helvetica and Arial, which stand in where an SVG's reader lacks it.
constexpr std::string_view kSans = "DejaVu Sans Condensed", kMono = "DejaVu Sans Mono";

std::string octal_string(std::string_view bytes) {
  std::string out = "\"";
  for (const char c : bytes) {
    // Digits are escaped too: gnuplot reads on past the third digit of an escape.
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == ' ') {
      out += c;
    } else {
      out += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
    }
  }
  return out + '"';
}

auto appender(std::string& text) { return std::back_inserter(text); }

}  // namespace

std::string gnuplot_string(std::string_view text) {
  std::string bytes;
  for (const char c : installed_fonts().drawable(visible_text(text))) {
    // SVG readers drop spaces at the ends of a text and join those within: tokens begin with them.
    if (c == ' ')
      bytes += "\u00A0";
    else
      bytes += c;
  }
  return octal_string(bytes);
}

Drawing::Drawing(double width, double height) : width_(width), height_(height) {}

std::string& Drawing::start_data(std::string_view columns, std::string_view style) {
  ++blocks_;
  fmt::format_to(appender(clauses_), "{}$d{} using {} {} notitle", blocks_ == 1 ? "" : ", \\\n  ", blocks_, columns,
                 style);
  fmt::format_to(appender(setup_), "$d{} << END\n", blocks_);
  return setup_;
}

void Drawing::line(std::span<const PaperPoint> points, const Stroke& stroke) {
  const std::string style = fmt::format("with lines lw {:.2f} lc rgb \"{}\" dt {}", stroke.width, stroke.color,
                                        stroke.dashed ? "(5,4)" : "solid");
  std::string& data = start_data("1:2", style);
  for (const PaperPoint& point : points) {
    if (std::isfinite(point.x) && std::isfinite(point.y)) {
      fmt::format_to(appender(data), "{:.4f} {:.4f}\n", point.x, point.y);
    } else {
      data += "\n";  // an empty line breaks the curve
    }
  }
  data += "END\n";
}

void Drawing::line(PaperPoint from, PaperPoint to, const Stroke& stroke) {
  const PaperPoint ends[] = {from, to};
  line(ends, stroke);
}

void Drawing::area(std::span<const PaperPoint> outline, std::string_view color) {
  std::string& data =
      start_data("1:2", fmt::format("with filledcurves closed fs solid 1 noborder fc rgb \"{}\"", color));
  for (const PaperPoint& point : outline) fmt::format_to(appender(data), "{:.4f} {:.4f}\n", point.x, point.y);
  data += "END\n";
}

void Drawing::dots(std::span<const PaperPoint> points, double radius, std::string_view color) {
  std::string& data = start_data(fmt::format("1:2:({:.4f})", radius),
                                 fmt::format("with circles fs solid 1 noborder fc rgb \"{}\"", color));
  for (const PaperPoint& point : points) {
    if (std::isfinite(point.x) && std::isfinite(point.y)) {
      fmt::format_to(appender(data), "{:.4f} {:.4f}\n", point.x, point.y);
    }
  }
  data += "END\n";
}

void Drawing::boxes(std::span<const Box> boxes) {
  std::string& data =
      start_data("(($1+$3)/2):(($2+$4)/2):1:3:2:4:5", "with boxxyerror fs solid 1 noborder fc rgb variable");
  for (const Box& box : boxes) {
    fmt::format_to(appender(data), "{:.4f} {:.4f} {:.4f} {:.4f} {}\n", box.left, box.bottom, box.right, box.top,
                   box.color);
  }
  data += "END\n";
}

void Drawing::raster(const Box& frame, size_t columns, size_t rows, std::span<const unsigned> colors) {
  std::string& data = start_data("1:2:3:4:5", "with rgbimage");
  const double width = (frame.right - frame.left) / static_cast<double>(columns);
  const double height = (frame.top - frame.bottom) / static_cast<double>(rows);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t column = 0; column < columns; ++column) {
      const unsigned color = colors[row * columns + column];
      fmt::format_to(
          appender(data), "{:.5f} {:.5f} {} {} {}\n", frame.left + (static_cast<double>(column) + 0.5) * width,
          frame.bottom + (static_cast<double>(row) + 0.5) * height, color >> 16, color >> 8 & 0xFF, color & 0xFF);
    }
  }
  data += "END\n";
}

void Drawing::text(PaperPoint at, std::string_view text, const TextStyle& style) {
  static constexpr std::string_view align[] = {"left", "center", "right"};
  fmt::format_to(appender(setup_),
                 "set label {} at {:.4f},{:.4f} {} rotate by {} font \"{}{},{:.1f}\" tc rgb \"{}\" front\n",
                 gnuplot_string(text), at.x, at.y, align[static_cast<int>(style.align)], style.rotate,
                 style.mono ? kMono : kSans, style.bold ? ":Bold" : "", style.size, style.color);
}

std::string Drawing::script(const std::filesystem::path& svg, const std::filesystem::path& pdf,
                            const std::filesystem::path& png) const {
  // An axis of one inch a unit over the whole sheet. A plot command needs something to plot.
  std::string out = fmt::format(
      "reset session\nset encoding utf8\nset margins 0,0,0,0\nunset border\nunset tics\nunset key\n"
      "set xrange [0:{0}]\nset yrange [0:{1}]\nset style fill solid 1 noborder\n{2}",
      width_, height_, setup_);
  const std::string plot = clauses_.empty() ? "plot NaN notitle" : "plot " + clauses_;
  const auto page = [&](const std::filesystem::path& file, const std::string& terminal) {
    fmt::format_to(appender(out), "set terminal {}\nset output {}\n{}\nunset output\n", terminal,
                   octal_string(std::filesystem::absolute(file).string()), plot);
  };
  // Fonts and lines are in points; each terminal has units of its own (the cairo terminals take a point of type for
  // 1/96 inch, pdfcairo a line's for 1/144).
  page(svg,
       fmt::format("svg noenhanced size {:.0f},{:.0f} fixed font \"{},8\" fontscale {:.4f} linewidth {:.4f} rounded "
                   "background \"#ffffff\"",
                   width_ * 96, height_ * 96, kSans, 96 / 72.0, 96 / 72.0));
  page(pdf,
       fmt::format("pdfcairo noenhanced color size {:.3f}in,{:.3f}in font \"{},8\" fontscale 0.75 linewidth 2 rounded",
                   width_, height_, kSans));
  page(png, fmt::format(
                "pngcairo noenhanced color size {:.0f},{:.0f} font \"{},8\" fontscale {:.4f} linewidth {:.4f} rounded",
                width_ * kPngDpi, height_ * kPngDpi, kSans, kPngDpi / 96, kPngDpi / 72));
  return out;
}

}  // namespace spikescope
