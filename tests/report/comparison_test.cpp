#include "report/comparison.h"

#include <gmock/gmock.h>

#include <set>

#include "../analyses/planted.h"
#include "analyses/run.h"
#include "error_of.h"
#include "fixtures.h"
#include "report/comparison_page.h"
#include "runs.h"

namespace spikescope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
namespace fs = std::filesystem;

ComparedRun sample_run(const TemporaryFolder& folder, const std::string& name, double largest) {
  testing::write_sample_run(folder / name, name, largest);
  return read_run(folder / name);
}

const Figure* find_figure(const ReportPage& page, const std::string& id) {
  for (const ReportSection& section : page.sections)
    for (const Figure& figure : section.content.figures)
      if (figure.id == id) return &figure;
  return nullptr;
}

const ReportSection& section_of(const ReportPage& page, const std::string& name) {
  for (const ReportSection& section : page.sections)
    if (section.name == name) return section;
  throw std::runtime_error("no section " + name);
}

TEST(ReadRun, TakesTheStateOfTheLargestValue) {
  const TemporaryFolder folder;
  const ComparedRun run = sample_run(folder, "m", 1000);
  EXPECT_EQ(run.name, "m");
  EXPECT_EQ(run.blocks, 4);
  EXPECT_EQ(run.state, 2);
  EXPECT_EQ(run.median, 0.5);
  EXPECT_EQ(run.largest(), 1000);
  EXPECT_EQ(run.ratio(), 2000);
  ASSERT_EQ(run.top.size(), 3u);  // of one prompt
  EXPECT_EQ(run.top[0].value, -1000);
  EXPECT_EQ(run.top[1].value, 8);
  EXPECT_EQ(run.top[1].dim, 3);
  EXPECT_EQ(run.top[2].token, 5);
  EXPECT_THAT(run.dims, ElementsAre(7, 3));  // those of the larger plateau first
  EXPECT_THAT(run.plateaus, ElementsAre(std::pair(1, 1), std::pair(2, 3)));
  EXPECT_THAT(run.spikes.depth, ElementsAre(0, 0.25, 0.5, 0.75, 1));
  EXPECT_EQ(run.spikes.value[1], 1000);
  EXPECT_TRUE(std::isnan(run.spikes.value[4])) << "a median of null";
}

TEST(ReadRun, CountsSpikeTokensOnce) {
  const TemporaryFolder folder;
  const ComparedRun run = sample_run(folder, "m", 1000);
  ASSERT_EQ(run.spike_tokens.size(), 3u);
  EXPECT_TRUE(run.spike_tokens[0].first);
  EXPECT_EQ(run.spike_tokens[0].text, "") << "two first tokens that differ";
  EXPECT_EQ(run.spike_tokens[0].count, 2);
  EXPECT_EQ(run.spike_tokens[1].text, "' the'");
  EXPECT_EQ(run.spike_tokens[1].count, 2);
  EXPECT_EQ(run.spike_tokens[2].text, "id 9");
  EXPECT_EQ(run.spike_tokens[2].count, 1);
}

TEST(ReadRun, SinksAndConstancy) {
  const TemporaryFolder folder;
  const ComparedRun run = sample_run(folder, "m", 1000);
  EXPECT_EQ(run.sink_rate, 0.375);
  EXPECT_THAT(run.sinks.value, ElementsAre(0, 0.5, 1, 0));
  EXPECT_THAT(run.sinks.depth, ElementsAre(0, 0.25, 0.5, 0.75));
  EXPECT_NEAR(run.spike_cosine, (0.9 + 0.98 + 0.98) / 3, 1e-12) << "over the plateaus alone";
  EXPECT_NEAR(run.ordinary_cosine, 0.4, 1e-12);
  EXPECT_TRUE(std::isnan(run.constancy.value[0]));
  EXPECT_EQ(run.constancy.value[4], 0.5);
}

