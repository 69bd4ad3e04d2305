// A checkpoint of another format in Hugging Face's words: config.json and the names of its tensors.
#pragma once

#include <string>

#include "families/checkpoint.h"

namespace spikescope {

/// config.json of a model of one of the families that are told by their sizes alone (llama, qwen2, qwen3, with plain
/// RoPE). Throws Error, with the remedy, for others.
Json huggingface_config(const Architecture& architecture);

/// What the family calls the weight in Hugging Face checkpoints. Throws Error where it lies in a tensor with others
/// there.
std::string huggingface_name(const Architecture& architecture, const WeightKey& key);

}  // namespace spikescope
