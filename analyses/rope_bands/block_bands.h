// The RoPE bands of one block: the mean query of ordinary tokens against the template's key and the mean ordinary key.
#pragma once

#include <span>
#include <vector>

#include "analyses/rope_bands/bands.h"
#include "analyses/templates.h"
#include "analyses/token_vectors.h"
#include "model/weights.h"

namespace spikescope {

/// Of one query head.
struct HeadBands {
  KeyBands of_template;  ///< against k*
  KeyBands of_semantic;  ///< against the mean key of ordinary tokens
  double length = 0.0;   ///< ||mean key|| / ||k*||
};

/// Of one KV head: shares of ||k||^2. NaN where undefined.
struct KeyEnergies {
  std::vector<double> of_template, of_semantic;  ///< [pairs]: of the energy that turns; of all ordinary keys together
  double still_template = 0.0, still_semantic = 0.0;  ///< of all energy, in channels that do not turn
};

struct BlockBands {
  std::vector<HeadBands> heads;
  std::vector<KeyEnergies> kv_heads;
};

struct BlockBandsWithError {
  BlockBands all;
  /// The same without one group of windows each, for the jackknife; empty where only one group has ordinary tokens.
  std::vector<BlockBands> left_out;
};

/// Measures a block whose weights are linear (no latent attention) with queries and keys as positions turn them: with
/// bias, limit and QK-norm. `x_star` finite; one without left_out stays the same in all groups. Products are those of the forward pass, sums are in double. Throws
/// Error as ModelWeights::read does.
BlockBandsWithError measure_block_bands(const ModelWeights& weights, int layer, const Turning& turning,
                                        const TokenVectors& ordinary, const TemplateVector& x_star);

}  // namespace spikescope