TEST(ReadRun, ConvergenceAsItsAnalysisWritesIt) {
  const TemporaryFolder folder;
  testing::Planted planted;
  planted.id = [](int64_t prompt, int64_t token) { return 100 * prompt + token; };
  planted.write(folder.path());
  const Analysis* chosen[] = {find_analysis("spikes"), find_analysis("convergence")};
  run_analyses(folder.path(), chosen, {}, {});
  const ComparedRun run = read_run(folder.path());
  EXPECT_EQ(run.no_constancy, "");
  EXPECT_GT(run.spike_cosine, 0.999);
  EXPECT_LT(run.ordinary_cosine, 0.9);
  ASSERT_EQ(run.constancy.value.size(), 6u);
  EXPECT_TRUE(std::isnan(run.constancy.value[0])) << "no spike tokens";
  EXPECT_NE(find_figure(comparison_page(std::vector{run}), "compare-constancy"), nullptr);
}

TEST(ReadRun, OneSpikeTokenIsConstantByConstruction) {
  for (const bool same : {false, true}) {
    const TemporaryFolder folder;
    testing::Planted planted;
    std::erase_if(planted.spikes, [](const auto& spike) { return spike.token > 0; });
    planted.id = [same](int64_t prompt, int64_t token) { return same && token == 0 ? 1 : 100 * prompt + token + 2; };
    planted.write(folder.path());
    const Analysis* chosen[] = {find_analysis("spikes"), find_analysis("convergence")};
    run_analyses(folder.path(), chosen, {}, {});
    const ComparedRun run = read_run(folder.path());
    EXPECT_EQ(run.one_spike_token, same);
    const ReportPage page = comparison_page(std::vector{run});
    const std::string cell = section_of(page, "survey").content.tables.at(1).rows.at(0).at(3);
    EXPECT_EQ(cell.find("by construction") != std::string::npos, same) << cell;
  }
}

TEST(ReadRun, WhatIsMissingIsSaid) {
  const TemporaryFolder folder;
  testing::write_sample_run(folder / "m", "m", 1000);
  fs::remove(folder / "m/results/convergence.json");
  testing::write_results(folder / "m", "sinks", {{"model", "m"}, {"applicable", false}, {"why", "no statistics"}});
  const ComparedRun run = read_run(folder / "m");
  EXPECT_EQ(run.no_sinks, "no statistics");
  EXPECT_EQ(run.no_constancy, "results/convergence.json is missing");
  EXPECT_TRUE(std::isnan(run.sink_rate));
  const ReportPage page = comparison_page(std::vector{run});
  EXPECT_EQ(find_figure(page, "compare-sinks"), nullptr);
  EXPECT_EQ(find_figure(page, "compare-constancy"), nullptr);
  EXPECT_NE(find_figure(page, "compare-spikes"), nullptr);
  EXPECT_EQ(section_of(page, "sinks").content.summary, "Without results on sinks: m (no statistics).");
  EXPECT_THAT(section_of(page, "constancy").content.summary, HasSubstr("m (results/convergence.json is missing)"));
}

TEST(ReadRun, OlderResultsHaveTheTopOfAllPrompts) {
  const TemporaryFolder folder;
  Json json = testing::sample_spikes("m", 1000);
  for (Json& layer : json["layers"]) layer.erase("prompt_top");
  testing::write_results(folder / "m", "spikes", json);
  EXPECT_EQ(read_run(folder / "m").top[1].value, -990);
}

