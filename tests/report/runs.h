// Results of made-up runs for tests.
#pragma once

#include <cmath>
#include <filesystem>
#include <string>

#include "io/json.h"
#include "io/output_file.h"

namespace spikescope::testing {

/// spikes.json of a model of four blocks whose largest |h| is `largest`, at r_2: a plateau r_1 to r_3 at the first
/// token of both prompts and at 'the'.
inline Json sample_spikes(const std::string& model, double largest) {
  Json json = {{"analysis", "spikes"}, {"model", model}, {"windows", 2}, {"tokens", 20}, {"applicable", true}};
  json["layers"] = Json::array();
  for (int layer = 0; layer <= 4; ++layer) {
    const double max = layer == 2 ? largest : layer == 0 ? 1.0 : largest / 2;
    const auto entry = [](int prompt, int token, int dim, double value) {
      return Json{{"prompt", prompt}, {"token", token}, {"dim", dim}, {"value", value}};
    };
    json["layers"].push_back(
        {{"layer", layer},
         {"median", layer == 4 ? Json(nullptr) : Json(0.5)},
         {"max", max},
         {"top", {entry(1, 0, 7, -max), entry(0, 0, 7, -max * 0.99), entry(1, 0, 3, 8)}},
         {"prompt_top", {entry(1, 0, 7, -max), entry(1, 0, 3, 8), entry(1, 5, 7, 4), entry(1, 6, 7, 3)}},
         {"published_rule_flags", 0}});
  }
  const auto spike = [](int prompt, int token, const std::string& string, int id) {
    return Json{{"prompt", prompt}, {"token", token}, {"string", string}, {"id", id},
                {"dims", {7}},      {"value", -9.0},  {"birth", 1},       {"death", nullptr}};
  };
  json["spikes"] = {spike(0, 0, "Summer", 5), spike(1, 0, "Winter", 6), spike(0, 4, "Ġthe", 8),
                    spike(1, 3, "", 9),       spike(1, 7, "Ġthe", 8),   spike(0, 0, "Summer", 5)};
  json["plateaus"] = {{{"first", 1}, {"last", 1}, {"dims", {3}}, {"tokens", 1}, {"value", 5.0}},
                      {{"first", 2}, {"last", 3}, {"dims", {7, 3}}, {"tokens", 4}, {"value", -largest}}};
  return json;
}

/// sinks.json: of the two heads of each of the four blocks, one is a sink in block 1 and both in block 2.
inline Json sample_sinks(const std::string& model) {
  Json json = {{"analysis", "sinks"}, {"model", model},     {"windows", 2},     {"tokens", 20},
               {"applicable", true},  {"sink_rate", 0.375}, {"mean_alpha", 0.3}};
  const double alphas[4][2] = {{0.1, 0.2}, {0.1, 0.5}, {0.6, 0.7}, {0.1, 0.29}};
  json["layers"] = Json::array();
  for (int block = 0; block < 4; ++block)
    json["layers"].push_back(
        {{"block", block}, {"heads", {{{"alpha", alphas[block][0]}}, {{"alpha", alphas[block][1]}}}}});
  return json;
}

/// convergence.json: undefined at r_0, cosine 0.9 and 0.98 at r_1 to r_3, 0.5 and 0.4 at r_4.
inline Json sample_convergence(const std::string& model) {
  Json json = {{"analysis", "convergence"}, {"model", model}, {"applicable", true}};
  const Json cosines[5] = {nullptr, 0.9, 0.98, 0.98, 0.5};
  json["layers"] = Json::array();
  for (int layer = 0; layer <= 4; ++layer)
    json["layers"].push_back(
        {{"layer", layer}, {"spike", {{"cosine", cosines[layer]}}}, {"ordinary", {{"cosine", 0.4}}}});
  return json;
}

inline void write_results(const std::filesystem::path& out, const std::string& analysis, const Json& json) {
  write_file(out / "results" / (analysis + ".json"), json.dump());
}

inline void write_sample_run(const std::filesystem::path& out, const std::string& model, double largest) {
  write_results(out, "spikes", sample_spikes(model, largest));
  write_results(out, "sinks", sample_sinks(model));
  write_results(out, "convergence", sample_convergence(model));
}

}  // namespace spikescope::testing
