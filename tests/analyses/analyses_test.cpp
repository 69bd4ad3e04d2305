// The spikes and sinks analyses, and what is common to all, end to end on a dump with planted spikes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "analysis_fixture.h"
#include "base/error.h"
#include "base/version.h"
#include "figure/figure.h"
#include "io/output_file.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Planted;
using ::testing::SizeIs;

using AnalysesTest = testing::AnalysisTest;

double lower_median_magnitude(std::vector<float> values) {
  for (float& value : values) value = std::abs(value);
  std::sort(values.begin(), values.end());
  return values[(values.size() - 1) / 2];
}

TEST_F(AnalysesTest, CommonKeys) {
  weights.architecture().ropes = {{.dims = 2, .frequencies = {0.001}}};  // so that all of them apply
  for (const Analysis& analysis : analyses()) {
    const std::string name(analysis.name);
    const Json json = run(name);
    EXPECT_EQ(json["analysis"], name);
    EXPECT_EQ(json["version"], version());
    EXPECT_EQ(json["model"], "planted");
    EXPECT_EQ(json["windows"], 2);
    EXPECT_EQ(json["tokens"], 40);
    EXPECT_GE(json["seconds"].get<double>(), 0.0);
    EXPECT_EQ(json["applicable"], true);
    EXPECT_FALSE(json.contains("why"));
    EXPECT_EQ(arrays(name).string_attribute("/", "analysis"), name);
  }
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.begin() + 5));
  EXPECT_EQ(fractions.back(), 1.0);
}

TEST_F(AnalysesTest, SpikesOfEachState) {
  const Json layers = run("spikes")["layers"];
  ASSERT_THAT(layers, SizeIs(7));
  for (int64_t l = 0; l < 7; ++l) {
    const Json& layer = layers[static_cast<size_t>(l)];
    EXPECT_EQ(layer["layer"], l);
    EXPECT_EQ(layer["median"].get<double>(), lower_median_magnitude(planted.state(l))) << l;
    EXPECT_THAT(layer["top"], SizeIs(10));
  }
  const auto entry = [&](size_t layer, size_t k) {
    const Json& top = layers[layer]["top"][k];
    return std::vector<int64_t>{top["prompt"], top["token"], top["dim"],
                                static_cast<int64_t>(std::lround(top["value"].get<double>()))};
  };
  EXPECT_THAT(entry(3, 0), ElementsAre(1, 0, 5, 1600));
  EXPECT_THAT(entry(3, 1), ElementsAre(1, 7, 5, 1600));
  EXPECT_THAT(entry(3, 2), ElementsAre(0, 0, 5, 1500));
  EXPECT_THAT(entry(6, 0), ElementsAre(0, 0, 9, -4000));
  EXPECT_EQ(layers[6]["max"], 4000.0);
  EXPECT_LT(layers[5]["max"].get<double>(), 2.0);
  // The published rule: at least 1,000 medians of about 1.
  std::vector<int> flags, windows, tokens;
  for (const Json& layer : layers) {
    flags.push_back(layer["published_rule_flags"]);
    windows.push_back(layer["published_rule_windows"]);
    tokens.push_back(layer["spike_tokens"]);
  }
  EXPECT_THAT(flags, ElementsAre(0, 0, 0, 3, 3, 0, 4));
  EXPECT_THAT(windows, ElementsAre(0, 0, 0, 2, 2, 0, 2));
  EXPECT_THAT(tokens, ElementsAre(0, 0, 3, 3, 3, 0, 2));
}

TEST_F(AnalysesTest, SpikesOverLayers) {
  const Json json = run("spikes");
  const Json& spikes = json["spikes"];
  ASSERT_THAT(spikes, SizeIs(5));
  const Json& inner = spikes[4];
  EXPECT_EQ(inner["prompt"], 1);
  EXPECT_EQ(inner["token"], 7);
  EXPECT_EQ(inner["string"], "Ġthe");
  EXPECT_EQ(inner["id"], 42);
  EXPECT_EQ(inner["dims"], Json({5}));
  EXPECT_EQ(inner["value"], 1600.0);
  EXPECT_EQ(inner["birth"], 2);
  EXPECT_EQ(inner["death"], 5);
  EXPECT_EQ(inner["peak"], 3);
  const Json& last = spikes[1];
  EXPECT_EQ(last["dims"], Json({9, 11}));
  EXPECT_EQ(last["value"], -4000.0);
  EXPECT_EQ(last["birth"], 6);
  EXPECT_TRUE(last["death"].is_null());

  const Json& plateaus = json["plateaus"];
  ASSERT_THAT(plateaus, SizeIs(2));
  EXPECT_EQ(plateaus[0]["first"], 3);
  EXPECT_EQ(plateaus[0]["last"], 4);
  EXPECT_EQ(plateaus[0]["dims"], Json({5}));
  EXPECT_EQ(plateaus[0]["tokens"], 3);
  EXPECT_EQ(plateaus[0]["first_tokens"], 2);
  EXPECT_EQ(plateaus[0]["windows"], 2);
  EXPECT_EQ(plateaus[0]["value"], 1600.0);
  EXPECT_EQ(plateaus[1]["first"], 6);
  EXPECT_EQ(plateaus[1]["last"], 6);
  EXPECT_EQ(plateaus[1]["dims"], Json({9, 11}));
  EXPECT_EQ(plateaus[1]["value"], -4000.0);
  EXPECT_EQ(plateaus[1]["values"], Json({-4000.0, 3000.0}));
}

