// What verdict and figures read from null_space.json.
#pragma once

#include <string>

#include "analyses/layer_groups.h"
#include "io/json.h"

namespace spikescope {

/// The matrix that makes values: "W_V", or "W_UV" with latent attention.
std::string value_matrix(const Json& results);
/// Whether the matrix with all heads stacked was decomposed in every block.
bool stacked_everywhere(const Json& results, const std::string& matrix);
/// "k90", "template", "semantic" (or "_se" of these) or "random" of one layer: of the stacked matrix, or, where not every block has that,
/// the mean over the KV heads, so that layers compare. NaN where undefined.
double matrix_value(const Json& results, const Json& layer, const std::string& matrix, const char* key);
/// Its mean over the layers of a group.
double matrix_mean(const Json& results, const LayerGroup& group, const std::string& matrix, const char* key);

}  // namespace spikescope
