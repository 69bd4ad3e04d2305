#include "analyses/null_space/reading.h"

#include <cmath>

#include "analyses/labels.h"
#include "stats/moments.h"

namespace spikescope {

std::string value_matrix(const Json& results) { return results.at("matrices").back().at("name"); }

bool stacked_everywhere(const Json& results, const std::string& matrix) {
  return results.at("stacked_layers").at(matrix).size() == results.at("layers").size();
}

double matrix_value(const Json& results, const Json& layer, const std::string& matrix, const char* key) {
  const Json& row = layer.at("matrices").at(matrix);
  if (stacked_everywhere(results, matrix) || row.at("kv_heads").empty()) return number_or_nan(row.at(key));
  Moments heads;
  for (const Json& head : row.at("kv_heads"))
    if (head.at(key).is_number()) heads.add(head.at(key));
  return heads.mean();
}

double matrix_mean(const Json& results, const LayerGroup& group, const std::string& matrix, const char* key) {
  return group_mean(results, group, [&](const Json& layer) { return matrix_value(results, layer, matrix, key); });
}

}  // namespace spikescope
