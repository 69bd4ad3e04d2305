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
  int64_t first = 0;         ///< first rotated channel of a head
  int64_t dims = 0;          ///< rotated channels of a head (head_dim where all are)
  bool interleaved = false;  ///< pair i is channels (2i, 2i + 1); else (i, i + dims/2)
  /// Angular frequency of each of the dims/2 pairs, in radians a position, scaling (linear, llama3, YaRN) included.
  std::vector<double> frequencies;
  /// LongRoPE (arXiv 2402.13753): frequencies for prompts longer than `short_context`; empty: the same for all lengths.
  std::vector<double> long_frequencies = {};
  int64_t short_context = 0;
  double attention_factor = 1.0;  ///< on cos and sin (YaRN, LongRoPE)
  std::string scaling = "none";   ///< for people: "none", "linear x4", "llama3 x8", "yarn x4"
};

enum class Activator : uint8_t { silu, gelu, gelu_tanh, quick_gelu, relu };
/// "SiLU", "GELU (tanh)", ...
std::string_view activator_name(Activator activator);

enum class NormKind : uint8_t {
  rms,    ///< x / rms(x) * gain
  layer,  ///< (x - mean) / std * gain + bias
};

/// Where a block has its norms.
enum class NormPlaces : uint8_t {
  before,    ///< of what attention and MLP read: LLaMA, GPT-2
  branch,    ///< of what they give, before it is added: OLMo 2
  sandwich,  ///< both: Gemma
  after,     ///< of the sum: BERT
};

/// RMSNorm of queries and keys, before positions.
enum class QkNorm : uint8_t {
  none,
  head,  ///< of each head by itself: Qwen 3, Gemma 3
  all,   ///< of all heads' values together: OLMo 2
};

/// Multi-head latent attention (arXiv 2405.04434): queries, keys and values come from a low rank; the last
/// `ropes[..].dims` channels of a head turn, and keys share these between heads. All sizes 0: none.
struct LatentAttention {
  int64_t q_rank = 0;  ///< 0: queries come from the block's input directly
  int64_t kv_rank = 0;
  explicit operator bool() const { return kv_rank > 0; }
};

/// Mixture of experts: each token goes through the `per_token` experts with the highest scores.
struct Experts {
  int64_t count = 0;
  int64_t per_token = 0;
  int64_t width = 0;         ///< of an expert's MLP
  int64_t shared_width = 0;  ///< of the MLP that all tokens go through besides; 0: none
  bool sigmoid = false;      ///< scores by sigmoid, else by softmax over all experts
  bool bias = false;         ///< a bias of each expert on the choice, not on the weights
  bool normalized = true;    ///< weights of the chosen are made to sum to 1
  double scale = 1.0;        ///< on the weights
  /// Experts are chosen from the best `groups_per_token` of so many groups; a group counts by the sum of its
  /// `group_best` best scores. 0 or 1 groups: from all.
  int64_t groups = 0, groups_per_token = 0, group_best = 1;
};

/// What may differ from block to block.
struct BlockPlan {
  int rope = 0;          ///< which of Architecture::ropes turns q and k; -1: none
  int64_t window = 0;    ///< keys that a query sees, its own included; 0: all
  bool experts = false;  ///< a mixture of experts in place of the MLP
};

/// Images cut into patches, which take the place of token embeddings (ViT, arXiv 2010.11929).
struct Patches {
  int64_t size = 0;  ///< side of a patch, in pixels
  int64_t channels = 3;
  int64_t image = 0;          ///< side of the images that the table of positions was made for
  bool bias = true;           ///< on the patch embedding
  bool cls = false;           ///< a [CLS] token in front
  bool distillation = false;  ///< DeiT's second one (arXiv 2012.12877)
  int64_t registers = 0;      ///< tokens without positions after these (arXiv 2309.16588)
  /// For images of another size: how the table of positions is resized.
  enum class Resize : uint8_t { refuse, bicubic, bicubic_antialias } resize = Resize::refuse;

  explicit operator bool() const { return size > 0; }
  /// Tokens in front of the patches, and those of them that have a position.
  int64_t special() const { return placed() + registers; }
  int64_t placed() const { return (cls ? 1 : 0) + (distillation ? 1 : 0); }
};

/// What stands for a whole prompt, after the final norm.
enum class Pool : uint8_t {
  none,
  first,           ///< token 0
  first_normed,    ///< token 0, and the final norm of it alone: CLIP's images
  first_and_mean,  ///< token 0, and the mean of the patches beside it: DINOv2
  last,            ///< the last token
  end,             ///< the first end-of-text token: CLIP's texts
  attention,       ///< attention of a learned query, and an MLP: SigLIP's images
};

/// Everything the forward pass needs to know besides the weights.
struct Architecture {
  std::string family;  ///< "llama"
  int64_t n_layers = 0;
  int64_t d_model = 0;  ///< d
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;  ///< divides n_heads
  int64_t head_dim = 0;    ///< of queries and keys
  int64_t v_head_dim = 0;  ///< of values; 0: head_dim
  int64_t mlp_width = 0;
  int64_t vocabulary = 0;
  int64_t context_length = 0;  ///< longest prompt the checkpoint was made for, in tokens