TEST_F(AnalysesTest, WritersSplitIntoModulesAndNeurons) {
  const Json json = run("spikes");
  EXPECT_TRUE(json["writers_note"].is_null());
  const Json& writers = json["writers"];
  std::vector<std::tuple<int, int, std::string>> found;
  for (const Json& writer : writers) found.push_back({writer["block"], writer["dim"], writer["effect"]});
  EXPECT_THAT(found, ElementsAre(std::tuple(1, 5, "writes"), std::tuple(2, 5, "writes"), std::tuple(4, 5, "cancels"),
                                 std::tuple(5, 9, "writes"), std::tuple(5, 11, "writes")));
  // Block 1 takes dimension 5 of three tokens from about +-1 to 300, 320 and 320.
  const double change = writers[0]["mlp"].get<double>() + writers[0]["attention"].get<double>();
  EXPECT_NEAR(change, 940.0 / 3, 1.5);
  EXPECT_NEAR(writers[0]["attention"].get<double>(), 0.1 * change, 1e-3);
  EXPECT_EQ(writers[0]["spikes"], 3);
  EXPECT_NEAR(writers[1]["mlp"].get<double>(), (1200 + 1280 + 1280) / 3.0, 1e-3);
  EXPECT_EQ(writers[1]["attention"], 0.0);
  EXPECT_EQ(writers[3]["spikes"], 2);
  // act W_down = 0 * 7, 1 * 3, 2 * 0, 3 * 1: half each.
  const Json& neurons = writers[1]["neurons"];
  ASSERT_THAT(neurons, SizeIs(2));
  EXPECT_EQ(neurons[0]["index"], 1);
  EXPECT_DOUBLE_EQ(neurons[0]["share"].get<double>(), 0.5);
  EXPECT_EQ(neurons[1]["index"], 3);
  EXPECT_THAT(writers[4]["neurons"], IsEmpty());  // row 11 of W_down is zero
}

TEST_F(AnalysesTest, SpikesWithoutTheCheckpoint) {
  const Json json = run("spikes", false);
  ASSERT_THAT(json["writers"], SizeIs(5));
  for (const Json& writer : json["writers"]) EXPECT_THAT(writer["neurons"], IsEmpty());
  EXPECT_THAT(json["writers_note"].get<std::string>(), HasSubstr("/nowhere/planted: no such file"));
  EXPECT_EQ(weights_opened, 1);
}

TEST_F(AnalysesTest, SpikesWithoutWriterRows) {
  planted.with_writers = false;
  const Json json = run("spikes");
  EXPECT_THAT(json["writers"], IsEmpty());
  EXPECT_TRUE(json["writers_note"].is_string());
  EXPECT_THAT(json["plateaus"], SizeIs(2));
  EXPECT_EQ(weights_opened, 0);
}

TEST_F(AnalysesTest, NoSpikes) {
  planted.spikes.clear();
  const Json spikes = run("spikes"), sinks = run("sinks");
  EXPECT_EQ(spikes["applicable"], true);
  for (const char* key : {"spikes", "plateaus", "writers"}) EXPECT_THAT(spikes[key], IsEmpty()) << key;
  EXPECT_TRUE(sinks["spike_mass_correlation"].is_null());
  const auto loaded = load_results(folder.path());
  ASSERT_THAT(loaded, SizeIs(2));
  EXPECT_THAT(loaded[0].section.summary, HasSubstr("No spike was found"));
  for (const AnalysisResult& result : loaded) {
    EXPECT_FALSE(result.section.figures.empty());
    for (const Figure& figure : result.section.figures) check_figure(figure);
  }
}

