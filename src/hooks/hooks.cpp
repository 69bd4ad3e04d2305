#include "hooks/hooks.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"

namespace spikescope {

void Hooks::observe(std::string glob, Observer observer) {
  entries_.push_back({std::move(glob), std::move(observer), false});
}

void Hooks::intervene(std::string glob, Intervention intervention) {
  entries_.push_back({std::move(glob), std::move(intervention), true});
}

void Hooks::bias_attention(int layer, AttentionBiasSource source) {
  if (!biases_.emplace(layer, std::move(source)).second)
    fail("attention of block {} has keys and values of somebody else's already", layer);
}

AttentionBias Hooks::attention_bias(int layer) const {
  const auto found = biases_.find(layer);
  return found == biases_.end() ? AttentionBias() : found->second();
}

bool Hooks::wants(const HookPoint& point) const {
  if (entries_.empty()) return false;
  const std::string name = point.name();
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& entry) { return glob_matches(entry.glob, name); });
}

void Hooks::call(const Activation& activation) const {
  const std::string name = activation.point.name();
  for (const bool writes : {true, false})
    for (const Entry& entry : entries_)
      if (entry.writes == writes && glob_matches(entry.glob, name)) entry.function(activation);
}

}  // namespace spikescope
