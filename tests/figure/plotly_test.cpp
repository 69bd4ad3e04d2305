#include "figure/plotly.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"
#include "figure/samples.h"

namespace spikescope {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Plotly, LinesWithBandsAndLogAxis) {
  const Json plot = to_plotly(testing::magnitude_figure());
  ASSERT_EQ(plot["data"].size(), 4u);
  const Json& first = plot["data"][0];
  EXPECT_EQ(first["type"], "scatter");
  EXPECT_EQ(first["mode"], "lines+markers");
  EXPECT_EQ(first["line"]["color"], "#0072b2");
  EXPECT_EQ(first["y"][12], 23147.1);
  EXPECT_EQ(first["hoverinfo"], "text");
  EXPECT_EQ(first["hovertext"][3], "layer 3: 713.0<br>token 0 \"Summer\", dimension 507");
  EXPECT_EQ(plot["data"][3]["line"]["dash"], "dash");
  EXPECT_EQ(plot["layout"]["yaxis"]["type"], "log");
  EXPECT_EQ(plot["layout"]["shapes"].size(), 2u);
  EXPECT_EQ(plot["layout"]["shapes"][1]["x1"], 28.0);
  EXPECT_EQ(plot["layout"]["annotations"][0]["text"], "plateau 1");
  EXPECT_FALSE(plot["layout"].contains("paper_bgcolor"));
  EXPECT_FALSE(plot["layout"].contains("font"));
}

TEST(Plotly, SecondAxis) {
  const Json plot = to_plotly(testing::two_axes_figure());
  EXPECT_EQ(plot["data"][1]["yaxis"], "y2");
  EXPECT_EQ(plot["layout"]["yaxis2"]["side"], "right");
  EXPECT_EQ(plot["layout"]["yaxis2"]["range"], (Json{0.0, 1.0}));
  EXPECT_EQ(plot["data"][1]["y"][30], nullptr);
}

TEST(Plotly, PanelsHaveAxesAndLegendsOfTheirOwn) {
  const Json plot = to_plotly(testing::panels_figure());
  ASSERT_EQ(plot["panels"].size(), 2u);
  EXPECT_EQ(plot["panels"][0]["traces"], 4);
  EXPECT_EQ(plot["panels"][1]["traces"], 2);
  ASSERT_EQ(plot["data"].size(), 6u);
  EXPECT_EQ(plot["data"][0]["yaxis"], "y");
  EXPECT_EQ(plot["data"][0]["legend"], "legend");
  EXPECT_EQ(plot["data"][4]["yaxis"], "y3");
  EXPECT_EQ(plot["data"][5]["yaxis"], "y4");
  EXPECT_EQ(plot["data"][5]["legend"], "legend2");
  const Json& layout = plot["layout"];
  EXPECT_EQ(layout["yaxis"]["type"], "log");
  EXPECT_EQ(layout["yaxis4"]["overlaying"], "y3");
  EXPECT_EQ(layout["xaxis"]["anchor"], "y3");
  EXPECT_GT(layout["yaxis"]["domain"][0], layout["yaxis3"]["domain"][1]);
  EXPECT_EQ(layout["shapes"].size(), 4u);  // two bands in each
  EXPECT_EQ(layout["shapes"][3]["yref"], "y3 domain");
  EXPECT_EQ(layout["annotations"].size(), 4u);  // two titles; the bands' labels on top alone
  EXPECT_EQ(layout["annotations"][plot["panels"][1]["title"].get<size_t>()]["text"], "<b>2  Sinks &lt;b&gt;</b>");
}

TEST(Plotly, LogarithmicSecondAxisCountsInPowers) {
  Figure figure = testing::two_axes_figure();
  std::get<Lines>(figure.content).right.log = true;
  const Json axis = to_plotly(figure)["layout"]["yaxis2"];
  EXPECT_EQ(axis["type"], "log");
  EXPECT_EQ(axis["tickmode"], "linear");
  EXPECT_EQ(axis["dtick"], 1);
}

TEST(Plotly, NumbersHaveTheDigitsOfAFloat) {
  Figure figure;
  figure.id = "f";
  figure.content = Lines{{{"a", {0}, {static_cast<double>(0.1f)}}}, {}};
  EXPECT_EQ(to_plotly(figure)["data"][0]["y"].dump(), "[0.1]");
}

TEST(Plotly, GapsZerosAndInfinities) {
  Figure figure;
  figure.id = "f";
  figure.y.log = true;
  figure.content = Lines{{{"a", {0, 1, 2, 3, 4}, {1, 0, NAN, INFINITY, -1}}, {"", {}, {}}}, {}};
  const Json plot = to_plotly(figure);
  EXPECT_EQ(plot["data"][0]["y"], (Json{1.0, nullptr, nullptr, nullptr, nullptr}));
  EXPECT_EQ(plot["data"][1]["showlegend"], false);
  EXPECT_EQ(parse_json(plot.dump(), "plot"), plot);  // no NaN in the text
}

