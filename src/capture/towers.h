// A capture of a model with two towers: each tower's dump is one of its own, OUT/text and OUT/vision, and
// OUT/dump/index.h5 shows them as one file.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "families/checkpoint.h"

namespace spikescope {

/// Of the hook points asked for, those of one tower: "vision.blocks.*" means that one, "blocks.*" both.
std::vector<std::string> points_of_tower(std::span<const std::string> names, const std::string& tower);

/// Throws Error when OUT/dump holds something else than such an index; before anything is computed.
void check_joined_dump(const std::filesystem::path& out);
/// Writes OUT/dump/index.h5 over the dumps in OUT/<tower>/dump. `text`, where both towers were run with the point
/// `embeds`, is the text tower's checkpoint: the comparison of all texts with all images goes into the index, too.
/// Throws Error when OUT/dump holds something else.
void join_towers(const std::filesystem::path& out, std::span<const std::string> towers, const Checkpoint* text);

}  // namespace spikescope
