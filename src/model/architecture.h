// What a transformer is, as data. A family fills this in from its config; the forward pass follows it without knowing
// the family's name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hooks/hook_point.h"

namespace spikescope {

/// Rotary position embedding (arXiv 2104.09864): pair i of a head turns by position * frequency[i].
struct Rope {
  double theta = 10000.0;
  int64_t dims = 0;  ///< rotated channels of a head (head_dim where all are)
  /// Angular frequency of each of the dims/2 pairs, in radians a position, scaling (linear, llama3, YaRN) included.
  std::vector<double> frequencies;
  double attention_factor = 1.0;  ///< YaRN's factor on cos and sin
  std::string scaling = "none";   ///< for people: "none", "linear x4", "llama3 x8", "yarn x4"
};

enum class Activator : uint8_t { silu, gelu, gelu_tanh, relu };

/// Everything the forward pass needs to know besides the weights.
struct Architecture {
  std::string family;  ///< "llama"
  int64_t n_layers = 0;
  int64_t d_model = 0;  ///< d
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;  ///< divides n_heads
  int64_t head_dim = 0;
  int64_t mlp_width = 0;
  int64_t vocabulary = 0;
  int64_t context_length = 0;    ///< longest prompt the checkpoint was made for, in tokens
  double norm_eps = 1e-5;        ///< added to the mean square in RMSNorm
  double attention_scale = 0.0;  ///< on q.k, before softmax
  Activator activation = Activator::silu;
  bool attention_bias = false;  ///< on q, k, v
  bool attention_out_bias = false;
  bool mlp_bias = false;
  bool tied_embeddings = false;  ///< logits use the token embedding
  Rope rope;
};

/// Throws Error, naming `what`, for sizes that no model has or that contradict each other (heads not dividing, a width
/// of 0).
void validate(const Architecture& architecture, const std::string& what);
/// Parameters of the model, from its sizes.
int64_t parameter_count(const Architecture& architecture);

/// Whether a pass of this architecture reaches the point at all.
bool has_point(const Architecture& architecture, const HookPoint& point);
/// All points of the architecture, in the order of the pass.
std::vector<HookPoint> hook_points(const Architecture& architecture);
/// Shape of one row of the point: [d], [heads, head_dim], ...; for scores and pattern [heads] (T and T follow the
/// prompt).
std::vector<int64_t> row_shape(const Architecture& architecture, const HookPoint& point);

}  // namespace spikescope
