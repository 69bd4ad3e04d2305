#include "analyses/null_space/matrices.h"

#include <utility>

namespace spikescope {

std::vector<Part> block_parts(const ModelWeights& weights, int layer) {
  const int64_t kv_heads = weights.architecture().n_kv_heads;
  std::vector<Part> parts;
  for (size_t matrix = 0; matrix < kMatrices.size(); ++matrix) {
    Weight weight = weights.read(kMatrices[matrix].role, layer);
    const int64_t rows = weight.rows / kv_heads, size = rows * weight.columns;
    std::vector<Part> heads;
    for (int64_t kv = 0; kv < kv_heads; ++kv)
      heads.push_back({matrix, kv, rows, {weight.values.begin() + kv * size, weight.values.begin() + (kv + 1) * size}});
    parts.push_back({matrix, -1, weight.rows, std::move(weight.values)});
    parts.insert(parts.end(), std::make_move_iterator(heads.begin()), std::make_move_iterator(heads.end()));
  }
  return parts;
}

}  // namespace spikescope
