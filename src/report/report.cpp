#include "report/report.h"

#include <random>

#include "base/fail.h"
#include "figure/gnuplot.h"
#include "io/output_file.h"
#include "report/page.h"

namespace spikescope {
namespace {

constexpr size_t kMostEmbedded = size_t{2} << 20;  // bytes of one file inside the page

std::string random_word() {
  std::random_device device;
  std::string word;
  for (int i = 0; i < 4; ++i) word += fmt::format("{:08x}", device());
  return word;
}

std::string read_plotly(const std::filesystem::path& path) {
  if (!std::filesystem::is_regular_file(path)) {
    fail(
        "{}: plotly.js is needed for the interactive report and is not there; run scripts/demo.sh, which takes it "
        "from the plotly wheel",
        path.string());
  }
  std::string code = read_file(path, int64_t{64} << 20);
  if (code.find("Plotly") == std::string::npos) {
    fail("{}: is not plotly.js ({} bytes without the word Plotly); delete it and run scripts/demo.sh again",
         path.string(), code.size());
  }
  return code;
}

}  // namespace

std::vector<const Figure*> figures_of(const ReportPage& page) {
  std::vector<const Figure*> figures;
  const auto add = [&](const std::vector<Figure>& more) {
    for (const Figure& figure : more) figures.push_back(&figure);
  };
  add(page.lead);
  for (const ReportSection& section : page.sections) add(section.content.figures);
  return figures;
}

void write_report(const ReportPage& page, const std::filesystem::path& folder, const std::filesystem::path& plotly_js) {
  const std::string plotly = page.interactive ? read_plotly(plotly_js) : "";
  std::vector<Figure> figures;
  for (const Figure* figure : figures_of(page)) figures.push_back(*figure);
  const std::filesystem::path figure_folder = folder / "figures";
  render_files(figures, figure_folder);
  std::map<std::string, FigureFiles> files;
  for (const Figure& figure : figures) {
    FigureFiles& entry = files[figure.id];
    if (!page.interactive) continue;  // the page links to the files
    const auto embed = [&](const char* ending) {
      const std::filesystem::path path = figure_folder / (figure.id + ending);
      return std::filesystem::file_size(path) <= kMostEmbedded ? read_file(path) : std::string();
    };
    entry = {embed(".svg"), embed(".pdf"), embed(".csv")};
  }
  write_file(folder / "index.html", report_html(page, files, plotly, random_word()));
}

}  // namespace spikescope
