// CSV, thinning, colours, and what check_figure refuses.
#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"
#include "figure/color_scale.h"
#include "figure/csv.h"
#include "figure/palette.h"
#include "figure/samples.h"
#include "figure/thin.h"

namespace spikescope {
namespace {

using testing::counting;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Figure lines_figure(std::vector<Series> series) {
  Figure figure;
  figure.id = "f";
  figure.x.label = "layer";
  figure.y.label = "|h|";
  figure.content = Lines{std::move(series), {}};
  return figure;
}

TEST(Csv, AColumnASeries) {
  EXPECT_EQ(to_csv(lines_figure({{"max", {0, 1}, {0.5, 23147.14}}, {"", {0, 1}, {NAN, -1e-9}}})),
            "layer,max,|h|\r\n0,0.5,\r\n1,23147.14,-1e-09\r\n");
}

TEST(Csv, LongWhereXDiffers) {
  EXPECT_EQ(to_csv(lines_figure({{"a", {0}, {1}}, {"b", {5}, {2}}})), "series,layer,|h|\r\na,0,1\r\nb,5,2\r\n");
  EXPECT_EQ(to_csv(lines_figure({})), "series,layer,|h|\r\n");
}

TEST(Csv, ErrorsStandBesideTheirValues) {
  Series with{"a", {0, 1}, {1, 2}};
  with.errors = {0.5, NAN};
  EXPECT_EQ(to_csv(lines_figure({with, {"b", {0, 1}, {3, 4}}})),
            "layer,a,a (standard error),b\r\n0,1,0.5,3\r\n1,2,,4\r\n");
  EXPECT_EQ(to_csv(lines_figure({with, {"b", {5}, {3}}})),
            "series,layer,|h|,standard error\r\na,0,1,0.5\r\na,1,2,\r\nb,5,3,\r\n");
}

TEST(Csv, PanelsAreLong) {
  Figure figure = lines_figure({});
  figure.content = PanelStack{{{"one", {}, {{{"a", {0, 1}, {1, NAN}}}, {}}}, {"two", {}, {{{"b", {5}, {2}}}, {}}}}};
  EXPECT_EQ(to_csv(figure), "panel,series,layer,value\r\none,a,0,1\r\none,a,1,\r\ntwo,b,5,2\r\n");
}

TEST(PanelFigures, ShareTheRangeOfX) {
  Figure figure = lines_figure({});
  const PanelStack stack{
      {{"one", {"left"}, {{{"a", {0, 1, 50}, {1, 2, NAN}}}, {}}}, {"two", {}, {{{"b", {5, 10}, {2, 3}}}, {}}}}};
  figure.content = stack;
  const std::vector<Figure> panels = panel_figures(figure, stack);
  ASSERT_EQ(panels.size(), 2u);
  EXPECT_EQ(panels[0].title, "one");
  EXPECT_EQ(panels[0].y.label, "left");
  for (const Figure& panel : panels) {  // what is not drawn takes no room
    EXPECT_NEAR(*panel.x.min, -0.15, 1e-12);
    EXPECT_NEAR(*panel.x.max, 10.15, 1e-12);
  }
  figure.x.min = 3.0;
  EXPECT_EQ(panel_figures(figure, stack)[1].x.min, 3.0);
  EXPECT_TRUE(panel_figures(figure, {}).empty());
  figure.content = PanelStack{{{"one", {}, {{{"a", {0, 1}, {1}}}, {}}}}};
  EXPECT_THROW(check_figure(figure), Error);
}

TEST(Csv, QuotesByRfc4180) {
  Figure figure = testing::strip_figure();
  figure.content = TokenStrip{{"a,b", "say \"x\"", "\n", " is", "\xff"}, {1, 2, 3, 4, 5}, "p", false, {1}};
  EXPECT_EQ(to_csv(figure),
            "index,token,p,marked\r\n0,\"a,b\",1,0\r\n1,\"say \"\"x\"\"\",2,1\r\n2,\"\n\",3,0\r\n3,\" "
            "is\",4,0\r\n4,\uFFFD,5,0\r\n");
}

TEST(Csv, GridsHaveALineACell) {
  Figure figure = testing::surface_figure(2, 3, 100);
  const std::string csv = to_csv(figure);
  EXPECT_THAT(csv, StartsWith("dimension,token,token name,|h|\r\n0,0,Summer,"));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 6);
}

TEST(Csv, HoldsEveryCellOfALargeSurface) {
  const Figure figure = testing::surface_figure(16, 4096, 1);
  const std::string csv = to_csv(figure);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\r'), 1 + 16 * 4096);
}

TEST(CheckFigure, RefusesWhatDoesNotFit) {
  const auto message = [](const Figure& figure) -> std::string {
    try {
      check_figure(figure);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  Figure figure = lines_figure({{"a", {0, 1}, {1}}});
  EXPECT_THAT(message(figure), HasSubstr("figure f: y of a series has 1 entries, 2 are expected"));
  figure = lines_figure({{"a", {0, 1}, {1, 2}, Series::Mark::line, false, false, {"one"}}});
  EXPECT_THAT(message(figure), HasSubstr("hover has 1 entries, 2"));
  figure.content = HeatMap{{0, 1}, {0, 1}, {1, 2, 3}, ""};
  EXPECT_THAT(message(figure), HasSubstr("z has 3 entries, 4"));
  figure.content = TokenStrip{{"a"}, {}, ""};
  EXPECT_THAT(message(figure), HasSubstr("values has 0 entries, 1"));
  for (const char* id : {"", "../x", "a/b", "a b", "é", "a.b", "'"}) {
    figure = lines_figure({});
    figure.id = id;
    EXPECT_THAT(message(figure), HasSubstr("becomes a file name")) << id;
  }
  for (const Figure& sample : testing::sample_figures()) EXPECT_EQ(message(sample), "");
}

TEST(ThinRows, KeepsEveryCellOfShortRows) {
  const Figure figure = testing::surface_figure(3, 100, 50);
  const auto rows = thin_rows(std::get<Surface>(figure.content), 600);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[2].size(), 100u);
  EXPECT_EQ(rows[2][0], 200u);
}

TEST(ThinRows, NeverLosesOrMovesASpike) {
  for (const size_t at : {0u, 1u, 63u, 64u, 2047u, 4094u, 4095u}) {
    Surface surface;
    surface.x = counting(4096);
    surface.y = counting(2);
    surface.z.assign(2 * 4096, 0.1);
    surface.z[4096 + at] = -500;
    const auto rows = thin_rows(surface, 64);
    EXPECT_LE(rows[1].size(), 66u);
    EXPECT_THAT(rows[1], ::testing::Contains(4096 + at));
    EXPECT_EQ(rows[1].front(), 4096u);
    EXPECT_EQ(rows[1].back(), 2 * 4096u - 1);
    EXPECT_TRUE(std::is_sorted(rows[1].begin(), rows[1].end()));
  }
}

TEST(ThinRows, NothingToThin) {
  EXPECT_TRUE(thin_rows(Surface{}, 100).empty());
  Surface flat;
  flat.y = {0, 1};
  EXPECT_TRUE(thin_rows(flat, 100)[1].empty());
}

TEST(PeakCells, FindsWhatStandsOut) {
  const Figure figure = testing::surface_figure(9, 576, 713);
  const Surface& surface = std::get<Surface>(figure.content);
  const auto peaks = peak_cells(surface, 3);
  ASSERT_EQ(peaks.size(), 3u);
  EXPECT_EQ(peaks[0], 507u);
  EXPECT_EQ(peaks[1], 247u);
  EXPECT_TRUE(peak_cells(surface, 0).empty());
  Surface plain = surface;
  for (double& z : plain.z) z = std::min(z, 3.0);
  EXPECT_TRUE(peak_cells(plain, 3).empty());
  EXPECT_TRUE(peak_cells(Surface{}, 3).empty());
  for (double& z : plain.z) z = NAN;
  EXPECT_TRUE(peak_cells(plain, 3).empty());
}

TEST(Palette, InterpolatesAndClamps) {
  EXPECT_EQ(palette_color(viridis(), 0), 0x440154u);
  EXPECT_EQ(palette_color(viridis(), 1), 0xfde725u);
  EXPECT_EQ(palette_color(viridis(), 7), 0xfde725u);
  EXPECT_EQ(palette_color(viridis(), NAN), 0x440154u);
  EXPECT_EQ(palette_color(viridis(), 0.5), 0x21918cu);
  EXPECT_EQ(series_color(0), series_color(6));
}

TEST(ColorRange, CoversTheData) {
  const std::vector<double> values = {NAN, 2, 5, INFINITY};
  const Range range = color_range(values, false, std::nullopt, std::nullopt);
  EXPECT_EQ(range.low, 2);
  EXPECT_EQ(range.high, 5);
  EXPECT_EQ(color_range(values, false, 0.0, 1.0).high, 1);
  const Range log = color_range(std::vector<double>{0, -1}, true, std::nullopt, std::nullopt);
  EXPECT_LT(0, log.low);
  EXPECT_LT(log.low, log.high);
}

}  // namespace
}  // namespace spikescope
