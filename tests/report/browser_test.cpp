// The page in headless Chromium, read back as the DOM it has become.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>

#include "fixtures.h"
#include "io/output_file.h"
#include "pages.h"
#include "report/comparison_page.h"
#include "report/report.h"
#include "runs.h"

namespace spikescope {
namespace {

using testing::TemporaryFolder;
namespace fs = std::filesystem;

bool has_program(const std::string& name) {
  return std::system(("command -v " + name + " >/dev/null 2>&1").c_str()) == 0;
}

std::string chromium() {
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"}) {
    if (has_program(name)) return name;
  }
  return "";
}

/// Where set-up puts plotly.js.
fs::path plotly_js() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const fs::path base = cache && *cache ? fs::path(cache) : fs::path(home ? home : "/nonexistent") / ".cache";
  return base / "spikescope/plotly.min.js";
}

#define SKIP_WITHOUT_BROWSER                                                        \
  if (chromium().empty()) GTEST_SKIP() << "no chromium in PATH (Debian: chromium)"; \
  if (!has_program("gnuplot")) GTEST_SKIP() << "gnuplot is not installed (Debian: gnuplot-nox)"

#define SKIP_WITHOUT_PLOTLY \
  if (!fs::exists(plotly_js())) GTEST_SKIP() << "no plotly.js at " << plotly_js() << "; scripts/demo.sh puts it there"

/// The document after its scripts have run.
std::string dom_of(const TemporaryFolder& folder, const std::string& page, const std::string& flags = "") {
  const fs::path dom = folder / "dom.html", profile = folder / "profile";
  fs::remove_all(profile);
  const std::string command =
      "timeout 120 " + chromium() +
      " --headless --no-sandbox --disable-gpu --enable-unsafe-swiftshader --disable-quic --no-first-run"
      " --disable-background-networking --disable-component-update --disable-sync --allow-file-access-from-files " +
      flags + " --user-data-dir='" + profile.string() + "' --virtual-time-budget=30000 --dump-dom 'file://" +
      (folder / page).string() + "' >'" + dom.string() + "' 2>'" + (folder / "log").string() + "'";
  const int status = std::system(command.c_str());
  EXPECT_EQ(status, 0) << read_file(folder / "log");
  return read_file(dom);
}

/// Value of a data attribute of <html>.
std::string state(const std::string& dom, const std::string& name) {
  const std::string tag = dom.substr(0, dom.find('>', dom.find("<html")));
  const std::string start = " data-" + name + "=\"";
  const size_t at = tag.find(start);
  return at == std::string::npos ? ""
                                 : tag.substr(at + start.size(), tag.find('"', at + start.size()) - at - start.size());
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Browser, DrawsEveryFigureWithoutAnError) {
  SKIP_WITHOUT_BROWSER;
  SKIP_WITHOUT_PLOTLY;
  const TemporaryFolder folder;
  write_report(testing::sample_page(), folder / "out", plotly_js());
  const std::string dom = dom_of(folder, "out/index.html#all");
  EXPECT_EQ(state(dom, "figures"), "6/6");
  EXPECT_EQ(state(dom, "errors"), "0") << state(dom, "first-error");
  // Each plot has been drawn into its canvas; the surface either so, or it shows its picture where there is no WebGL.
  const size_t live = count(dom, "class=\"plot live\""), drawn = count(dom, "class=\"main-svg\"");
  EXPECT_GE(live, 4u);
  EXPECT_GE(drawn, live);
  EXPECT_EQ(live + count(dom, "class=\"plot\""), 5u);
  EXPECT_EQ(count(dom, "class=\"plot waiting\""), 0u);
  EXPECT_EQ(count(dom, "data-picture="), 5u);
  EXPECT_GE(count(dom, "href=\"data:image/svg+xml;base64,"), 6u);
}

TEST(Browser, DrawsAComparisonOfADozenModels) {
  SKIP_WITHOUT_BROWSER;
  SKIP_WITHOUT_PLOTLY;
  const TemporaryFolder folder;
  std::vector<ComparedRun> runs;
  for (int i = 0; i < 12; ++i) {
    const std::string name = "model-" + std::to_string(i) + " <b>";
    testing::write_sample_run(folder / std::to_string(i), name, 100.0 * (i + 1));
    runs.push_back(read_run(folder / std::to_string(i)));
  }
  runs[5] = {};
  runs[5].name = runs[5].error = "<script>broken</script>";
  write_report(comparison_page(runs), folder / "out", plotly_js());
  const std::string dom = dom_of(folder, "out/index.html#all");
  EXPECT_EQ(state(dom, "figures"), "4/4");
  EXPECT_EQ(state(dom, "errors"), "0") << state(dom, "first-error");
  EXPECT_EQ(count(dom, "class=\"plot live\""), 4u);
  EXPECT_GE(count(dom, "class=\"legendtext\""), 22u);  // eleven models in two figures
  EXPECT_EQ(count(dom, "<b>model"), 0u);
}

