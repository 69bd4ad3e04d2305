// The matrices of a block whose singular directions are looked at, whole and by KV head.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/linear.h"
#include "model/norm.h"
#include "model/weights.h"

namespace spikescope {

/// W_Q, W_K, W_V. With latent attention (arXiv 2405.04434, whose names these are) the linear maps that there are: of
/// what the block reads W_DQ (or W_Q, without a low rank of queries), W_DKV and W_KR; of the normed latent W_UK and W_UV.
struct Matrix {
  std::string name;
  bool of_latent = false;         ///< its input is the normed latent of keys and values, not what the block reads
  int64_t rows = 0, columns = 0;  ///< columns: size of the input
  int64_t kv_heads = 0;           ///< how many equal runs of rows are looked at alone; 0: none

  int64_t rank() const { return std::min(rows, columns); }
};
/// The same in all blocks.
std::vector<Matrix> matrices_of(const ModelWeights& weights);

/// The matrices of a block, [rows, columns] each, in the order of matrices_of(). Throws Error as ModelWeights::read
/// does.
std::vector<std::vector<float>> read_matrices(const ModelWeights& weights, int layer);

/// norm(W_DKV x) of a block with latent attention.
class LatentReader {
 public:
  /// Throws Error as ModelWeights::read does.
  LatentReader(const ModelWeights& weights, int layer);
  /// Of rows [n, d]: [n, kv_rank].
  std::vector<float> operator()(const std::vector<float>& rows) const;

 private:
  Linear kv_a_;
  Norm norm_;
};

}  // namespace spikescope
