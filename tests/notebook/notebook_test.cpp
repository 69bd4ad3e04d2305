// How a notebook is put together of cell sources and results.
#include "notebooks-export/notebook.h"

#include <gmock/gmock.h>

#include <regex>
#include <set>
#include <sstream>

#include "analyses/analysis.h"
#include "base/error.h"
#include "notebooks-export/cells.h"

namespace spikescope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

std::string error_of(std::string_view text) {
  try {
    parse_cells(text, "cells/x.py");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(ParseCells, MarkdownCodeAndFigures) {
  const auto cells = parse_cells(
      "# %% [markdown]\n# ## Title\n#\n# text # with a sign\n\n# %%\n\nx = 1\n\n# a comment\ny = 2\n\n\n"
      "# %% figure=\"a-* b-c\"\ndraw()\n",
      "x");
  ASSERT_THAT(cells, SizeIs(3));
  EXPECT_EQ(cells[0].kind, Cell::Kind::markdown);
  EXPECT_EQ(cells[0].source, "## Title\n\ntext # with a sign");
  EXPECT_EQ(cells[1].kind, Cell::Kind::code);
  EXPECT_EQ(cells[1].source, "x = 1\n\n# a comment\ny = 2");
  EXPECT_THAT(cells[1].figures, IsEmpty());
  EXPECT_EQ(cells[2].source, "draw()");
  EXPECT_THAT(cells[2].figures, ElementsAre("a-*", "b-c"));
  EXPECT_THAT(parse_cells("", "x"), IsEmpty());
}

TEST(ParseCells, SaysWhatIsWrong) {
  EXPECT_THAT(error_of("x = 1\n# %%\n"), AllOf(HasSubstr("cells/x.py"), HasSubstr("before the first cell")));
  EXPECT_THAT(error_of("# %% [raw]\n"), HasSubstr("not '# %% [raw]'"));
  EXPECT_THAT(error_of("# %% figure=\"a\" b\n"), HasSubstr("a cell begins with"));
  EXPECT_THAT(error_of("# %% figure=\"\n"), HasSubstr("a cell begins with"));
  EXPECT_THAT(error_of("# %% figure=\" \"\n"), HasSubstr("names no figure"));
  EXPECT_THAT(error_of("# %% [markdown]\ntext\n"), HasSubstr("begins with '# '"));
}

TEST(CellSources, BelongToTheOpeningOrToAnAnalysisAndEachHasOne) {
  std::set<std::string_view> expected = {"opening"}, found;
  for (const auto table : {analyses(), experiments()})
    for (const Analysis& analysis : table) expected.insert(analysis.name);
  for (const CellSource& source : cell_sources()) {
    found.insert(source.name);
    for (const Cell& cell : cells_of(source.name)) {
      EXPECT_FALSE(cell.source.empty()) << source.name;
      std::istringstream lines(cell.source);
      for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 104u) << source.name << ": " << line;
    }
  }
  EXPECT_EQ(found, expected) << "notebooks-export/cells/NAME.py draws the figures of the analysis NAME";
  EXPECT_THAT(cells_of("nothing"), IsEmpty());
}

TEST(MarkdownText, ShowsTextAsItIs) {
  EXPECT_EQ(markdown_text("|h| of 3 layers (l >= 2)."), "|h| of 3 layers (l &gt;= 2).");
  EXPECT_EQ(markdown_text("W_V, x*, $5, `a`, [b](c), ~~d~~, \\"),
            "W\\_V, x\\*, \\$5, \\`a\\`, \\[b\\](c), \\~\\~d\\~\\~, \\\\");
  EXPECT_EQ(markdown_text("<script>&amp;"), "&lt;script&gt;&amp;amp;");
  EXPECT_THAT(markdown_text("a\n# b\r"), Not(HasSubstr("\n")));
  EXPECT_NO_THROW(Json(markdown_text("broken \xff byte")).dump());
}

// --- Notebooks of made-up results ---------------------------------------------------------------

AnalysisResult result_of(std::string_view name, const std::vector<std::string>& figures) {
  AnalysisResult result;
  for (const auto table : {analyses(), experiments()})
    for (const Analysis& analysis : table)
      if (analysis.name == name) result.analysis = &analysis;
  result.section.summary = "What was found in <b>.";
  for (const std::string& id : figures) {
    Figure figure;
    figure.id = id;
    figure.title = "Title of " + id;
    figure.caption = "Caption of " + id + ".";
    result.section.figures.push_back(figure);
  }
  return result;
}

Json notebook_of(const std::vector<AnalysisResult>& results, const std::filesystem::path& run = ".") {
  DumpInfo info;
  info.model_name = "a_model";
  return make_notebook(info, results, run);
}

std::string text_of(const Json& cell) {
  std::string text;
  for (const Json& line : cell.at("source")) text += line.get<std::string>();
  return text;
}

std::string text_of_all(const Json& notebook) {
  std::string text;
  for (const Json& cell : notebook.at("cells")) text += text_of(cell) + "\n";
  return text;
}

TEST(MakeNotebook, IsNbformat) {
  const std::vector<AnalysisResult> results = {result_of("spikes", {"spikes-surface-middle", "spikes-magnitude"}),
                                               result_of("sinks", {"sinks-tokens-1", "sinks-tokens-2"})};
  const Json notebook = notebook_of(results);
  EXPECT_EQ(notebook.at("nbformat"), 4);
  EXPECT_EQ(notebook.at("nbformat_minor"), 5);
  EXPECT_EQ(notebook.at("metadata").at("kernelspec").at("name"), "python3");
  std::set<std::string> ids;
  for (const Json& cell : notebook.at("cells")) {
    const std::string id = cell.at("id");
    EXPECT_TRUE(ids.insert(id).second) << id << " is there twice";
    EXPECT_TRUE(std::regex_match(id, std::regex("[a-zA-Z0-9_-]{1,64}"))) << id;
    EXPECT_EQ(cell.at("metadata"), Json::object());
    ASSERT_FALSE(cell.at("source").empty()) << id;
    for (size_t i = 0; i + 1 < cell.at("source").size(); ++i)
      EXPECT_THAT(cell["source"][i].get<std::string>(), EndsWith("\n"));
    EXPECT_THAT(cell["source"].back().get<std::string>(), Not(EndsWith("\n")));
    if (cell.at("cell_type") == "code") {
      EXPECT_TRUE(cell.at("execution_count").is_null());
      EXPECT_EQ(cell.at("outputs"), Json::array());
    } else {
      EXPECT_EQ(cell.at("cell_type"), "markdown");
      EXPECT_FALSE(cell.contains("outputs"));
    }
  }
  EXPECT_EQ(notebook, notebook_of(results)) << "the same results make the same notebook";
}

TEST(MakeNotebook, HasTheFiguresOfTheReportAndNoOthers) {
  const std::vector<AnalysisResult> results = {result_of("spikes", {"spikes-surface-first", "spikes-surface-last"})};
  const std::string text = text_of_all(notebook_of(results));
  EXPECT_THAT(text, AllOf(HasSubstr("# a\\_model"), HasSubstr("h5py"), HasSubstr("## Massive activation spikes"),
                          HasSubstr("What was found in &lt;b&gt;."), HasSubstr("### Title of spikes-surface-first"),
                          HasSubstr("Caption of spikes-surface-last."), HasSubstr("projection=\"3d\"")));
  EXPECT_THAT(text, Not(HasSubstr("published threshold"))) << "spikes-magnitude is not in the report";
  EXPECT_THAT(undrawn_figures(results), IsEmpty());
}

TEST(MakeNotebook, SaysOfWhatItCannotDrawWhereTheNumbersAre) {
  const std::vector<AnalysisResult> results = {result_of("spikes", {"spikes-magnitude", "spikes-new"})};
  EXPECT_THAT(undrawn_figures(results), ElementsAre("spikes-new"));
  EXPECT_THAT(text_of_all(notebook_of(results)),
              AllOf(HasSubstr("### Title of spikes-new"), HasSubstr("report/figures/spikes-new.csv")));
}

TEST(MakeNotebook, AnAnalysisWithoutFiguresHasItsSummaryAlone) {
  const std::string text = text_of_all(notebook_of({result_of("rope_bands", {})}));
  EXPECT_THAT(text, AllOf(HasSubstr("## Rotary positions\n\nWhat was found"), Not(HasSubstr("load(\"rope_bands\")"))));
}

TEST(MakeNotebook, OpensTheRunByItsPath) {
  EXPECT_THAT(text_of_all(notebook_of({})), HasSubstr("run = Path(\".\")"));
  EXPECT_THAT(text_of_all(notebook_of({}, "../a \"b\"\\c/\u00fc")),
              HasSubstr("run = Path(\"../a \\\"b\\\"\\\\c/\u00fc\")"));
  EXPECT_THROW(notebook_of({}, "bad\xff"), Error);
}

}  // namespace
}  // namespace spikescope
