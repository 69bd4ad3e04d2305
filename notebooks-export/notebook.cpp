#include "notebooks-export/notebook.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/fail.h"
#include "base/version.h"
#include "figure/text.h"
#include "hooks/hook_point.h"
#include "notebooks-export/cells.h"

namespace spikescope {
namespace {

constexpr const char* kPackages = "h5py, numpy and matplotlib (3.6 or later)";

/// Cells of nbformat with ids that tell where they come from: "spikes-3".
class CellList {
 public:
  void add(std::string_view part, Cell::Kind kind, const std::string& source) {
    const bool code = kind == Cell::Kind::code;
    Json cell = {{"cell_type", code ? "code" : "markdown"},
                 {"id", fmt::format("{}-{}", part, ++count_[std::string(part)])},
                 {"metadata", Json::object()}};
    if (code) {
      cell["execution_count"] = nullptr;
      cell["outputs"] = Json::array();
    }
    cell["source"] = lines_of(source);
    cells_.push_back(std::move(cell));
  }
  Json take() { return std::move(cells_); }

 private:
  /// As Jupyter itself saves them, so that a version control system shows changed lines.
  static Json lines_of(const std::string& source) {
    Json lines = Json::array();
    for (size_t begin = 0; begin < source.size();) {
      const size_t end = std::min(source.find('\n', begin), source.size() - 1) + 1;
      lines.push_back(source.substr(begin, end - begin));
      begin = end;
    }
    return lines;
  }
  Json cells_ = Json::array();
  std::map<std::string, int> count_;
};

bool draws(const Cell& cell, const Figure& figure) {
  return std::any_of(cell.figures.begin(), cell.figures.end(),
                     [&](const std::string& glob) { return glob_matches(glob, figure.id); });
}

std::string caption_of(const Figure& figure) {
  return fmt::format("### {}\n\n{}", markdown_text(figure.title), markdown_text(figure.caption));
}

/// Figures that none of the cells draws.
std::vector<const Figure*> left_out(const Section& section, const std::vector<Cell>& cells) {
  std::vector<const Figure*> figures;
  for (const Figure& figure : section.figures)
    if (std::none_of(cells.begin(), cells.end(), [&](const Cell& cell) { return draws(cell, figure); }))
      figures.push_back(&figure);
  return figures;
}

/// As a Python string: JSON's escapes are Python's, too, where no character is beyond the quotes.
std::string python_string(const std::filesystem::path& path) {
  try {
    return Json(path.generic_string()).dump();
  } catch (const Json::exception&) {
    fail("{}: a notebook cannot name a path that is not UTF-8", path.string());
  }
}

void add_opening(CellList& list, const DumpInfo& dump, const std::filesystem::path& run) {
  list.add("opening", Cell::Kind::markdown,
           fmt::format("# {}\n\nDump and results of a run of Spikescope, and the figures of its report, drawn again: "
                       "change what you like, then run all cells. This needs the Python packages {}, and none of "
                       "Spikescope's own.",
                       markdown_text(dump.model_name), kPackages));
  for (Cell& cell : cells_of("opening")) {
    constexpr std::string_view kRun = "\"RUN\"";
    if (const size_t at = cell.source.find(kRun); at != std::string::npos)
      cell.source.replace(at, kRun.size(), python_string(run));
    list.add("opening", cell.kind, cell.source);
  }
}

/// Figures in the order of the source's cells; each cell behind the captions of those that it draws.
void add_figures(CellList& list, std::string_view name, const Section& section) {
  const std::vector<Cell> cells = cells_of(name);
  for (const Cell& cell : cells) {
    std::string captions;
    for (const Figure& figure : section.figures)
      if (draws(cell, figure)) captions += (captions.empty() ? "" : "\n\n") + caption_of(figure);
    if (!cell.figures.empty() && captions.empty()) continue;
    if (!captions.empty()) list.add(name, Cell::Kind::markdown, captions);
    list.add(name, cell.kind, cell.source);
  }
  for (const Figure* figure : left_out(section, cells))
    list.add(name, Cell::Kind::markdown,
             fmt::format("{}\n\nThere is no code for this figure; `report/figures/{}.csv` has its numbers.",
                         caption_of(*figure), figure->id));
}

}  // namespace

std::string markdown_text(std::string_view text) {
  std::string escaped;
  for (const char c : escape_markup(visible_text(text))) {
    if (std::string_view("\\`*_[]~$").find(c) != std::string_view::npos) escaped += '\\';
    escaped += c;
  }
  return escaped;
}

Json make_notebook(const DumpInfo& dump, std::span<const AnalysisResult> results, const std::filesystem::path& run) {
  CellList list;
  add_opening(list, dump, run);
  for (const AnalysisResult& result : results) {
    const std::string_view name = result.analysis->name;
    list.add(name, Cell::Kind::markdown,
             fmt::format("## {}\n\n{}", markdown_text(result.analysis->title), markdown_text(result.section.summary)));
    if (!result.section.figures.empty()) add_figures(list, name, result.section);
  }
  return {{"cells", list.take()},
          {"metadata",
           {{"kernelspec", {{"display_name", "Python 3"}, {"language", "python"}, {"name", "python3"}}},
            {"language_info", {{"name", "python"}}},
            {"spikescope", {{"version", version()}}}}},
          {"nbformat", 4},
          {"nbformat_minor", 5}};
}

std::vector<std::string> undrawn_figures(std::span<const AnalysisResult> results) {
  std::vector<std::string> ids;
  for (const AnalysisResult& result : results)
    for (const Figure* figure : left_out(result.section, cells_of(result.analysis->name))) ids.push_back(figure->id);
  return ids;
}

}  // namespace spikescope
