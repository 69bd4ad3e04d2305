#include <algorithm>

#include "families/family.h"

namespace spikescope {

std::span<const Family> families() {
  static const std::vector<Family> all = {
      llama_family(),       mistral_family(),     mixtral_family(),       qwen2_family(),       qwen3_family(),
      gemma_family(),       gemma2_family(),      gemma3_family(),        phi3_family(),        smollm3_family(),
      olmo2_family(),       stablelm_family(),    deepseek_v2_family(),   deepseek_v3_family(), gpt2_family(),
      gpt_neox_family(),    opt_family(),         bloom_family(),         mpt_family(),         falcon_family(),
      bert_family(),        vit_family(),         deit_family(),          dinov2_family(),      clip_text_family(),
      clip_vision_family(), siglip_text_family(), siglip_vision_family(),
  };
  return all;
}

const Family* find_family(std::string_view name) {
  for (const Family& family : families())
    if (family.name == name) return &family;
  return nullptr;
}

RoleNames with(RoleNames names, const RoleNames& more) {
  for (const RoleName& entry : more) {
    const auto same = std::find_if(names.begin(), names.end(), [&](const RoleName& n) { return n.role == entry.role; });
    if (same == names.end())
      names.push_back(entry);
    else
      *same = entry;
  }
  return names;
}

}  // namespace spikescope
