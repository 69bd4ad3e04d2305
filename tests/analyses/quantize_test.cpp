// What the report says of a table of quantizations, from made-up results.
#include <gmock/gmock.h>

#include "analyses/quantize/quantize_section.h"
#include "figure/figure.h"
#include "quantized_rows.h"

namespace spikescope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::quantized_row;
using testing::quantized_rows;
using ::testing::SizeIs;

std::vector<std::string> ids_of(const Section& section) {
  std::vector<std::string> ids;
  for (const Figure& figure : section.figures) {
    EXPECT_NO_THROW(check_figure(figure));
    EXPECT_THAT(figure.caption, HasSubstr("made-up")) << "says what it is of";
    ids.push_back(figure.id);
  }
  return ids;
}

TEST(QuantizeSection, NamesBitsAndDifferences) {
  EXPECT_EQ(row_bits(quantized_row("naive", 8, 4, 0.5)), "A8 W4");
  EXPECT_EQ(row_bits(quantized_row("rtn", nullptr, 4, 0.5)), "W4");
  EXPECT_EQ(row_bits(quantized_row("fp", nullptr, nullptr, 0.0)), "");
  Json row = quantized_row("naive", 8, nullptr, 0.5);
  EXPECT_EQ(row_difference(row), "+0.5000 ± 0.0100");
  row["dnll_se"] = nullptr;
  EXPECT_EQ(row_difference(row), "+0.5000") << "a single window";
  row["dnll"] = nullptr;
  EXPECT_EQ(row_difference(row), "-");
  EXPECT_EQ(windows_label(quantized_rows({})), "10 windows of 512 tokens of text.txt");
}

TEST(QuantizeSection, SaysWhatLosesLeastAndMost) {
  const Section section = quantize_section(quantized_rows({
      quantized_row("naive", 8, nullptr, 0.87),
      quantized_row("insertquant", 8, nullptr, 0.11, 100.0),
      quantized_row("naive", 4, nullptr, 9.0),
      quantized_row("templates", nullptr, nullptr, -0.001, 100.0),
  }));
  EXPECT_THAT(section.summary, AllOf(HasSubstr("perplexity of 29.10"),
                                     HasSubstr("A8: the least is that of insertquant "
                                               "(+0.1100 ± 0.0100), the most that of "
                                               "naive (+0.8700"),
                                     HasSubstr("A4: naive (+9.0000"), HasSubstr("templates (-0.0010")));
  EXPECT_THAT(ids_of(section), ElementsAre("quantize-perplexity", "quantize-loss", "quantize-largest"));
  ASSERT_THAT(section.tables, SizeIs(1));
  ASSERT_THAT(section.tables[0].rows, SizeIs(5));
  for (const auto& row : section.tables[0].rows) EXPECT_THAT(row, SizeIs(section.tables[0].columns.size()));
  EXPECT_THAT(section.tables[0].rows[0], ElementsAre("fp", "–", "–", "29.100", "", "1,000", "0", "2.0", "3.0", "12.5"));

  const Figure& perplexity = section.figures[0];
  EXPECT_THAT(perplexity.x.categories, ElementsAre("naive", "insertquant", "templates"));
  const Lines& bars = std::get<Lines>(perplexity.content);
  ASSERT_THAT(bars.series, SizeIs(4));
  EXPECT_EQ(bars.series[0].name, "A8");
  EXPECT_THAT(bars.series[0].x, ElementsAre(0, 1));
  EXPECT_DOUBLE_EQ(bars.series[0].errors[0], bars.series[0].y[0] * 0.01) << "of the difference, as a share";
  EXPECT_EQ(bars.series[1].name, "A4");
  EXPECT_EQ(bars.series[2].name, "nothing rounded");
  EXPECT_THAT(bars.series[2].x, ElementsAre(2));
  EXPECT_EQ(bars.series[3].name, "as it is");
  EXPECT_EQ(bars.series[3].y[0], 29.1);
}

TEST(QuantizeSection, DrawsCurvesThatCoverEachOtherOnce) {
  const Section section = quantize_section(quantized_rows({
      quantized_row("naive", 8, nullptr, 0.8, 900.0),
      quantized_row("insertquant", 8, nullptr, 0.1, 100.0),
      quantized_row("insertquant", 4, nullptr, 0.9, 5000.0),
      quantized_row("templates", nullptr, nullptr, 0.0, 120.0),
  }));
  const Figure& figure = section.figures.back();
  ASSERT_EQ(figure.id, "quantize-largest");
  const Lines& lines = std::get<Lines>(figure.content);
  ASSERT_THAT(lines.series, SizeIs(2));
  EXPECT_EQ(lines.series[0].name, "fp");
  EXPECT_EQ(lines.series[1].name, "insertquant A8");
  EXPECT_THAT(lines.series[1].y, ElementsAre(1.0, 100.0));
  EXPECT_THAT(figure.caption, AllOf(HasSubstr("Like fp: naive A8."), HasSubstr("Like insertquant A8: templates."),
                                    Not(HasSubstr("A4"))));
}

TEST(QuantizeSection, ShowsAnswersWhereQuestionsWereAsked) {
  std::vector<Json> rows = {quantized_row("naive", 8, nullptr, 0.8)};
  Json results = quantized_rows(rows);
  for (Json& row : results["rows"]) testing::add_answers(row, 0.4);
  const Section section = quantize_section(results);
  EXPECT_THAT(ids_of(section),
              ElementsAre("quantize-perplexity", "quantize-loss", "quantize-answers", "quantize-largest"));
  ASSERT_THAT(section.tables, SizeIs(2));
  EXPECT_EQ(section.tables[0].columns[5], "answers");
  EXPECT_EQ(section.tables[0].rows[1][5], "40.0 ± 2.0 %");
  EXPECT_THAT(section.tables[1].columns, ElementsAre("method", "bits", "arc_easy (200)", "piqa (200)"));
  EXPECT_THAT(section.tables[1].rows[1], ElementsAre("naive", "A8", "30.0 ± 3.0 %", "50.0 ± 3.0 %"));
}

TEST(QuantizeSection, OfOneRowHasNothingToCompare) {
  EXPECT_THAT(ids_of(quantize_section(quantized_rows({}))), ElementsAre("quantize-largest"));
  Json results = quantized_rows({quantized_row("templates", nullptr, nullptr, -0.001)});
  EXPECT_THAT(ids_of(quantize_section(results)), ElementsAre("quantize-perplexity", "quantize-largest"))
      << "no rise to draw";
}

}  // namespace
}  // namespace spikescope
