#include "notebooks-export/cells.h"

#include <algorithm>
#include <sstream>

#include "base/fail.h"

namespace spikescope {
namespace {

constexpr std::string_view kMarker = "# %%", kMarkdown = "# %% [markdown]", kFigure = "# %% figure=\"";

Cell cell_of_marker(const std::string& line, std::string_view name) {
  if (line == kMarkdown) return {Cell::Kind::markdown, "", {}};
  if (line == kMarker) return {Cell::Kind::code, "", {}};
  if (!line.starts_with(kFigure) || line.find('"', kFigure.size()) != line.size() - 1)
    fail("{}: a cell begins with '{}', '{}' or '{}...\"', not '{}'", name, kMarker, kMarkdown, kFigure, line);
  Cell cell;
  std::istringstream globs(line.substr(kFigure.size(), line.size() - 1 - kFigure.size()));
  for (std::string glob; globs >> glob;) cell.figures.push_back(glob);
  if (cell.figures.empty()) fail("{}: '{}' names no figure", name, line);
  return cell;
}

/// The text of a line of markdown, "# text" or "#".
std::string uncommented(const std::string& line, std::string_view name) {
  if (line.empty() || line == "#") return "";
  if (!line.starts_with("# ")) fail("{}: a line of markdown begins with '# ', not '{}'", name, line);
  return line.substr(2);
}

void strip_blank_lines(std::string& text) {
  text.erase(0, text.find_first_not_of('\n'));
  text.erase(text.find_last_not_of('\n') + 1);
}

}  // namespace

std::vector<Cell> parse_cells(std::string_view text, std::string_view name) {
  std::vector<Cell> cells;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(kMarker)) {
      cells.push_back(cell_of_marker(line, name));
    } else if (!cells.empty()) {
      Cell& cell = cells.back();
      cell.source += (cell.kind == Cell::Kind::markdown ? uncommented(line, name) : line) + "\n";
    } else if (!line.empty()) {
      fail("{}: '{}' stands before the first cell", name, line);
    }
  }
  for (Cell& cell : cells) strip_blank_lines(cell.source);
  return cells;
}

std::vector<Cell> cells_of(std::string_view name) {
  const auto sources = cell_sources();
  const auto found =
      std::find_if(sources.begin(), sources.end(), [&](const CellSource& source) { return source.name == name; });
  return found == sources.end() ? std::vector<Cell>() : parse_cells(found->text, fmt::format("cells/{}.py", name));
}

}  // namespace spikescope
