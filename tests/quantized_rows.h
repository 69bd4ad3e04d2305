// Made-up results of `spikescope quantize` (docs/results.md, quantize.json).
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "io/json.h"

namespace spikescope::testing {

/// A row of a model of two blocks; `largest` stands after the second.
inline Json quantized_row(const std::string& method, const Json& bits_activation, const Json& bits_weight, double dnll,
                          double largest = 1000.0) {
  return {{"method", method},
          {"bits_activation", bits_activation},
          {"bits_weight", bits_weight},
          {"perplexity", 29.1 * std::exp(dnll)},
          {"dnll", dnll},
          {"dnll_se", 0.01},
          {"largest_h", largest},
          {"new_spikes", 0},
          {"seconds", 12.5},
          {"bytes", 3 << 20},
          {"matrix_bytes", 2 << 20},
          {"blocks",
           {{{"block", 0}, {"largest_h", 1.0}, {"new_spikes", 0}},
            {{"block", 1}, {"largest_h", largest}, {"new_spikes", 0}}}}};
}

/// The whole, the model as it is before the rows given.
inline Json quantized_rows(const std::vector<Json>& rows) {
  Json all = Json::array({quantized_row("fp", nullptr, nullptr, 0.0)});
  for (const Json& row : rows) all.push_back(row);
  return {{"model", "made-up"}, {"text", "text.txt"}, {"windows", 10},
          {"length", 512},      {"tokens", 5120},     {"rows", all}};
}

/// Answers to two tasks, with that average.
inline void add_answers(Json& row, double average) {
  const auto task = [](double acc) {
    return Json{{"acc", acc}, {"acc_se", 0.03}, {"acc_norm", nullptr}, {"acc_norm_se", nullptr}, {"rows", 200}};
  };
  row["zero_shot"] = {{"average", average},
                      {"average_se", 0.02},
                      {"tasks", {{"arc_easy", task(average - 0.1)}, {"piqa", task(average + 0.1)}}}};
}

}  // namespace spikescope::testing
