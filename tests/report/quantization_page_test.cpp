#include "report/quantization_page.h"

#include <gmock/gmock.h>

#include "quantized_rows.h"

namespace spikescope {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing::quantized_row;
using testing::quantized_rows;
using ::testing::SizeIs;
using ::testing::StartsWith;

Json sample_rows() {
  return quantized_rows({
      quantized_row("naive", 8, nullptr, 0.87),
      quantized_row("insertquant", 8, nullptr, 0.11),
      quantized_row("rtn", nullptr, 4, 0.35),
      quantized_row("templates", nullptr, nullptr, -0.001),
  });
}

TEST(QuantizationPage, HasACardForTheBestOfEachKindOfBits) {
  const ReportPage page = quantization_page(sample_rows());
  EXPECT_EQ(page.title, "made-up, quantized");
  ASSERT_THAT(page.findings, SizeIs(3));
  EXPECT_EQ(page.findings[0].value, "29.10");
  EXPECT_EQ(page.findings[1].label, "Least loss at A8");
  EXPECT_EQ(page.findings[1].value, "+0.1100");
  EXPECT_THAT(page.findings[1].note, StartsWith("insertquant, perplexity 32.4"));
  EXPECT_EQ(page.findings[2].label, "Least loss at W4");
  ASSERT_THAT(page.sections, SizeIs(2));
  EXPECT_THAT(page.sections[0].content.tables, SizeIs(1));
  EXPECT_THAT(page.sections[1].content.figures, SizeIs(3));
  EXPECT_THAT(page.summary, HasSubstr("insertquant"));
}

TEST(QuantizationPage, TableForSpreadsheets) {
  Json results = sample_rows();
  results["rows"][1]["dnll_se"] = nullptr;
  EXPECT_THAT(
      quantization_csv(results),
      AllOf(StartsWith("method,bits_activation,bits_weight,perplexity,dnll,dnll_se,largest_h,new_spikes,seconds,"
                       "bytes,matrix_bytes\r\nfp,,,29.1,0.0,0.01,1000.0,0,12.5,3145728,2097152\r\nnaive,8,,"),
            HasSubstr(",0.87,,1000.0,"), HasSubstr("\r\nrtn,,4,")));
  for (Json& row : results["rows"]) testing::add_answers(row, 0.4);
  EXPECT_THAT(quantization_csv(results),
              AllOf(HasSubstr(",bytes,matrix_bytes,zero_shot,zero_shot_se,arc_easy,piqa\r\n"),
                    HasSubstr(",2097152,0.4,0.02,0.3"), EndsWith("0.5\r\n")));
}

TEST(QuantizationPage, TableForTexts) {
  const std::string text = quantization_markdown(sample_rows());
  EXPECT_THAT(text, StartsWith("| method | A | W | perplexity | dNLL | largest \\|h\\| | new spikes |"));
  EXPECT_THAT(text, AllOf(HasSubstr("|\n|---|---|---|---|---|---|---|---|---|---|\n"),
                          HasSubstr("| naive | 8 | – | 69.459 | +0.8700 ± 0.0100 | 1,000 | 0 | 2.0 | 3.0 | 12.5 |\n"),
                          HasSubstr("10 windows of 512 tokens")));
}

}  // namespace
}  // namespace spikescope
