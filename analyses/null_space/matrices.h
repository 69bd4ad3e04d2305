// W_Q, W_K and W_V of a block, whole and by KV head.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "model/weights.h"

namespace spikescope {

struct Matrix {
  const char* name;
  Role role;
};
inline constexpr std::array<Matrix, 3> kMatrices = {{{"W_Q", Role::w_q}, {"W_K", Role::w_k}, {"W_V", Role::w_v}}};

/// A matrix with all heads stacked, or its rows of one KV head: of W_Q, those of the query heads that share it.
struct Part {
  size_t matrix;         ///< index into kMatrices
  int64_t kv_head = -1;  ///< -1: all
  int64_t rows = 0;
  std::vector<float> values;  ///< [rows, d]
};

/// All parts of a block without latent attention, by matrix, the whole before its heads. Throws Error as
/// ModelWeights::read does.
std::vector<Part> block_parts(const ModelWeights& weights, int layer);

}  // namespace spikescope
