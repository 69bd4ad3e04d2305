// What attention and MLP of each block read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "analyses/analysis.h"
#include "analyses/token_vectors.h"

namespace spikescope {

/// Taken from the dump where it has these points. Else they are made, by the pass's own steps and the checkpoint's
/// norms, of the residual states and of what attention gave: to the bit what the pass had, if the dump is float32. So a
/// dump can do without them, which would double it.
class BlockInputs {
 public:
  explicit BlockInputs(const AnalysisInput& input);

  /// Why there is no attention() of some block; empty: there is of all.
  const std::string& missing() const { return missing_; }
  /// blocks.l.ln1.out, or, in models without a norm in front of attention (OLMo 2, BERT), the residual stream r_l
  /// itself.
  VectorSource attention(int64_t block) const;
  /// blocks.l.ln2.out; blocks.l.ln1.out in BERT, whose norm after attention feeds the MLP. Nothing where the MLP reads no
  /// norm of its own, and where the dump has neither it nor what it is made of.
  std::optional<VectorSource> mlp(int64_t block) const;

 private:
  HookPoint attention_point(int64_t block) const;
  HookPoint mlp_point(int64_t block) const;
  const DumpReader& dump_;
  std::string places_;  ///< of norms, as the dump's config says: "before", "branch", "sandwich" or "after"
  const ModelWeights* weights_ = nullptr;  ///< null where they are not needed, or not to be had
  std::string missing_;
};

/// Why the checkpoint's weights cannot be used for this dump; empty when they can.
std::string why_no_weights(const AnalysisInput& input);

}  // namespace spikescope
