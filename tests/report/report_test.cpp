#include "report/report.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <set>

#include "error_of.h"
#include "figure/csv.h"
#include "figure/markup.h"
#include "fixtures.h"
#include "io/output_file.h"
#include "pages.h"
#include "report/html.h"
#include "report/page.h"

namespace spikescope {
namespace {

using ::testing::HasSubstr;
using testing::hostile_page;
using testing::Markup;
using testing::read_markup;
using testing::sample_page;
using testing::TemporaryFolder;
namespace fs = std::filesystem;

std::map<std::string, FigureFiles> files_of(const ReportPage& page, const FigureFiles& files) {
  std::map<std::string, FigureFiles> out;
  for (const ReportSection& section : page.sections) {
    for (const Figure& figure : section.content.figures) out[figure.id] = files;
  }
  return out;
}

Markup interactive_markup(const ReportPage& page) {
  return read_markup(
      report_html(page, files_of(page, {"<svg></svg>", "%PDF", "a,b\r\n"}), testing::plotly_stub(), "word"), true);
}

std::vector<testing::Element> all_of(const Markup& page, const std::string& name) {
  std::vector<testing::Element> out;
  for (const auto& element : page.elements) {
    if (element.name == name) out.push_back(element);
  }
  return out;
}

TEST(ReportHtml, IsWellFormedAndComplete) {
  const Markup page = interactive_markup(sample_page());
  ASSERT_EQ(page.error, "");
  EXPECT_EQ(page.count("figure"), 6u);
  EXPECT_EQ(page.count("section"), 3u);
  EXPECT_EQ(page.count("table"), 1u);
  EXPECT_EQ(page.count("h1"), 1u);
  for (const char* text :
       {"SmolLM2-135M-Instruct", "23,147", "Massive activation spikes", "Largest activations of each layer",
        "By the automatic rule.", "Plotly Technologies", "second line", "mean attention received"}) {
    EXPECT_THAT(page.text, HasSubstr(text));
  }
  std::map<std::string, int> downloads;
  for (const auto& link : all_of(page, "a")) {
    if (link.attributes.count("download")) ++downloads[fs::path(link.attributes.at("download")).extension()];
  }
  EXPECT_EQ(downloads, (std::map<std::string, int>{{".csv", 6}, {".pdf", 6}, {".svg", 6}}));
}

TEST(ReportHtml, IdsAreUnique) {
  std::set<std::string> ids;
  for (const auto& element : interactive_markup(sample_page()).elements) {
    const auto id = element.attributes.find("id");
    EXPECT_TRUE(id == element.attributes.end() || ids.insert(id->second).second) << id->second;
  }
}

TEST(ReportHtml, LoadsNothingFromOutside) {
  for (const bool interactive : {true, false}) {
    ReportPage sample = sample_page();
    sample.interactive = interactive;
    const Markup page = read_markup(report_html(sample, files_of(sample, {}), testing::plotly_stub(), "word"), true);
    for (const auto& element : page.elements) {
      for (const char* name : {"src", "href"}) {
        if (!element.attributes.count(name)) continue;
        const std::string& value = element.attributes.at(name);
        EXPECT_TRUE(value.starts_with("#") || value.starts_with("figures/") || value.starts_with("data:")) << value;
      }
      EXPECT_NE(element.name, "link");
    }
    EXPECT_EQ(all_of(page, "style").at(0).raw.find("url("), std::string::npos);
  }
}

TEST(ReportHtml, OnlyItsOwnScriptsCanRun) {
  const Markup page = interactive_markup(sample_page());
  const auto policies = all_of(page, "meta");
  EXPECT_THAT(policies.at(2).attributes.at("content"), HasSubstr("default-src 'none'; script-src 'nonce-word';"));
  for (const auto& script : all_of(page, "script")) {
    const bool data = script.attributes.count("type") && script.attributes.at("type") == "application/json";
    EXPECT_TRUE(data || script.attributes.at("nonce") == "word");
  }
}

TEST(ReportHtml, FigureDataIsJsonForEveryPlot) {
  for (const auto& script : all_of(interactive_markup(sample_page()), "script")) {
    if (!script.attributes.count("id")) continue;
    const Json data = parse_json(script.raw, "figure-data");
    EXPECT_EQ(data.size(), 5u);  // the token strip is text
    EXPECT_EQ(data["spikes-surface"]["webgl"], true);
    EXPECT_EQ(data["spikes-magnitude"]["webgl"], false);
    EXPECT_EQ(data["spikes-magnitude"]["data"][0]["y"][12], 23147.1);
    return;
  }
  FAIL() << "no figure data";
}

TEST(ReportHtml, TablesAlignNumbers) {
  const Markup page = interactive_markup(sample_page());
  const auto cells = all_of(page, "td");
  ASSERT_EQ(cells.size(), 8u);
  EXPECT_EQ(cells[0].attributes.count("class"), 0u);
  EXPECT_EQ(cells[1].attributes.at("class"), "number");
  EXPECT_EQ(cells[6].attributes.at("class"), "number");
  EXPECT_EQ(cells[7].attributes.at("class"), "long");
}

TEST(ReportHtml, HostileStringsStayText) {
  const size_t elements = interactive_markup(hostile_page("x")).elements.size();
  for (const std::string& text : testing::hostile_strings()) {
    SCOPED_TRACE(text.substr(0, 60));
    const Markup page = interactive_markup(hostile_page(text));
    ASSERT_EQ(page.error, "");
    for (const auto& element : page.elements) {
      for (const auto& [name, value] : element.attributes) EXPECT_FALSE(name.starts_with("on")) << name;
    }
    // As many elements as with a plain letter; a token that ends in a newline has a <br>; what is empty is left out.
    if (text.empty()) continue;
    EXPECT_EQ(page.elements.size(), elements + (text.ends_with('\n') ? 1 : 0));
  }
}

TEST(ReportHtml, WithoutJavaScript) {
  ReportPage sample = sample_page();
  sample.interactive = false;
  const Markup page = read_markup(report_html(sample, files_of(sample, {}), "", ""), true);
  ASSERT_EQ(page.error, "");
  EXPECT_EQ(page.count("script"), 0u);
  EXPECT_EQ(page.count("button"), 0u);
  const auto pictures = all_of(page, "img");
  ASSERT_EQ(pictures.size(), 5u);
  EXPECT_EQ(pictures[0].attributes.at("src"), "figures/spikes-surface.svg");
  EXPECT_EQ(page.text.find("Plotly"), std::string::npos);
}

TEST(ReportHtml, EmptyReport) {
  const Markup page = interactive_markup(ReportPage{});
  EXPECT_EQ(page.error, "");
  EXPECT_EQ(page.count("figure"), 0u);
}

TEST(WriteReport, SaysWhenPlotlyIsMissingOrSomethingElse) {
  const TemporaryFolder folder;
  EXPECT_THAT(testing::error_of([&] { write_report(sample_page(), folder / "out", folder / "plotly.js"); }),
              HasSubstr("plotly.js is needed"));
  write_file(folder / "plotly.js", "<html>not found</html>");
  EXPECT_THAT(testing::error_of([&] { write_report(sample_page(), folder / "out", folder / "plotly.js"); }),
              HasSubstr("is not plotly.js"));
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST(WriteReport, WritesThePageAndTheFigures) {
  if (std::system("command -v gnuplot >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "gnuplot is not installed (Debian: gnuplot-nox)";
  const TemporaryFolder folder;
  write_file(folder / "plotly.js", testing::plotly_stub());
  const ReportPage sample = sample_page();
  write_report(sample, folder / "out", folder / "plotly.js");
  const std::string html = read_file(folder / "out/index.html");
  ASSERT_EQ(read_markup(html, true).error, "");
  for (const ReportSection& section : sample.sections) {
    for (const Figure& figure : section.content.figures) {
      for (const char* ending : {".svg", ".pdf", ".png", ".csv"}) {
        EXPECT_TRUE(fs::is_regular_file((folder / "out/figures") / (figure.id + ending))) << figure.id << ending;
      }
      const auto inside = [&](const char* type, const char* ending) {
        return html.find(data_uri(type, read_file((folder / "out/figures") / (figure.id + ending)))) !=
               std::string::npos;
      };
      EXPECT_TRUE(inside("image/svg+xml", ".svg") && inside("application/pdf", ".pdf") &&
                  inside("text/csv;charset=utf-8", ".csv"))
          << figure.id;
    }
  }
  // Another word each time.
  write_report(sample, folder / "again", folder / "plotly.js");
  EXPECT_NE(read_file(folder / "again/index.html"), html);
}

}  // namespace
}  // namespace spikescope
