// Functions called at hook points during a forward pass: observers read, interventions write. And what a pass is told
// of its attention beside them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor_view.h"
#include "hooks/attention_bias.h"
#include "hooks/hook_point.h"

namespace spikescope {

/// The values at a hook point, for some of the rows. The pass goes by groups of whole prompts and by slices of rows, so
/// a point is reported in several pieces a layer; pieces of one point come in order and do not overlap.
struct Activation {
  HookPoint point;
  /// Index of the view's first row among the tokens of all prompts. For scores and pattern: the prompt's number.
  int64_t first_row = 0;
  /// Shape as in PointShape with the rows of this piece first; [heads, T, T] for scores and pattern. Valid during the
  /// call.
  TensorView values;
};

/// Called on the thread that runs the pass, in the order of the points.
using Observer = std::function<void(const Activation&)>;
/// May change the values in place; what comes after computes with the changed ones. Interventions run before observers.
using Intervention = std::function<void(const Activation&)>;

class Hooks {
 public:
  /// `glob` is a hook point's name or a pattern of names.
  void observe(std::string glob, Observer observer);
  void intervene(std::string glob, Intervention intervention);

  /// Gives attention of block `layer` keys and values beyond its own, and takes some away. Throws Error where the block
  /// has a source already.
  void bias_attention(int layer, AttentionBiasSource source);

  bool empty() const { return entries_.empty() && biases_.empty(); }
  /// Whether any function is attached to the point.
  bool wants(const HookPoint& point) const;
  /// Calls what is attached, interventions first.
  void call(const Activation& activation) const;
  /// What the block's source says now; empty without one.
  AttentionBias attention_bias(int layer) const;
  /// Whether any block has a source.
  bool biases_attention() const { return !biases_.empty(); }

 private:
  struct Entry {
    std::string glob;
    std::function<void(const Activation&)> function;
    bool writes;
  };
  std::vector<Entry> entries_;
  std::map<int, AttentionBiasSource> biases_;  // by block
};

}  // namespace spikescope
