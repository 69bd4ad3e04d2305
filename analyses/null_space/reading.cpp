#include "analyses/null_space/reading.h"

#include <cmath>
#include <limits>

#include "analyses/labels.h"
#include "stats/moments.h"

namespace spikescope {

std::string value_matrix(const Json& results) { return results.at("matrices").back().at("name"); }

bool stacked_everywhere(const Json& results, const std::string& matrix) {
  return results.at("stacked_layers").at(matrix).size() == results.at("layers").size();
}

namespace {

/// NaN for null, and where there is no such key: random vectors have no standard error.
double number_of(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found == row.end() ? std::numeric_limits<double>::quiet_NaN() : number_or_nan(*found);
}

}  // namespace

double matrix_value(const Json& results, const Json& layer, const std::string& matrix, const char* key) {
  const Json& row = layer.at("matrices").at(matrix);
  if (stacked_everywhere(results, matrix) || row.at("kv_heads").empty()) return number_of(row, key);
  Moments heads;
  for (const Json& head : row.at("kv_heads"))
    if (const double value = number_of(head, key); !std::isnan(value)) heads.add(value);
  return heads.mean();
}

double matrix_mean(const Json& results, const LayerGroup& group, const std::string& matrix, const char* key) {
  return group_mean(results, group, [&](const Json& layer) { return matrix_value(results, layer, matrix, key); });
}

}  // namespace spikescope
