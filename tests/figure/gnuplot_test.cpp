#include "figure/gnuplot.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <cmath>
#include <fstream>

#include "error_of.h"
#include "figure/csv.h"
#include "figure/drawing.h"
#include "figure/markup.h"
#include "figure/samples.h"
#include "fixtures.h"
#include "io/output_file.h"

namespace spikescope {
namespace {

using ::testing::HasSubstr;
using testing::read_markup;
using ::testing::StartsWith;
using testing::TemporaryFolder;
namespace fs = std::filesystem;

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string rest = path ? path : "";
  for (size_t begin = 0; begin <= rest.size();) {
    const size_t end = std::min(rest.find(':', begin), rest.size());
    if (access((rest.substr(begin, end - begin) + "/" + program).c_str(), X_OK) == 0) return true;
    begin = end + 1;
  }
  return false;
}

#define SKIP_WITHOUT_GNUPLOT \
  if (!in_path("gnuplot")) GTEST_SKIP() << "gnuplot is not installed (Debian: gnuplot-nox)"

/// PATH for the length of a test.
class PathGuard {
 public:
  explicit PathGuard(const std::string& path) : old_(std::getenv("PATH")) { setenv("PATH", path.c_str(), 1); }
  ~PathGuard() { setenv("PATH", old_.c_str(), 1); }

