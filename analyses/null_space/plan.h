// Which matrices of which blocks are decomposed, and how long that takes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "analyses/layer_choice.h"
#include "analyses/null_space/matrices.h"
#include "analyses/spikes/tracks.h"

namespace spikescope {

/// Multiplications of the decomposition of a matrix [rows, columns], up to a constant: longer side x shorter side
/// squared, and what projecting `vectors` on its directions adds.
double decomposition_work(int64_t rows, int64_t columns, int64_t vectors);

/// A matrix with all heads stacked, or its rows of one KV head: of W_Q, those of the query heads that share it.
struct Part {
  size_t matrix = 0;      ///< index into the matrices
  int64_t kv_head = -1;   ///< -1: all
  int64_t first_row = 0, rows = 0;
  double work = 0.0;
};

/// What is decomposed: every KV head in every block, and stacked matrices in `stacked` blocks.
struct SpectrumPlan {
  std::vector<Matrix> matrices;
  std::vector<std::vector<int64_t>> stacked;  ///< [matrices]: blocks, ascending
  int64_t vectors = 0;                        ///< that are projected

  /// Parts of a block, those with the most work first.
  std::vector<Part> parts(int64_t block) const;
  /// Of all blocks, one after the other, the parts of each shared out between `threads`: the work of the thread that is
  /// last.
  double work(int64_t blocks, int threads) const;
};

/// A stacked matrix is decomposed in all blocks where that is at most so much work (a width of 2,048 in 32 blocks), else
/// in as many as that allows, and in one at least.
inline constexpr double kStackedWork = 3e11;

/// `chosen`: the blocks of all stacked matrices (those the model has); nothing: as kStackedWork allows, by interest().
SpectrumPlan plan_spectra(std::vector<Matrix> matrices, int64_t blocks, int64_t vectors,
                          std::span<const Plateau> plateaus, const LayerChoice& chosen);

/// Blocks by how much their stacked matrices tell: the middle of each plateau, the last and the first block, then those
/// about birth and death of each plateau, then all others spread evenly. [blocks], each once.
std::vector<int64_t> by_interest(int64_t blocks, std::span<const Plateau> plateaus);

/// Seconds that decomposition_work() of 1 takes, with all threads at work: measured on matrices of random values with
/// sides of `side`, as large as gives a good law in a blink (0.2 s).
double seconds_of_work(int64_t side);

}  // namespace spikescope
