#include "model/embedding.h"

#include "model/norm.h"
#include "model/rows.h"

namespace spikescope {

std::vector<float> embed(const ModelWeights& weights, const TokenBatch& batch, const Hooks& hooks) {
  const Architecture& a = weights.architecture();
  const int64_t n = static_cast<int64_t>(batch.ids.size()), d = a.d_model;
  std::vector<float> residual(static_cast<size_t>(n * d));
  for (int64_t i = 0; i < n; ++i)
    weights.read_rows({Role::token_embedding}, batch.ids[static_cast<size_t>(i)], 1, residual.data() + i * d);
  hooks.call({{Point::embed, -1}, 0, {residual.data(), {n, d}, d}});

  if (a.embedding_scale != 1.0)
    for (float& value : residual) value *= static_cast<float>(a.embedding_scale);
  if (a.token_types > 0) {
    std::vector<float> type(static_cast<size_t>(d));
    weights.read_rows({Role::type_embedding}, 0, 1, type.data());
    add_to_rows(type.data(), {residual.data(), n, d, d});
  }
  if (a.learned_positions > 0) {
    std::vector<float> row(static_cast<size_t>(d));
    for (size_t prompt = 0; prompt + 1 < batch.offsets.size(); ++prompt)
      for (int64_t token = batch.offsets[prompt]; token < batch.offsets[prompt + 1]; ++token) {
        weights.read_rows({Role::position_embedding}, a.position_offset + token - batch.offsets[prompt], 1, row.data());
        add(row.data(), d, residual.data() + token * d);
      }
  }
  if (a.embedding_norm) {
    Norm norm;
    norm.load(weights, -1, Role::embedding_norm, Role::embedding_norm_bias);
    norm(residual.data(), n, d, residual.data(), d);
  }
  return residual;
}

}  // namespace spikescope