TEST(Plotly, HeatMap) {
  const Json plot = to_plotly(testing::sink_figure());
  const Json& trace = plot["data"][0];
  EXPECT_EQ(trace["type"], "heatmap");
  EXPECT_EQ(trace["z"].size(), 9u);
  EXPECT_EQ(trace["z"][0].size(), 30u);
  EXPECT_EQ(trace["zmin"], 0.0);
  EXPECT_EQ(trace["zmax"], 1.0);
  EXPECT_THAT(trace["hovertext"][8][29].get<std::string>(), HasSubstr("block 29, head 8<br>attention"));
  EXPECT_EQ(trace["colorbar"]["title"]["text"], "attention on token 0");
}

TEST(Plotly, LogHeatMapIsScaledWithItsTicks) {
  Figure figure;
  figure.id = "f";
  HeatMap map{{0, 1}, {0, 1}, {1, 100, 0, NAN}, "z"};
  map.z_log = true;
  figure.content = map;
  const Json trace = to_plotly(figure)["data"][0];
  EXPECT_EQ(trace["z"], (Json{{0.0, 2.0}, {nullptr, nullptr}}));
  EXPECT_EQ(trace["colorbar"]["ticktext"], (Json{"10⁰", "10¹", "10²"}));
  EXPECT_EQ(trace["colorbar"]["tickvals"], (Json{0.0, 1.0, 2.0}));
}

TEST(Plotly, SurfaceIsThinnedAndKeepsItsSpike) {
  const Figure figure = testing::surface_figure(48, 4096, 2622);
  EXPECT_TRUE(needs_webgl(figure));
  EXPECT_FALSE(needs_webgl(testing::sink_figure()));
  const Json plot = to_plotly(figure);
  const Json& ridges = plot["data"][0];
  EXPECT_LT(ridges["x"].size(), 15000u);
  EXPECT_EQ(ridges["x"].size(), ridges["hovertext"].size());
  bool found = false;
  for (size_t i = 0; i < ridges["x"].size(); ++i) {
    found |= ridges["z"][i] == 2622.0 && ridges["x"][i] == 3605.0 && ridges["y"][i] == 0.0 &&
             ridges["hovertext"][i] == "token 0 \"Summer\"<br>dimension 3605<br>|h| 2622.00";
  }
  EXPECT_TRUE(found);
  const Json& needles = plot["data"][1];
  EXPECT_EQ(needles["z"][0], 2622.0);
  EXPECT_EQ(needles["z"][1], 0.0);
  EXPECT_EQ(needles["text"][0], "2,622");
  EXPECT_EQ(plot["layout"]["scene"]["yaxis"]["ticktext"][0], "Summer");
}

TEST(Plotly, AxesOfASpaceHaveNoBrackets) {
  Figure figure = testing::surface_figure(2, 5, 100);
  figure.y.categories[0] = "0 '<bos>'";
  EXPECT_EQ(to_plotly(figure)["layout"]["scene"]["yaxis"]["ticktext"][0], "0 '‹bos›'");
}

TEST(Plotly, HoverOfASurfaceWithoutTexts) {
  Figure figure = testing::surface_figure(2, 5, 100);
  std::get<Surface>(figure.content).hover.clear();
  EXPECT_THAT(to_plotly(figure)["data"][0]["hovertext"][0].get<std::string>(),
              HasSubstr("dimension 0<br>token Summer<br>|h| "));
}

TEST(Plotly, TokenStripAsBars) {
  const Json plot = to_plotly(testing::strip_figure());
  EXPECT_EQ(plot["data"][0]["type"], "bar");
}

void expect_harmless(const Json& value) {
  if (value.is_string()) {
    std::string text = value.get<std::string>();
    for (size_t at = text.find("<br>"); at != std::string::npos; at = text.find("<br>")) text.erase(at, 4);
    EXPECT_THAT(text, Not(HasSubstr("<")));
  }
  if (value.is_structured()) {
    for (const Json& part : value) expect_harmless(part);
  }
}

TEST(Plotly, StringsFromOutsideAreEscaped) {
  for (const std::string& text : testing::hostile_strings()) {
    Figure figure = testing::surface_figure(1, 2, 100);
    figure.x.label = figure.y.label = text;
    figure.y.categories = {text};
    std::get<Surface>(figure.content).hover = {text, text + "\n" + text};
    expect_harmless(to_plotly(figure));
    figure.content = Lines{{{text, {0}, {1}, Series::Mark::bars, false, false, {text}}}, {}};
    figure.bands = {{0, 1, text}};
    expect_harmless(to_plotly(figure));
    figure.content = HeatMap{{0}, {0}, {1}, text, {}, {}, false, {text}};
    const Json plot = to_plotly(figure);
    expect_harmless(plot);
    EXPECT_NO_THROW(plot.dump());  // which throws on invalid UTF-8
  }
}

TEST(Plotly, RefusesAFigureThatDoesNotFit) {
  Figure figure;
  figure.id = "f";
  figure.content = HeatMap{{0}, {0}, {}, ""};
  EXPECT_THROW(to_plotly(figure), Error);
}

}  // namespace
}  // namespace spikescope