TEST(Browser, DrawsPanelsBeforeTheContents) {
  SKIP_WITHOUT_BROWSER;
  SKIP_WITHOUT_PLOTLY;
  const TemporaryFolder folder;
  ReportPage page = testing::sample_page();
  page.lead = {testing::panels_figure()};
  write_report(page, folder / "out", plotly_js());
  const std::string dom = dom_of(folder, "out/index.html#all");
  EXPECT_EQ(state(dom, "figures"), "7/7");
  EXPECT_EQ(state(dom, "errors"), "0") << state(dom, "first-error");
  EXPECT_LT(dom.find("id=\"figure-at-a-glance\""), dom.find("class=\"contents\""));
  EXPECT_GE(count(dom, "class=\"legend2\""), 1u);
}

TEST(Browser, DrawsWhatComesIntoSight) {
  SKIP_WITHOUT_BROWSER;
  const TemporaryFolder folder;
  write_file(folder / "plotly.js", testing::plotly_stub());
  ReportPage page = testing::sample_page();
  page.summary = std::string(20000, 'x') + " ";
  write_report(page, folder / "out", folder / "plotly.js");
  const std::string dom = dom_of(folder, "out/index.html", "--window-size=800,600");
  EXPECT_EQ(state(dom, "figures"), "1/6");  // the token strip is text and always there
  EXPECT_EQ(state(dom, "errors"), "0") << state(dom, "first-error");
  EXPECT_EQ(count(dom, "class=\"plot waiting\""), 5u);
}

TEST(Browser, SurfaceFallsBackToItsPictureWithoutWebgl) {
  SKIP_WITHOUT_BROWSER;
  SKIP_WITHOUT_PLOTLY;
  const TemporaryFolder folder;
  write_report(testing::sample_page(), folder / "out", plotly_js());
  const std::string dom = dom_of(folder, "out/index.html#all", "--disable-3d-apis");
  EXPECT_EQ(state(dom, "figures"), "6/6");
  EXPECT_EQ(state(dom, "errors"), "0") << state(dom, "first-error");
  EXPECT_EQ(count(dom, "class=\"plot live\""), 4u);
  EXPECT_EQ(count(dom, "class=\"plot\""), 1u);
}

TEST(Browser, HostileStringsDoNothing) {
  SKIP_WITHOUT_BROWSER;
  SKIP_WITHOUT_PLOTLY;
  const TemporaryFolder folder;
  std::string all;
  for (const std::string& text : testing::hostile_strings()) all += text.substr(0, 200) + " ";
  write_report(testing::hostile_page(all), folder / "out", plotly_js());
  const std::string dom = dom_of(folder, "out/index.html#all");
  EXPECT_EQ(state(dom, "figures"), "4/4");
  EXPECT_EQ(state(dom, "errors"), "0") << state(dom, "first-error");
  EXPECT_EQ(count(dom, "<title>broken"), 0u);
  EXPECT_EQ(count(dom, "<img src=\"x\""), 0u);
  EXPECT_EQ(count(dom, "<svg onload"), 0u);
  EXPECT_EQ(count(dom, "<a href=\"javascript:"), 0u);
  EXPECT_EQ(count(dom, "<script"), 4u + count(dom, "\\u003cscript"));
}

TEST(Browser, PolicyStopsForeignScripts) {
  SKIP_WITHOUT_BROWSER;
  const TemporaryFolder folder;
  write_file(folder / "plotly.js", testing::plotly_stub());
  write_report(testing::sample_page(), folder / "out", folder / "plotly.js");
  std::string html = read_file(folder / "out/index.html");
  html.insert(html.find("<h1>"),
              "<script>document.title = 'broken'</script><img src=x onerror=\"document.title = 'broken'\">");
  write_file(folder / "out/index.html", html);
  const std::string dom = dom_of(folder, "out/index.html#all");
  EXPECT_EQ(count(dom, "<title>broken"), 0u);
  EXPECT_NE(state(dom, "errors"), "0");
}

TEST(Browser, FitsAPhone) {
  SKIP_WITHOUT_BROWSER;
  SKIP_WITHOUT_PLOTLY;
  const TemporaryFolder folder;
  ReportPage live = testing::sample_page();
  live.lead = {testing::panels_figure()};
  write_report(live, folder / "out", plotly_js());
  ReportPage still = testing::sample_page();
  still.interactive = false;
  write_report(still, folder / "still", {});
  write_file(folder / "phone.html", R"(<!DOCTYPE html><html><body>
<iframe src="out/index.html#all" style="width:390px;height:800px"></iframe>
<iframe src="still/index.html" style="width:390px;height:800px"></iframe>
<script>
  setInterval(() => {
    const frames = [...document.querySelectorAll('iframe')].map((frame) => frame.contentDocument);
    const root = document.documentElement;
    root.dataset.overflow = frames.map((page) => page.documentElement.scrollWidth - page.documentElement.clientWidth).join(' ');
    root.dataset.figures = frames[0].documentElement.dataset.figures;
    root.dataset.errors = frames[0].documentElement.dataset.errors;
    root.dataset.pictures = [...frames[1].images].filter((image) => image.complete && image.naturalWidth > 0).length;
  }, 500);
</script></body></html>)");
  const std::string dom = dom_of(folder, "phone.html");
  EXPECT_EQ(state(dom, "overflow"), "0 0");
  EXPECT_EQ(state(dom, "figures"), "7/7");
  EXPECT_EQ(state(dom, "errors"), "0");
  EXPECT_EQ(state(dom, "pictures"), "5");
}

}  // namespace
}  // namespace spikescope