TEST_F(AnalysesTest, ADimensionLargeInAllTokensIsNoSpike) {
  planted.spikes.clear();
  planted.change = [](int64_t, std::vector<float>& state) {
    for (size_t at = 3; at < state.size(); at += Planted::kDims) state[at] = 5000.0f;
  };
  const Json json = run("spikes");
  EXPECT_THAT(json["spikes"], IsEmpty());
  EXPECT_EQ(json["layers"][2]["published_rule_flags"], 40);  // where the published rule sees one in every token
}

TEST_F(AnalysesTest, SinksOfHeadsAndBlocks) {
  const Json json = run("sinks");
  EXPECT_DOUBLE_EQ(json["sink_rate"].get<double>(), 5.0 / 12);  // head 0 in blocks 0 to 4
  EXPECT_NEAR(json["mean_alpha"].get<double>(), (5 * 0.6 + 0.3) / 12, 1e-6);
  EXPECT_EQ(json["mass_from_query"], 16);
  EXPECT_EQ(json["windows_too_short"], 0);
  const Json& layers = json["layers"];
  ASSERT_THAT(layers, SizeIs(6));
  for (size_t block = 0; block < 6; ++block) {
    const Json& layer = layers[block];
    EXPECT_EQ(layer["block"], block);
    ASSERT_THAT(layer["heads"], SizeIs(2));
    for (size_t head = 0; head < 2; ++head) {
      EXPECT_NEAR(layer["heads"][head]["alpha"].get<double>(),
                  Planted::to_first(static_cast<int64_t>(block), static_cast<int64_t>(head)), 1e-6);
      EXPECT_NEAR(layer["heads"][head]["entropy"].get<double>(), 0.205 + 0.1 * static_cast<double>(head), 1e-6);
    }
    EXPECT_NEAR(layer["entropy"].get<double>(), 0.255, 1e-6);
    // Spike tokens: token 0, and token 7 of prompt 1, in r_2 to r_4; the same tokens are the latest ones in r_5.
    const bool spikes = block >= 2 && block <= 4;
    const double first = block == 5 ? 0.15 : 0.3, inner = block >= 2 ? 0.1 : 0.0;
    EXPECT_NEAR(layer["mass"].get<double>(), spikes ? first + inner : 0.0, 1e-6) << block;
    EXPECT_NEAR(layer["latest_mass"].get<double>(), first + inner, 1e-6) << block;
    EXPECT_EQ(layer["spike_windows"], spikes ? 2 : 0);
  }
  EXPECT_EQ(layers[3]["spike"], 1600.0);
  EXPECT_TRUE(layers[5]["spike"].is_null());
  EXPECT_EQ(json["plateaus"], Json::parse(R"([{"first": 3, "last": 4}, {"first": 6, "last": 6}])"));
  EXPECT_NEAR(json["spike_mass_correlation"].get<double>(), 1.0, 1e-9);
}

TEST_F(AnalysesTest, ImplicitBias) {
  const Json json = run("sinks");
  EXPECT_TRUE(json["bias_note"].is_null());
  // v = (1, 2), W_O sums into dimension 0: B = 3 x (0.5 + 0.1), and 3 x 2 x 0.2 more in prompt 1; ||o|| = sqrt(32).
  const double first = 1.8 / std::sqrt(32.0), inner = 3.0 / std::sqrt(32.0);
  EXPECT_EQ(json["layers"][1]["bias_ratio"], 0.0);
  EXPECT_TRUE(json["layers"][1]["bias_cosine"].is_null());
  EXPECT_NEAR(json["layers"][3]["bias_ratio"].get<double>(), (first + inner) / 2, 1e-6);
  EXPECT_NEAR(json["layers"][3]["bias_ratio_se"].get<double>(), (inner - first) / 2, 1e-6);
  EXPECT_NEAR(json["layers"][3]["bias_cosine"].get<double>(), 1.0, 1e-6);
}

TEST_F(AnalysesTest, ImplicitBiasCountsQueriesWithoutOneAsNone) {
  std::erase_if(planted.spikes, [](const Planted::Spike& spike) { return spike.prompt == 0; });
  const Json json = run("sinks");
  EXPECT_NEAR(json["layers"][3]["bias_ratio"].get<double>(), 1.5 / std::sqrt(32.0), 1e-6);  // of 0 and 3
  EXPECT_NEAR(json["layers"][3]["bias_cosine"].get<double>(), 0.5, 1e-6);
  EXPECT_NEAR(json["layers"][3]["bias_cosine_biased"].get<double>(), 1.0, 1e-6);
}