 private:
  std::string old_;
};

unsigned big_endian(const std::string& bytes, size_t at) {
  unsigned value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

/// The four files of a figure: there, of their format, complete; returns the SVG.
testing::Markup expect_files(const fs::path& folder, const Figure& figure) {
  SCOPED_TRACE(figure.id);
  const std::string pdf = read_file(folder / (figure.id + ".pdf")), png = read_file(folder / (figure.id + ".png"));
  EXPECT_THAT(pdf, StartsWith("%PDF-1."));
  EXPECT_THAT(pdf.substr(pdf.size() - 10), HasSubstr("%%EOF"));
  EXPECT_THAT(png, StartsWith("\x89PNG\r\n\x1a\n"));
  EXPECT_THAT(png.substr(png.size() - 8), StartsWith("IEND"));
  EXPECT_EQ(big_endian(png, 16), 960u);  // 4.8 inches at 200 dots an inch
  EXPECT_EQ(read_file(folder / (figure.id + ".csv")), to_csv(figure));
  testing::Markup svg = read_markup(read_file(folder / (figure.id + ".svg")), false);
  EXPECT_EQ(svg.error, "");
  EXPECT_GE(svg.elements.size(), 3u);
  if (svg.elements.empty()) return svg;
  EXPECT_EQ(svg.elements[0].name, "svg");
  EXPECT_EQ(svg.elements[0].attributes["width"], "461");
  EXPECT_EQ(svg.count("script"), 0u);
  return svg;
}

TEST(RenderFiles, WritesAllFormatsOfAllKinds) {
  SKIP_WITHOUT_GNUPLOT;
  const TemporaryFolder folder;
  std::vector<Figure> figures = testing::sample_figures();
  figures.push_back(testing::surface_figure(64, 4096, 2622));
  figures.back().id = "wide";
  figures.push_back(testing::panels_figure());
  render_files(figures, (folder / "new") / "figures");
  for (const Figure& figure : figures) {
    const auto svg = expect_files((folder / "new") / "figures", figure);
    EXPECT_THAT(svg.text, HasSubstr(figure.title));
  }
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator((folder / "new") / "figures")) ++files;
  EXPECT_EQ(files, 4 * figures.size());  // no temporary is left
  const std::string magnitude = read_markup(read_file((folder / "new/figures") / "spikes-magnitude.svg"), false).text;
  for (const char* text : {"10⁴", "plateau\u00A02", "largest\u00A0|h|", "|h|", "25"})
    EXPECT_THAT(magnitude, HasSubstr(text));
  const std::string panels = read_markup(read_file((folder / "new/figures") / "at-a-glance.svg"), false).text;
  for (const char* text : {"10⁴", "plateau\u00A02", "1\u00A0\u00A0Size", "2\u00A0\u00A0Sinks", "layer", "25"})
    EXPECT_THAT(panels, HasSubstr(text));
  const std::string surface = read_markup(read_file((folder / "new/figures") / "spikes-surface.svg"), false).text;
  for (const char* text : {"713\u00A0at\u00A0507", "Summer", "⏎", "dimension"}) EXPECT_THAT(surface, HasSubstr(text));
  EXPECT_LT(fs::file_size((folder / "new/figures") / "wide.svg"), 3u << 20);
}

TEST(RenderFiles, NothingToDo) {
  const TemporaryFolder folder;
  render_files(std::span<const Figure>{}, folder / "none");
  EXPECT_FALSE(fs::exists(folder / "none"));
}

TEST(RenderFiles, OddData) {
  SKIP_WITHOUT_GNUPLOT;
  const TemporaryFolder folder;
  const double nan = NAN, inf = INFINITY;
  std::vector<Figure> figures;
  const auto add = [&](auto content, bool log = false) {
    Figure figure;
    figure.id = fmt::format("odd-{}", figures.size());
    figure.title = figure.id;
    figure.y.log = log;
    figure.content = std::move(content);
    figures.push_back(std::move(figure));
  };
  using Mark = Series::Mark;
  for (const bool log : {false, true}) {
    add(Lines{}, log);
    add(Lines{{{"empty", {}, {}}}, {}}, log);
    add(Lines{{{"gaps", {0, 1, 2, 3, 4}, {1, nan, 2, 0, -1}}}, {}}, log);
    add(Lines{{{"one", {3}, {5}}}, {}}, log);
    add(Lines{{{"nothing but NaN", {0, 1}, {nan, inf}, Mark::points}}, {}}, log);
    add(Lines{{{"bars", {0, 1, 2}, {0, nan, 1e30}, Mark::bars}}, {}}, log);
    add(Lines{{{"wide range", {-1e300, 1e300}, {-1e308, 1e308}, Mark::line_and_points}}, {}}, log);
    add(Lines{{{"equal", {1, 1, 1}, {2, 2, 2}}}, {}}, log);
  }
  add(HeatMap{});
  add(HeatMap{{0}, {0}, {nan}, "z"});
  add(HeatMap{{5}, {5}, {1}, "z"});
  HeatMap log_map{{0, 1, 2}, {0}, {0, -1, 100}, "z"};
  log_map.z_log = true;
  add(log_map);
  HeatMap large;
  large.x = testing::counting(300);
  large.y = testing::counting(40);
  for (size_t i = 0; i < 300 * 40; ++i) large.z.push_back(i % 7 ? std::sin(static_cast<double>(i)) : nan);
  add(large);
  add(Surface{});
  add(Surface{{0}, {0}, {nan}, {}});
  add(Surface{{0, 1}, {0}, {0, 0}, {}});
  add(Surface{{0, 1, 2}, {0, 1}, {nan, 5, -3, inf, 1, 1e9}, {"z", true, {}, {}, {}}});
  add(TokenStrip{});
  add(TokenStrip{{"a"}, {nan}, "v", true, {0, 7, -1}});
  add(TokenStrip{std::vector<std::string>(2000, "word"), std::vector<double>(2000, 0.5), "v"});
  figures[3].bands = {
      {nan, 2, "no band"}, {5, 1, "turned"}, {-100, 100, "a label much longer than its band has room for, by far"}};
  render_files(figures, folder.path());
  for (const Figure& figure : figures) expect_files(folder.path(), figure);
}

TEST(RenderFiles, HostileStringsAreTextAndNothingElse) {
  SKIP_WITHOUT_GNUPLOT;
  const TemporaryFolder folder;
  const std::vector<std::string> hostile = testing::hostile_strings();
  std::vector<Figure> figures;
  for (size_t i = 0; i < hostile.size(); ++i) {
    const std::string& text = hostile[i];
    Figure figure;
    figure.id = fmt::format("f{}", i);
    figure.title = figure.caption = figure.x.label = figure.y.label = text;
    figure.bands = {{0, 1, text}};
    switch (i % 4) {
      case 0:
        figure.content = Lines{{{text, {0, 1}, {1, 2}}}, {}};
        break;
      case 1:
        figure.content = HeatMap{{0, 1}, {0}, {1, 2}, text};
        break;
      case 2:
        figure.content = Surface{{0, 1}, {0}, {1, 200}, {text, false, {}, {}, {}}};
        break;
      default:
        figure.content = TokenStrip{{text, "x"}, {1, 2}, text};
    }
    if (i % 4 != 3) figure.x.categories = figure.y.categories = {text, text};
    figures.push_back(figure);
    figure.id = fmt::format("s{}", i);
    figure.content = TokenStrip{hostile, std::vector<double>(hostile.size(), 0.5), text};
    if (i % 8 == 0) figures.push_back(figure);
  }
  const fs::path before = fs::current_path();
  fs::create_directory(folder / "cwd");
  fs::current_path(folder / "cwd");  // where `touch injected` would leave its mark
  render_files(figures, folder / "out");
  fs::current_path(before);
  EXPECT_TRUE(fs::is_empty(folder / "cwd"));
  EXPECT_FALSE(fs::exists(folder / "out" / "injected"));
  for (const Figure& figure : figures) {
    const auto svg = expect_files(folder / "out", figure);
    for (const auto& element : svg.elements) {
      for (const auto& [name, value] : element.attributes) EXPECT_FALSE(name.starts_with("on")) << name;
    }
  }
}

TEST(GnuplotString, IsMadeOfHarmlessCharacters) {
  for (const std::string& text : testing::hostile_strings()) {
    const std::string quoted = gnuplot_string(text);
    ASSERT_GE(quoted.size(), 2u);
    EXPECT_EQ(quoted.front(), '"');
    EXPECT_EQ(quoted.back(), '"');
    EXPECT_EQ(quoted.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789\\", 1),
              quoted.size() - 1);
  }
  EXPECT_EQ(gnuplot_string("a1`"), "\"a\\061\\140\"");
}

TEST(RenderFiles, FoldersWithOddNames) {
  SKIP_WITHOUT_GNUPLOT;
  const TemporaryFolder folder;
  const fs::path odd = folder / "|a 'b' \"c\" `d` $e é";
  render_files(testing::bars_figure(), odd);
  expect_files(odd, testing::bars_figure());
}

TEST(RenderFiles, IdsMustDiffer) {
  const TemporaryFolder folder;
  const std::vector<Figure> twins = {testing::bars_figure(), testing::bars_figure()};
  EXPECT_THAT(testing::error_of([&] { render_files(twins, folder.path()); }), HasSubstr("two figures have this id"));
}

TEST(RenderFiles, SaysWhenGnuplotIsMissing) {
  const TemporaryFolder folder;
  const PathGuard path(folder.path().string());
  const std::string message = testing::error_of([&] { render_files(testing::bars_figure(), folder / "out"); });
  EXPECT_THAT(message, HasSubstr("gnuplot is needed for figures"));
  EXPECT_THAT(message, HasSubstr("gnuplot-nox"));
  EXPECT_TRUE(fs::is_empty(folder / "out"));
}

TEST(RenderFiles, PassesOnWhatGnuplotSaysAndKeepsTheOldResult) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "bin");
  const fs::path fake = folder / "bin" / "gnuplot";
  std::ofstream(fake) << "#!/bin/sh\necho 'set terminal pdfcairo' >&2\necho '             ^' >&2\necho 'unknown "
                         "terminal' >&2\nexit 3\n";
  fs::permissions(fake, fs::perms::owner_all);
  write_file(folder / "out" / "spikes-writers.svg", "old");
  const PathGuard path((folder / "bin").string());
  const std::string message = testing::error_of([&] { render_files(testing::bars_figure(), folder / "out"); });
  EXPECT_THAT(message, HasSubstr("exit code 3"));
  EXPECT_THAT(message, HasSubstr("set terminal pdfcairo unknown terminal"));
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_EQ(read_file(folder / "out" / "spikes-writers.svg"), "old");
  std::ofstream(fake) << "#!/bin/sh\nexit 0\n";
  EXPECT_THAT(testing::error_of([&] { render_files(testing::bars_figure(), folder / "out"); }),
              HasSubstr("left it empty"));
}

TEST(RenderFiles, FolderThatCannotBe) {
  const TemporaryFolder folder;
  write_file(folder / "file", "x");
  EXPECT_THAT(testing::error_of([&] { render_files(testing::bars_figure(), folder / "file" / "sub"); }),
              HasSubstr("file"));
}

}  // namespace
}  // namespace spikescope