TEST(ReadRun, DamageIsNamedByFileAndKey) {
  const TemporaryFolder folder;
  const auto error_with = [&](const std::string& analysis, auto damage) {
    testing::write_sample_run(folder / "m", "m", 1000);
    const fs::path file = folder / "m/results" / (analysis + ".json");
    Json json = read_json_file(file);
    damage(json);
    write_file(file, json.dump());
    const std::string error = error_of([&] { read_run(folder / "m"); });
    EXPECT_THAT(error, HasSubstr(file.string()));
    EXPECT_EQ(error.find('\n'), std::string::npos);
    return error;
  };
  EXPECT_THAT(error_with("spikes", [](Json& json) { json.erase("layers"); }), HasSubstr("\"layers\" is missing"));
  EXPECT_THAT(error_with("spikes", [](Json& json) { json["layers"] = 3; }), HasSubstr("\"layers\" is no array"));
  EXPECT_THAT(error_with("spikes", [](Json& json) { json["layers"] = Json::array(); }), HasSubstr("is empty"));
  EXPECT_THAT(error_with("spikes", [](Json& json) { json["layers"][3].erase("max"); }),
              AllOf(HasSubstr("layers[3]"), HasSubstr("\"max\"")));
  EXPECT_THAT(error_with("spikes", [](Json& json) { json["layers"][1]["median"] = "x"; }),
              AllOf(HasSubstr("layers[1]"), HasSubstr("\"median\"")));
  EXPECT_THAT(error_with("spikes", [](Json& json) { json["layers"][0]["prompt_top"][0] = 1; }),
              HasSubstr("prompt_top[0]"));
  EXPECT_THAT(error_with("spikes", [](Json& json) { json["plateaus"][1]["dims"] = {"a"}; }),
              AllOf(HasSubstr("plateaus[1]"), HasSubstr("\"dims\"")));
  EXPECT_THAT(error_with("spikes", [](Json& json) { json["spikes"][2].erase("string"); }), HasSubstr("spikes[2]"));
  EXPECT_THAT(error_with("spikes", [](Json& json) { json = Json::array(); }), HasSubstr("applicable"));
  EXPECT_THAT(error_with("sinks", [](Json& json) { json["layers"][2].erase("heads"); }),
              AllOf(HasSubstr("layers[2]"), HasSubstr("\"heads\"")));
  EXPECT_THAT(error_with("convergence", [](Json& json) { json["layers"][2].erase("spike"); }),
              AllOf(HasSubstr("layers[2]"), HasSubstr("\"spike\"")));
  testing::write_sample_run(folder / "m", "m", 1000);
  write_file(folder / "m/results/sinks.json", "{\"applicable\": tru");
  EXPECT_THAT(error_of([&] { read_run(folder / "m"); }), AllOf(HasSubstr("sinks.json"), HasSubstr("line 1")));
  testing::write_results(folder / "m", "spikes", {{"applicable", false}, {"why", "no states"}});
  EXPECT_THAT(error_of([&] { read_run(folder / "m"); }), AllOf(HasSubstr("spikes.json"), HasSubstr("no states")));
}

TEST(RunFolder, IsFoundFromWhateverIsInIt) {
  const TemporaryFolder folder;
  testing::write_sample_run(folder / "m", "m", 1000);
  write_file(folder / "m/report/index.html", "");
  const fs::path out = fs::weakly_canonical(folder / "m");
  for (const char* name : {"m", "m/", "m/results", "m/results/sinks.json", "m/report", "m/report/index.html"})
    EXPECT_EQ(run_folders(folder / name), std::vector{out}) << name;
  EXPECT_THAT(error_of([&] { run_folders(folder / "n"); }), HasSubstr("no such file or folder"));
  EXPECT_EQ(run_folders(folder.path()), std::vector{out}) << "a folder that holds runs";
  fs::create_directories(folder / "empty");
  EXPECT_THAT(error_of([&] { run_folders(folder / "empty"); }), HasSubstr("spikescope analyze"));
}

TEST(DistinctEnds, AreAsShortAsTheyCanBe) {
  EXPECT_THAT(distinct_ends({"/a/x", "/a/y"}), ElementsAre("x", "y"));
  EXPECT_THAT(distinct_ends({"/a/b/x", "/a/c/x"}), ElementsAre("b/x", "c/x"));
  EXPECT_THAT(distinct_ends({"x", "/c/x"}), ElementsAre("x", "c/x"));
  EXPECT_THAT(distinct_ends({"/a/x", "/a/x"}), ElementsAre("a/x", "a/x"));
}

