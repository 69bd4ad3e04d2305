#include "figure/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "figure/text.h"

namespace spikescope {
namespace {

constexpr const char *kError = "standard error", *kErrorOf = " (standard error)";

class CsvWriter {
 public:
  CsvWriter& text(std::string_view value) {
    separate();
    const std::string utf8 = valid_utf8(value);
    const bool spaces_at_ends = !utf8.empty() && (utf8.front() == ' ' || utf8.back() == ' ');
    if (!spaces_at_ends && utf8.find_first_of(",\"\r\n") == std::string::npos) {
      out_ += utf8;
      return *this;
    }
    out_ += '"';
    for (const char c : utf8) out_.append(c == '"' ? 2 : 1, c);
    out_ += '"';
    return *this;
  }
  CsvWriter& number(double value) {
    separate();
    if (!std::isnan(value)) fmt::format_to(std::back_inserter(out_), "{:.9g}", value);
    return *this;
  }
  void end_line() {
    out_ += "\r\n";
    first_ = true;
  }
  std::string take() { return std::move(out_); }

 private:
  void separate() {
    if (!first_) out_ += ',';
    first_ = false;
  }
  std::string out_;
  bool first_ = true;
};

std::string or_else(const std::string& name, std::string_view fallback) {
  return name.empty() ? std::string(fallback) : name;
}

/// An axis in the table: its value and, where it has categories, the name.
struct AxisColumns {
  const Axis& axis;
  std::string_view fallback;

  void header(CsvWriter& csv) const {
    const std::string name = or_else(axis.label, fallback);
    csv.text(name);
    if (!axis.categories.empty()) csv.text(name + " name");
  }
  void cell(CsvWriter& csv, double value) const {
    csv.number(value);
    if (axis.categories.empty()) return;
    const bool named = value >= 0 && value < static_cast<double>(axis.categories.size());
    csv.text(named ? axis.categories[static_cast<size_t>(value)] : std::string());
  }
};

void write_grid(CsvWriter& csv, const Figure& figure, const auto& grid, const std::string& value_name) {
  const AxisColumns x{figure.x, "x"}, y{figure.y, "y"};
  x.header(csv);
  y.header(csv);
  csv.text(or_else(value_name, "value")).end_line();
  for (size_t row = 0; row < grid.y.size(); ++row) {
    for (size_t column = 0; column < grid.x.size(); ++column) {
      x.cell(csv, grid.x[column]);
      y.cell(csv, grid.y[row]);
      csv.number(grid.z[row * grid.x.size() + column]).end_line();
    }
  }
}

bool any_errors(const std::vector<Series>& all) {
  return std::any_of(all.begin(), all.end(), has_errors);
}

/// The cell of a value's standard error, empty where it has none.
void error_cell(CsvWriter& csv, const Series& series, size_t i) {
  csv.number(series.errors.empty() ? std::numeric_limits<double>::quiet_NaN() : series.errors[i]);
}

struct ContentWriter {
  const Figure& figure;
  CsvWriter& csv;

  void operator()(const Lines& lines) const {
    const AxisColumns x{figure.x, "x"};
    const auto& all = lines.series;
    const bool one_x =
        !all.empty() && std::all_of(all.begin(), all.end(), [&](const Series& s) { return s.x == all[0].x; });
    if (one_x) {
      x.header(csv);
      for (const Series& series : all) {
        csv.text(or_else(series.name, or_else(figure.y.label, "y")));
        if (has_errors(series)) csv.text(or_else(series.name, or_else(figure.y.label, "y")) + kErrorOf);
      }
      csv.end_line();
      for (size_t i = 0; i < all[0].x.size(); ++i) {
        x.cell(csv, all[0].x[i]);
        for (const Series& series : all) {
          csv.number(series.y[i]);
          if (has_errors(series)) error_cell(csv, series, i);
        }
        csv.end_line();
      }
      return;
    }
    csv.text("series");
    x.header(csv);
    csv.text(or_else(figure.y.label, "y"));
    const bool errors = any_errors(all);
    if (errors) csv.text(kError);
    csv.end_line();
    for (const Series& series : all) {
      for (size_t i = 0; i < series.x.size(); ++i) {
        csv.text(series.name);
        x.cell(csv, series.x[i]);
        csv.number(series.y[i]);
        if (errors) error_cell(csv, series, i);
        csv.end_line();
      }
    }
  }
  void operator()(const PanelStack& stack) const {
    const AxisColumns x{figure.x, "x"};
    csv.text("panel").text("series");
    x.header(csv);
    csv.text("value");
    const bool errors = std::any_of(stack.panels.begin(), stack.panels.end(),
                                    [](const PanelStack::Panel& panel) { return any_errors(panel.lines.series); });
    if (errors) csv.text(kError);
    csv.end_line();
    for (const PanelStack::Panel& panel : stack.panels) {
      for (const Series& series : panel.lines.series) {
        for (size_t i = 0; i < series.x.size(); ++i) {
          csv.text(panel.title).text(series.name);
          x.cell(csv, series.x[i]);
          csv.number(series.y[i]);
          if (errors) error_cell(csv, series, i);
          csv.end_line();
        }
      }
    }
  }
  void operator()(const HeatMap& map) const { write_grid(csv, figure, map, map.z_label); }
  void operator()(const Surface& surface) const { write_grid(csv, figure, surface, surface.z_axis.label); }
  void operator()(const TokenStrip& strip) const {
    csv.text("index").text("token").text(or_else(strip.value_label, "value")).text("marked").end_line();
    for (size_t i = 0; i < strip.tokens.size(); ++i) {
      const bool marked =
          std::find(strip.marked.begin(), strip.marked.end(), static_cast<int>(i)) != strip.marked.end();
      csv.number(static_cast<double>(i))
          .text(strip.tokens[i])
          .number(strip.values[i])
          .text(marked ? "1" : "0")
          .end_line();
    }
  }
};

}  // namespace

std::string to_csv(const Figure& figure) {
  check_figure(figure);
  CsvWriter csv;
  std::visit(ContentWriter{figure, csv}, figure.content);
  return csv.take();
}

std::string to_csv(const Table& table) {
  CsvWriter csv;
  const auto line = [&](const std::vector<std::string>& cells) {
    for (const std::string& cell : cells) csv.text(cell);
    csv.end_line();
  };
  line(table.columns);
  for (const auto& row : table.rows) line(row);
  return csv.take();
}

}  // namespace spikescope
