#include "model/embedding.h"

#include <algorithm>

#include "model/norm.h"
#include "model/patch_embedding.h"
#include "model/prompt_layout.h"
#include "model/rows.h"

namespace spikescope {

namespace {

std::vector<float> token_embeddings(const ModelWeights& weights, const std::vector<int64_t>& ids) {
  const int64_t d = weights.architecture().d_model;
  std::vector<float> rows(ids.size() * static_cast<size_t>(d));
  for (size_t i = 0; i < ids.size(); ++i)
    weights.read_rows({Role::token_embedding}, ids[i], 1, rows.data() + static_cast<int64_t>(i) * d);
  return rows;
}

/// Adds the learned positions, which are few: read once.
void add_positions(const ModelWeights& weights, const TokenBatch& batch, std::vector<float>& residual) {
  const Architecture& a = weights.architecture();
  const int64_t d = a.d_model;
  const PromptLayout prompts(batch.offsets, batch.parents);
  const int64_t longest = prompts.longest();
  std::vector<float> positions(static_cast<size_t>(longest * d));
  if (a.patches)
    positions = patch_positions(weights, batch.pixels.side);
  else
    weights.read_rows({Role::position_embedding}, a.position_offset, longest, positions.data());
  for (int64_t p = 0; p < prompts.prompts(); ++p)
    add(positions.data() + prompts.base(p) * d, prompts.rows(p) * d, residual.data() + prompts.offsets[p] * d);
}

}  // namespace

std::vector<float> embed(const ModelWeights& weights, const TokenBatch& batch, const Hooks& hooks) {
  const Architecture& a = weights.architecture();
  const int64_t n = static_cast<int64_t>(batch.ids.size()), d = a.d_model;
  std::vector<float> residual = a.patches ? patch_tokens(weights, batch.pixels) : token_embeddings(weights, batch.ids);
  hooks.call({{Point::embed, -1}, 0, {residual.data(), {n, d}, d}});

  if (a.embedding_scale != 1.0)
    for (float& value : residual) value *= static_cast<float>(a.embedding_scale);
  if (a.token_types > 0) {
    std::vector<float> type(static_cast<size_t>(d));
    weights.read_rows({Role::type_embedding}, 0, 1, type.data());
    add_to_rows(type.data(), {residual.data(), n, d, d});
  }
  if (a.learned_positions > 0) add_positions(weights, batch, residual);
  if (a.embedding_norm) {
    Norm norm;
    norm.load(weights, -1, Role::embedding_norm, Role::embedding_norm_bias);
    norm(residual.data(), n, d, residual.data(), d);
  }
  return residual;
}

}  // namespace spikescope