TEST(Comparison, EqualNamesAreToldApartByFolder) {
  std::vector<ComparedRun> runs(3);
  runs[0].name = runs[2].name = "m";
  runs[1].name = "n";
  runs[0].folder = "/a/one";
  runs[2].folder = "/a/two";
  make_names_distinct(runs);
  EXPECT_EQ(runs[0].name, "m (one)");
  EXPECT_EQ(runs[1].name, "n");
  EXPECT_EQ(runs[2].name, "m (two)");
}

TEST(Comparison, TableHasARowARunAndSaysWhatFailed) {
  const TemporaryFolder folder;
  std::vector<ComparedRun> runs = {sample_run(folder, "m", 1000), ComparedRun{}, sample_run(folder, "n", 30000)};
  runs[1].name = "broken";
  runs[1].error = "no such file";
  const ReportPage page = comparison_page(runs);
  const Table& table = section_of(page, "survey").content.tables[0];
  ASSERT_EQ(table.rows.size(), 3u);
  for (const auto& row : table.rows) EXPECT_EQ(row.size(), table.columns.size());
  EXPECT_THAT(table.rows[0], ElementsAre("m", "1,000", "8.000", "4.000", "0.5", "2,000",
                                         "first (2), ' the' (2), 1 more", "7, 3", "1, 2–3 of 4"));
  EXPECT_EQ(table.rows[1][6], "failed: no such file");
  EXPECT_THAT(page.summary, AllOf(HasSubstr("m and n"), HasSubstr("since the run failed: broken")));
  EXPECT_EQ(page.findings[0].value, "2 of 2");
  EXPECT_EQ(page.findings[1].value, "30,000");
  for (const ReportSection& section : page.sections)
    for (const Figure& figure : section.content.figures) EXPECT_NO_THROW(check_figure(figure));
  const std::string csv = comparison_csv(runs);
  EXPECT_THAT(csv,
              HasSubstr("\r\nm,1000,8,4,0.5,2,4,\"first (2), ' the' (2), id 9 (1)\",\"7, 3\",\"1, 2–3 of 4\",0.375,"));
  EXPECT_THAT(csv, HasSubstr(",no such file\r\n"));
}

TEST(Comparison, JsonHoldsRowsAndCurves) {
  const TemporaryFolder folder;
  std::vector<ComparedRun> runs = {sample_run(folder, "m", 1000), ComparedRun{}};
  runs[1].name = "broken";
  runs[1].error = "no such file";
  const Json json = comparison_json(runs);
  ASSERT_EQ(json.size(), 2u);
  EXPECT_EQ(json[0]["ratio"], 2000.0);
  EXPECT_EQ(json[0]["top"][0]["value"], -1000.0);
  EXPECT_EQ(json[0]["curves"]["spikes"]["value"][4], nullptr);
  EXPECT_EQ(json[0]["curves"]["sinks"]["value"][2], 1.0);
  EXPECT_EQ(json[0]["constancy_note"], nullptr);
  EXPECT_EQ(json[1]["error"], "no such file");
}

TEST(Comparison, ADozenCurvesDiffer) {
  const TemporaryFolder folder;
  std::vector<ComparedRun> runs(18, sample_run(folder, "m", 1000));
  runs[3].error = "it failed";
  const ReportPage page = comparison_page(runs);
  const auto& series = std::get<Lines>(find_figure(page, "compare-spikes")->content).series;
  ASSERT_EQ(series.size(), 17u);
  std::set<std::tuple<size_t, bool, Series::Mark>> looks;
  for (size_t i = 0; i < series.size(); ++i) looks.insert({i % 6, series[i].dashed, series[i].mark});
  EXPECT_EQ(looks.size(), series.size());
}

}  // namespace
}  // namespace spikescope
