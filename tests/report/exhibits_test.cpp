// The registry of exhibits, the judges on made-up results, and the figure at a glance.
#include "report/exhibits.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "capture/dump_fixture.h"
#include "fixtures.h"
#include "report/at_a_glance.h"
#include "report/judges.h"
#include "report/reproduction.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Holds = Verdict::Holds;

const Analysis* analysis_of(std::string_view name) {
  for (const auto table : {analyses(), experiments()})
    for (const Analysis& analysis : table)
      if (analysis.name == name) return &analysis;
  return nullptr;
}

AnalysisResult result_of(const char* name, Json json) {
  json["applicable"] = json.value("applicable", true);
  json["model"] = "made up";
  json["windows"] = 2;
  json["tokens"] = 20;
  return {analysis_of(name), std::move(json), {}};
}

Json plateaus() { return Json::array({{{"first", 1}, {"last", 2}, {"value", 5000.0}, {"dims", {7}}}}); }

/// Four states, r_1 and r_2 on a plateau; `rise` is the largest |h| there.
Json spikes(double rise) {
  Json json = {{"plateaus", plateaus()}, {"spikes", Json::array()}, {"layers", Json::array()}};
  for (int layer = 0; layer < 4; ++layer) {
    const double max = layer == 1 || layer == 2 ? rise : 10.0;
    Json top = Json::array();
    for (const double part : {1.0, 0.5, 0.01})
      top.push_back({{"prompt", 0}, {"token", 0}, {"dim", 7}, {"value", -max * part}});
    json["layers"].push_back({{"layer", layer},
                              {"max", max},
                              {"median", 0.5},
                              {"ratio", 2 * max},
                              {"published_rule_flags", max >= 500 ? 2 : 0},
                              {"top", top},
                              {"prompt_top", top}});
  }
  for (int i = 0; i < 10; ++i)
    json["spikes"].push_back({{"prompt", i}, {"token", i == 0 ? 3 : 0}, {"dims", {i == 0 ? 8 : 7}}});
  return json;
}

Json sinks(double mass) {
  Json json = {{"plateaus", plateaus()}, {"bias_note", nullptr}, {"layers", Json::array()}};
  for (int block = 0; block < 3; ++block)
    json["layers"].push_back({{"block", block},
                              {"mass", block == 0 ? 0.01 : mass},
                              {"bias_ratio", block == 0 ? Json(nullptr) : Json(0.4)},
                              {"bias_cosine_biased", block == 0 ? Json(nullptr) : Json(0.95)},
                              {"mean_alpha", 0.2},
                              {"heads", {{{"alpha", 0.2}}, {{"alpha", nullptr}}}}});
  return json;
}

Json rope_bands() {
  Json json = {{"plateaus", plateaus()}, {"dmax", 512}, {"layers", Json::array()}};
  for (int layer = 0; layer < 3; ++layer)
    json["layers"].push_back({{"layer", layer},
                              {"sigma_template", 0.05},
                              {"sigma_semantic", 1.5},
                              {"stable_energy_template", 0.97},
                              {"stable_energy_semantic", 0.7},
                              {"zone_share", layer == 1 ? 0.8 : 0.1},
                              {"zone_share_semantic", 0.02},
                              {"zone_pairs", 0.13}});
  return json;
}

Json interventions(double zero, double mean, double everywhere, double inserted) {
  const auto run = [](const char* what, Json plateau, double difference) {
    return Json{{"what", what}, {"plateau", std::move(plateau)}, {"given", false}, {"difference", difference}};
  };
  Json json = {{"baseline", {{"loss", 3.0}}}, {"plateaus", plateaus()}};
  json["plateaus"][0]["verdict"] = zero > 2.4 && mean < 0.02 ? "confirmed" : "not confirmed";
  json["runs"] = {run("zero", 0, zero), run("mean", 0, mean), run("zero everywhere", nullptr, everywhere),
                  run("templates inserted", nullptr, inserted)};
  return json;
}

class Exhibits : public ::testing::Test {
 protected:
  Exhibits() : dump_(written(folder_.path())) {}
  static const std::filesystem::path& written(const std::filesystem::path& out) {
    testing::write_dump(out);
    return out;
  }
  Verdict judge(Verdict (*with)(const Evidence&), std::vector<AnalysisResult> results) const {
    return with(Evidence(results, dump_));
  }
  testing::TemporaryFolder folder_;
  DumpReader dump_;
};

