// Templates as a file: safetensors, or HDF5 where the name ends in .h5. docs/template-format.md specifies both.
#pragma once

#include <filesystem>

#include "io/json.h"
#include "quant/templates.h"

namespace spikescope {

/// Writes the file, whole or not at all. Throws Error naming it.
void write_templates(const SpikeTemplates& templates, const std::filesystem::path& path);
/// Reads what write_templates wrote, trusting nothing. Throws Error naming file and what is wrong with it: another
/// format or version, blocks, shapes or values that cannot be.
SpikeTemplates read_templates(const std::filesystem::path& path);

/// All but the vectors and ranges, which are tensors: the document that the file holds.
Json to_json(const SpikeTemplates& templates);
/// The ranges: {"ordinary": {"attn_in": [{"block": 0, "absmax": ..., ...}, ...], ...}, ...}.
Json ranges_json(const SpikeTemplates& templates);

/// Throws Error, naming both, where the templates are not of these weights.
void check_templates_of(const SpikeTemplates& templates, const std::filesystem::path& path,
                        const std::string& model_sha256, const Architecture& architecture);

}  // namespace spikescope