  // Before the blocks
  Patches patches;  ///< in place of the token embedding; the vocabulary is 0 then
  double embedding_scale = 1.0;
  int64_t learned_positions = 0;  ///< rows of the table of positions; 0: none
  int64_t position_offset = 0;    ///< row of position 0
  int64_t token_types = 0;        ///< rows of the table of token types, of which row 0 is added; 0: none
  bool embedding_norm = false;

  // Norms
  NormKind norm = NormKind::rms;
  NormPlaces norm_places = NormPlaces::before;
  double norm_eps = 1e-5;         ///< added to the mean square or the variance
  bool norm_bias = false;         ///< layer norms only
  bool norm_gain_offset = false;  ///< the checkpoint stores gain - 1
  bool parallel = false;          ///< attention and MLP read the same residual stream
  bool shared_norm = false;       ///< parallel: they read the same norm, ln1
  bool layer_scale = false;       ///< a factor a dimension on what attention and MLP give

  // Attention
  double attention_scale = 0.0;  ///< on q.k, before softmax
  bool causal = true;            ///< a query sees itself and keys before it; else all of the prompt
  bool attention_bias = false;   ///< on q, k, v
  bool attention_out_bias = false;
  QkNorm qk_norm = QkNorm::none;
  double attention_softcap = 0.0;  ///< c: scores become c tanh(scores / c); 0: none
  double qkv_clip = 0.0;           ///< q, k, v are cut to [-c, c]; 0: none
  std::vector<Rope> ropes;         ///< empty: none
  std::vector<double>
      alibi_slopes;  ///< [heads] (arXiv 2108.12409): slope * (key - query) is added to scores; empty: none
  LatentAttention latent;

  // MLP
  Activator activation = Activator::silu;
  bool gated = true;  ///< activation(gate) * up; else activation(up)
  bool mlp_bias = false;
  Experts experts;

  // After the blocks
  bool final_norm = true;
  bool head = true;              ///< the checkpoint has what makes logits
  bool head_transform = false;   ///< a dense layer, the MLP's activation and a layer norm before the logits: BERT
  bool tied_embeddings = false;  ///< logits use the token embedding
  bool unembedding_bias = false;
  double logit_scale = 1.0;
  double logit_softcap = 0.0;  ///< as attention_softcap, on logits

  // Of whole prompts
  Pool pool = Pool::none;
  int64_t end_token = -1;                ///< of Pool::end; -1: the largest id of a prompt
  int64_t labels = 0;                    ///< outputs of a classifier; 0: none
  bool distillation_classifier = false;  ///< a second one on token 1; `logits` is the mean
  bool contrastive = false;              ///< one tower of two, whose outputs are compared
  int64_t projection = 0;                ///< size of what is compared where it is projected; 0: that of the pool
  bool projection_bias = false;
  bool logit_bias = false;  ///< on what the comparison gives

  std::vector<BlockPlan> blocks;  ///< [n_layers]

  int64_t q_size() const { return n_heads * head_dim; }
  int64_t k_size() const { return n_kv_heads * head_dim; }
  int64_t v_dim() const { return v_head_dim > 0 ? v_head_dim : head_dim; }
  int64_t v_size() const { return n_kv_heads * v_dim(); }
  int64_t z_size() const { return n_heads * v_dim(); }
  bool norms_before() const { return norm_places == NormPlaces::before || norm_places == NormPlaces::sandwich; }
  bool norms_of_branch() const { return norm_places == NormPlaces::branch || norm_places == NormPlaces::sandwich; }
  /// Size of what stands for a prompt.
  int64_t pooled_size() const { return (pool == Pool::first_and_mean ? 2 : 1) * d_model; }
  int64_t embedding_size() const { return projection > 0 ? projection : d_model; }
  /// Whether the MLP of the block reads a norm of its own.
  bool has_ln2() const { return norm_places != NormPlaces::branch && !shared_norm; }
};

/// Throws Error, naming `what`, for sizes that no model has or that contradict each other (heads not dividing, a width
/// of 0). A family calls it before it makes anything of the sizes; `blocks` may still be empty then.
void validate(const Architecture& architecture, const std::string& what);
/// Slopes of ALiBi for any number of heads, from `most` = 8: 2^(-most / heads), its square, ... (arXiv 2108.12409).
std::vector<double> alibi_slopes(int64_t heads, double most = 8.0);
/// What is unusual about it, beside a LLaMA: "sliding window 512 on 15 of 18 layers", "sandwich norms".
std::vector<std::string> peculiarities(const Architecture& architecture);

/// Whether a pass of this architecture reaches the point at all.
bool has_point(const Architecture& architecture, const HookPoint& point);
/// All points of the architecture, in the order of the pass.
std::vector<HookPoint> hook_points(const Architecture& architecture);
/// Shape of one row of the point: [d], [heads, head_dim], ...; for scores and pattern [heads] (T and T follow the
/// prompt).
std::vector<int64_t> row_shape(const Architecture& architecture, const HookPoint& point);

}  // namespace spikescope