TEST(Registry, IsComplete) {
  ASSERT_EQ(papers().size(), 2u);
  for (const Paper& paper : papers()) {
    std::set<std::string_view> ids;
    for (const Exhibit& exhibit : paper.exhibits) {
      SCOPED_TRACE(exhibit.id);
      EXPECT_TRUE(ids.insert(exhibit.id).second);
      EXPECT_EQ(exhibit.id.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"), std::string_view::npos);
      EXPECT_FALSE(exhibit.name.empty() || exhibit.claim.empty());
      EXPECT_FALSE(exhibit.claim.ends_with('.'));  // a clause within a sentence
      EXPECT_EQ(exhibit.judge == nullptr, !exhibit.why_not.empty());
      EXPECT_EQ(exhibit.judge == nullptr, exhibit.shows.empty());
      EXPECT_EQ(exhibit.judge == nullptr, exhibit.needs.empty());
      for (const std::string_view name : exhibit.needs) EXPECT_NE(analysis_of(name), nullptr) << name;
    }
  }
  EXPECT_THAT(needs_of(*find_paper("2606.02288")),
              ElementsAre("convergence", "alignment", "null_space", "rope_bands", "interventions"));
}

TEST(Registry, FindsPapersAsPeopleWriteThem) {
  for (const char* id : {"2402.17762", "arXiv:2402.17762", "2402.17762v2"})
    EXPECT_EQ(find_paper(id), &papers()[0]) << id;
  for (const char* id : {"", "2402.1776", "2402.17762x", "v2"}) EXPECT_EQ(find_paper(id), nullptr) << id;
}

TEST_F(Exhibits, JudgesFollowTheNumbers) {
  const auto of_spikes = [&](auto with, double rise) { return judge(with, {result_of("spikes", spikes(rise))}).holds; };
  EXPECT_EQ(of_spikes(judge_magnitudes, 5000), Holds::confirmed);
  EXPECT_EQ(of_spikes(judge_magnitudes, 400), Holds::partly);
  EXPECT_EQ(of_spikes(judge_few, 5000), Holds::confirmed);
  EXPECT_EQ(of_spikes(judge_layers, 5000), Holds::confirmed);
  EXPECT_EQ(of_spikes(judge_layers, 50), Holds::partly);  // it stays and goes, but does not rise tenfold
  EXPECT_EQ(of_spikes(judge_places, 5000), Holds::confirmed);
  EXPECT_EQ(judge(judge_attention, {result_of("sinks", sinks(0.5))}).holds, Holds::confirmed);
  EXPECT_EQ(judge(judge_attention, {result_of("sinks", sinks(0.1))}).holds, Holds::no);
  EXPECT_EQ(judge(judge_bias, {result_of("sinks", sinks(0.5))}).holds, Holds::confirmed);
  EXPECT_EQ(judge(judge_slow_bands, {result_of("rope_bands", rope_bands())}).holds, Holds::confirmed);
  // 0.8 and 0.1 in the plateau's layers: less than half in the mean.
  const Verdict zones = judge(judge_zones, {result_of("rope_bands", rope_bands())});
  EXPECT_EQ(zones.holds, Holds::no);
  EXPECT_THAT(zones.why, HasSubstr("45 % of the amplitude"));
  const auto of_runs = [&](auto with, double a, double b, double c, double d) {
    return judge(with, {result_of("interventions", interventions(a, b, c, d))});
  };
  EXPECT_EQ(of_runs(judge_interventions, 10, 0.01, 11, 0.4).holds, Holds::confirmed);
  EXPECT_THAT(of_runs(judge_interventions, 10, 0.01, 11, 0.4).why, HasSubstr("+10.00 nats and the mean by +0.0100"));
  EXPECT_EQ(of_runs(judge_interventions, 0.01, 0.01, 11, 0.4).holds, Holds::no);
  EXPECT_EQ(of_runs(judge_insertion, 10, 0.01, 11, 0.01).holds, Holds::confirmed);
  EXPECT_EQ(of_runs(judge_insertion, 10, 0.01, 11, 0.4).holds, Holds::partly);
  EXPECT_EQ(of_runs(judge_insertion, 10, 0.01, 11, 9).holds, Holds::no);
  EXPECT_EQ(of_runs(judge_insertion, 10, 0.01, -1, 0).holds, Holds::not_applicable);
}

TEST_F(Exhibits, WithoutSpikesThereIsNothingToJudge) {
  Json none = sinks(0.0);
  none["plateaus"] = Json::array();
  const Verdict verdict = judge(judge_attention, {result_of("sinks", none)});
  EXPECT_EQ(verdict.holds, Holds::not_applicable);
  EXPECT_THAT(verdict.why, HasSubstr("no plateaus of spikes"));
}

TEST_F(Exhibits, WhatIsMissingIsSaid) {
  std::vector<AnalysisResult> results = {result_of("spikes", spikes(5000)),
                                         result_of("sinks", {{"applicable", false}, {"why", "a reason"}})};
  Figure figure;
  figure.id = "spikes-magnitude";
  figure.content = Lines{};
  results[0].section.figures = {figure};
  const std::vector<JudgedExhibit> judged = judge_paper(papers()[0], results, dump_);
  ASSERT_EQ(judged.size(), papers()[0].exhibits.size());
  for (const JudgedExhibit& one : judged) {
    SCOPED_TRACE(one.exhibit->id);
    EXPECT_EQ(one.verdict.claim, one.exhibit->claim);
    if (one.exhibit->id == "layers") {
      EXPECT_THAT(one.figures, ElementsAre("spikes-magnitude"));
    }
    if (one.exhibit->id == "attention") {
      EXPECT_EQ(one.verdict.why, "a reason");
    }
    if (one.exhibit->id == "constancy") {
      EXPECT_EQ(one.verdict.why, "convergence was not run");
    }
    if (one.exhibit->id == "vision") {
      EXPECT_THAT(one.verdict.why, HasSubstr("on text"));
    }
  }
  const ReportPage page = reproduction_page(papers()[0], judged, results, "made up");
  EXPECT_EQ(figures_of(page).size(), 1u);
  EXPECT_EQ(page.sections.size(), judged.size() + 1);
  EXPECT_EQ(page.sections[0].content.tables[0].rows.size(), judged.size());
  EXPECT_EQ(page.findings[0].value, "4 of 12");
  EXPECT_THROW(Evidence(results, dump_)["sinks"], Error);
}

TEST_F(Exhibits, AtAGlanceShowsWhatThereIs) {
  std::vector<AnalysisResult> results = {result_of("spikes", spikes(5000)), result_of("sinks", sinks(0.5)),
                                         result_of("rope_bands", rope_bands())};
  const std::optional<Figure> figure = at_a_glance(results);
  ASSERT_TRUE(figure);
  EXPECT_NO_THROW(check_figure(*figure));
  const auto& panels = std::get<PanelStack>(figure->content).panels;
  ASSERT_EQ(panels.size(), 3u);
  EXPECT_EQ(panels[0].title, "1  Size: up to 5,000, 10,000 x the median");
  EXPECT_EQ(panels[0].lines.series[0].y, (std::vector<double>{10, 5000, 5000, 10}));
  EXPECT_EQ(panels[1].title, "2  Attention on spike tokens: 50 %, 1 % elsewhere");
  EXPECT_EQ(panels[1].lines.series[0].y, (std::vector<double>{0.01, 0.5, 0.5}));
  EXPECT_EQ(panels[2].title, "3  Their logit over distance: ± 0.05, others' ± 1.5");
  EXPECT_THAT(figure->caption, HasSubstr("Left out: alignment was not run and convergence was not run."));
  ASSERT_EQ(figure->bands.size(), 1u);

  results[0].results["plateaus"] = results[1].results["plateaus"] = Json::array();
  const std::optional<Figure> none = at_a_glance(results);
  ASSERT_TRUE(none);
  EXPECT_EQ(std::get<PanelStack>(none->content).panels.size(), 2u);
  EXPECT_EQ(std::get<PanelStack>(none->content).panels[1].title, "2  Attention on the first token: 20 %");
  EXPECT_THAT(none->caption, HasSubstr("No spikes were found"));

  EXPECT_FALSE(at_a_glance({}));
}

}  // namespace
}  // namespace spikescope
