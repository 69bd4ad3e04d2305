#include "figure/gnuplot.h"

#include <algorithm>
#include <memory>
#include <set>

#include "base/fail.h"
#include "figure/csv.h"
#include "figure/paper.h"
#include "figure/text.h"
#include "io/output_file.h"
#include "io/printable.h"
#include "io/process.h"
#include "io/scratch_folder.h"

namespace spikescope {
namespace {

/// gnuplot's words, on one line and without the picture of the script around them.
std::string complaint(const std::filesystem::path& log) {
  const std::string text = read_file(log, int64_t{64} << 20);
  std::string line;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view part = std::string_view(text).substr(begin, end - begin);
    if (part.find_first_not_of(" \t^") != std::string_view::npos) {
      if (!line.empty()) line += ' ';
      line += part;
    }
    begin = end + 1;
  }
  return line.empty() ? "no message" : printable(line, 300);
}

void run_gnuplot(const std::string& script) {
  const ScratchFolder scratch;
  write_file(scratch / "figures.gp", script);
  // Without the user's start-up file.
  const int code =
      run_process({"gnuplot", "--default-settings", (scratch / "figures.gp").string()}, scratch / "log").code;
  if (code == 127) {
    fail("gnuplot is needed for figures and was not found in PATH; install it (Debian: apt install gnuplot-nox)");
  }
  if (code != 0) {
    fail(
        "gnuplot failed (exit code {}): {}; it has to be version 5.2 or newer with the terminals svg, pdfcairo and "
        "pngcairo (Debian: gnuplot-nox)",
        code, complaint(scratch / "log"));
  }
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

/// gnuplot's SVG with the figure's title for screen readers, and fonts of like width where DejaVu is missing.
std::string finish_svg(std::string svg, const Figure& figure) {
  const std::string_view head = "<title>Gnuplot</title>";
  if (const size_t at = svg.find(head); at != std::string::npos) {
    svg.replace(at, head.size(), fmt::format("<title>{}</title>", escape_markup(visible_text(figure.title, 300))));
  }
  if (const size_t at = svg.find("<desc>"), end = svg.find("</desc>", at);
      at != std::string::npos && end != std::string::npos) {
    svg.replace(at, end - at, "<desc>" + escape_markup(visible_text(figure.caption, 2000)));
  }
  // Names that a viewer would show as tooltips.
  const std::string_view open = "<title>gnuplot_plot_", close = "</title>";
  for (size_t at = svg.find(open); at != std::string::npos; at = svg.find(open, at)) {
    const size_t end = svg.find(close, at);
    if (end == std::string::npos) break;
    svg.erase(at, end + close.size() - at);
  }
  const std::string sans = "font-family=\"'DejaVu Sans Condensed','Helvetica Neue',Helvetica,Arial,sans-serif\"";
  replace_all(svg, "font-family=\"DejaVu Sans Condensed\"", sans);
  replace_all(svg, "font-family=\"DejaVu Sans Condensed:Bold\"", sans + " font-weight=\"bold\"");
  replace_all(svg, "font-family=\"DejaVu Sans Mono\"", "font-family=\"'DejaVu Sans Mono',Menlo,Consolas,monospace\"");
  return svg;
}

}  // namespace

void render_files(std::span<const Figure> figures, const std::filesystem::path& folder) {
  if (figures.empty()) return;
  std::set<std::string> ids;
  std::vector<std::unique_ptr<OutputFile>> outputs;
  std::string script;
  for (const Figure& figure : figures) {
    const Drawing sheet = draw_paper(figure);
    if (!ids.insert(figure.id).second)
      fail("figure {}: two figures have this id; ids name files and must differ", figure.id);
    std::filesystem::path files[3];
    const char* const endings[] = {".svg", ".pdf", ".png"};
    for (int i = 0; i < 3; ++i) {
      outputs.push_back(std::make_unique<OutputFile>(folder / (figure.id + endings[i])));
      files[i] = outputs.back()->temporary();
    }
    script += sheet.script(files[0], files[1], files[2]);
  }
  run_gnuplot(script);
  for (size_t i = 0; i < figures.size(); ++i) {
    for (size_t k = 0; k < 3; ++k) {
      const OutputFile& output = *outputs[3 * i + k];
      std::error_code error;
      if (std::filesystem::file_size(output.temporary(), error) == 0 || error) {
        fail("{}: gnuplot left it empty; check that the disk is not full", output.target().string());
      }
    }
    const OutputFile& svg = *outputs[3 * i];
    write_file(svg.temporary(), finish_svg(read_file(svg.temporary()), figures[i]));
    write_file(folder / (figures[i].id + ".csv"), to_csv(figures[i]));
  }
  for (const auto& output : outputs) output->commit();
}

void render_files(const Figure& figure, const std::filesystem::path& folder) { render_files({&figure, 1}, folder); }

}  // namespace spikescope