TEST_F(AnalysesTest, ImplicitBiasNeedsWeightsAndAttnOut) {
  Json json = run("sinks", false);
  EXPECT_THAT(json["bias_note"].get<std::string>(), HasSubstr("no such file"));
  EXPECT_TRUE(json["layers"][3]["bias_ratio"].is_null());
  EXPECT_TRUE(json["layers"][3]["bias_cosine"].is_null());
  EXPECT_TRUE(json["layers"][3]["mass"].is_number());
  planted.with_attn_out = false;
  json = run("sinks");
  EXPECT_THAT(json["bias_note"].get<std::string>(), HasSubstr("attn_out"));
  EXPECT_TRUE(json["layers"][3]["bias_ratio"].is_null());
}

TEST_F(AnalysesTest, SinksNeedSinkStatistics) {
  planted.with_sinks = false;
  const Json json = run("sinks");
  EXPECT_EQ(json["applicable"], false);
  EXPECT_THAT(json["why"].get<std::string>(), HasSubstr("--sinks"));
  const auto loaded = load_results(folder.path());
  ASSERT_THAT(loaded, SizeIs(1));
  EXPECT_THAT(loaded[0].section.summary, HasSubstr("Not applicable"));
}

TEST_F(AnalysesTest, ShortWindowsTakeAllQueries) {
  planted.lengths = {9, 5};
  planted.spikes.pop_back();  // prompt 1 has no token 7 any more
  std::erase_if(planted.spikes, [](const Planted::Spike& spike) { return spike.token == 7; });
  const Json json = run("sinks");
  EXPECT_EQ(json["mass_from_query"], 1);
  EXPECT_NEAR(json["layers"][3]["mass"].get<double>(), 0.3, 1e-6);
  EXPECT_NEAR(json["mean_alpha"].get<double>(), (5 * 0.6 + 0.3) / 12, 1e-6);
}

TEST_F(AnalysesTest, OneTokenAndTwoTokens) {
  planted.lengths = {1, 2};
  std::erase_if(planted.spikes, [](const Planted::Spike& spike) { return spike.token == 7; });
  const Json sinks = run("sinks"), spikes = run("spikes");
  EXPECT_EQ(sinks["windows_too_short"], 1);
  EXPECT_NEAR(sinks["layers"][0]["heads"][0]["alpha"].get<double>(), 0.5, 1e-6);  // of the second prompt alone
  EXPECT_TRUE(sinks["layers"][0]["mass_se"].is_null());
  for (const Json& spike : spikes["spikes"]) EXPECT_EQ(spike["prompt"], 1);
  EXPECT_EQ(spikes["layers"][3]["published_rule_windows"], 2);
  for (const AnalysisResult& result : load_results(folder.path())) {
    for (const Figure& figure : result.section.figures) check_figure(figure);
  }
}

TEST_F(AnalysesTest, OnlyOneToken) {
  planted.lengths = {1};
  planted.spikes = {{0, 0, 5, {{3, 1500}}}};
  const Json sinks = run("sinks"), spikes = run("spikes");
  EXPECT_TRUE(sinks["sink_rate"].is_null());
  EXPECT_TRUE(sinks["mean_alpha"].is_null());
  EXPECT_TRUE(sinks["layers"][3]["mass"].is_null());
  EXPECT_THAT(spikes["spikes"], IsEmpty());
  const auto loaded = load_results(folder.path());
  EXPECT_THAT(loaded[0].section.summary, HasSubstr("no others to compare it with"));
  EXPECT_THAT(loaded[1].section.summary, HasSubstr("at least two"));
}

TEST_F(AnalysesTest, ValuesThatAreNotFiniteAreNamed) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    planted.change = [bad](int64_t layer, std::vector<float>& state) {
      if (layer == 3) state[(20 + 4) * Planted::kDims + 6] = bad;
    };
    planted.with_writers = false;
    for (const std::string name : {"spikes", "sinks"}) {
      try {
        run(name);
        FAIL() << name;
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("blocks.2.resid_post"));
        EXPECT_THAT(error.what(), HasSubstr("layer 3"));
        EXPECT_THAT(error.what(), HasSubstr("prompt 1, token 4, dimension 6"));
      }
      EXPECT_FALSE(std::filesystem::exists(folder / ("results/" + name + ".json")));
      EXPECT_FALSE(std::filesystem::exists(folder / ("results/" + name + ".h5")));
    }
  }
}

TEST_F(AnalysesTest, AFailureKeepsTheOlderResult) {
  run("spikes");
  const std::string before = read_file(folder / "results/spikes.json");
  planted.change = [](int64_t, std::vector<float>& state) { state[0] = std::numeric_limits<float>::quiet_NaN(); };
  planted.with_writers = false;
  EXPECT_THROW(run("spikes"), Error);
  EXPECT_EQ(read_file(folder / "results/spikes.json"), before);
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "results"))
    files.push_back(entry.path().filename());
  EXPECT_THAT(files, ::testing::UnorderedElementsAre("spikes.json", "spikes.h5"));
}

TEST_F(AnalysesTest, SectionsHaveWholeFigures) {
  run("spikes");
  run("sinks");
  const auto loaded = load_results(folder.path());
  ASSERT_THAT(loaded, SizeIs(2));
  std::set<std::string> ids;
  for (const AnalysisResult& result : loaded) {
    for (const Figure& figure : result.section.figures) {
      EXPECT_NO_THROW(check_figure(figure));
      EXPECT_TRUE(ids.insert(figure.id).second) << figure.id;
      EXPECT_FALSE(figure.caption.empty());
      EXPECT_THAT(figure.caption, HasSubstr("planted"));
    }
    for (const Table& table : result.section.tables) {
      EXPECT_TRUE(ids.insert(table.id).second) << table.id;
      for (const auto& row : table.rows) EXPECT_THAT(row, SizeIs(table.columns.size()));
    }
  }
  EXPECT_THAT(ids, ::testing::IsSupersetOf({"spikes-surface-before", "spikes-surface-first", "spikes-surface-last",
                                            "spikes-magnitude", "spikes-writers", "spikes-table", "sinks-heads",
                                            "sinks-spikes", "sinks-tokens-1", "sinks-bias", "sinks-table"}));
  const Section& spikes = loaded[0].section;
  EXPECT_THAT(spikes.summary,
              HasSubstr("ayers 3 to 4: 2 first tokens and 1 inside the text at about 1,600 in dimension 5"));
  EXPECT_THAT(spikes.summary, HasSubstr("written by blocks 1 and 2 and cancelled by block 4"));
  // The surface shows the spike at its place.
  const auto found = std::find_if(spikes.figures.begin(), spikes.figures.end(),
                                  [](const Figure& f) { return f.id == "spikes-surface-first"; });
  const Surface& surface = std::get<Surface>(found->content);
  EXPECT_EQ(surface.z[5], 1500.0);
  EXPECT_THAT(surface.hover[5], HasSubstr("token 0 'w0'\ndimension 5: 1,500"));
  EXPECT_THAT(spikes.tables[0].rows,
              ElementsAre(ElementsAre("'w0'", "0", "5", "1,600", ::testing::_, "2", "5", "2 of 2"),
                          ElementsAre("' the'", "7", "5", "1,600", ::testing::_, "2", "5", "1 of 2"),
                          ElementsAre("'w0'", "0", "9, 11", "-4,000", ::testing::_, "6", "-", "2 of 2")));
  EXPECT_THAT(loaded[1].section.summary, HasSubstr("41.7 % of the 12 heads are sinks"));
}

TEST_F(AnalysesTest, ResultsOfAnotherDumpAreRefused) {
  run("spikes");
  planted.lengths = {12, 12};
  planted.write(folder.path());
  try {
    load_results(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("spikes.json"));
    EXPECT_THAT(error.what(), HasSubstr("spikescope analyze"));
  }
}

TEST_F(AnalysesTest, DamagedResultsAreRefused) {
  run("spikes");
  const std::filesystem::path file = folder / "results/spikes.json";
  Json json = read_json_file(file);
  json["plateaus"] = "none";
  write_file(file, json.dump());
  EXPECT_THROW(load_results(folder.path()), Error);
  write_file(file, "{");
  EXPECT_THROW(load_results(folder.path()), Error);
}

TEST_F(AnalysesTest, NoResultsIsNoError) {
  planted.write(folder.path());
  EXPECT_THAT(load_results(folder.path()), IsEmpty());
}

TEST(Analyses, AreFoundByName) {
  for (const Analysis& analysis : analyses()) EXPECT_EQ(find_analysis(analysis.name), &analysis);
  EXPECT_EQ(find_analysis("spike"), nullptr);
}

TEST(Analyses, NeedsOfSeveralAreJoined) {
  const Analysis* chosen[] = {find_analysis("spikes"), find_analysis("sinks")};
  const Needs needs = combined_needs(chosen);
  EXPECT_THAT(needs.points, ElementsAre("blocks.0.resid_pre", "blocks.*.resid_post", "blocks.*.attn_out"));
  EXPECT_TRUE(needs.sinks);
  EXPECT_TRUE(needs.writers);
}

}  // namespace
}  // namespace spikescope
