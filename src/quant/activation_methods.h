// Ways to quantize activations, as data: what each takes from a calibration (quant/templates.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/smoothing.h"
#include "quant/templates.h"

namespace spikescope {

/// Where a quantizer's range comes from.
enum class Clip : uint8_t {
  none,        ///< not quantized
  absmax,      ///< the largest |x| of the calibration
  mse,         ///< the clip with the least mean square error
  percentile,  ///< the |x| that 99.99 % do not exceed
  dynamic,     ///< each token's own largest |x|
};
/// One row of the table of clips.
struct ClipKind {
  Clip clip;
  std::string_view name;     ///< "mse"
  std::string_view meaning;  ///< for --help
};
/// All clips, indexed by Clip.
std::span<const ClipKind> clip_kinds();

/// What becomes of spikes.
enum class Spikes : uint8_t {
  kept,
  removed,   ///< the MLPs that write and cancel them give 0 for their tokens
  replaced,  ///< the same, and templates stand in for what they did
};

/// What tells the channels of a site apart.
enum class Channels : uint8_t {
  alike,
  smoothed,  ///< SmoothQuant: divided by scales of their own, and multiplied after they are rounded (quant/smoothing.h)
  split,     ///< LLM.int8: those with outliers are not quantized
};

/// What attention sees of spike tokens in the blocks after their spike's birth, up to the last.
enum class SpikeKeys : uint8_t {
  kept,
  masked,  ///< nobody sees their keys and values
  biased,  ///< the same, and all see k' and v' of the templates (explicit attention bias, arXiv 2402.17762)
};

/// One row of the table of methods.
struct ActivationMethod {
  std::string_view name;     ///< "insertquant"
  std::string_view meaning;  ///< for --help
  Clip clip;
  Population population;  ///< of the calibration, whose ranges count
  Spikes spikes;
  bool dynamic_outliers;  ///< Clip::dynamic at sites whose ordinary tokens differ more than kDynamicAbove
  SpikeKeys keys = SpikeKeys::kept;
  Channels channels = Channels::alike;

  /// Whether values are rotated before they are rounded, and back after it.
  bool rotated() const { return is_rotated(population); }
  /// Whether the calibrated prefix stands in front of every text (quant/prefix.h).
  bool prefixed() const { return population == Population::prefixed; }
  /// Whether something is done to spikes or their keys, so that one has to know them.
  bool needs_templates() const { return spikes != Spikes::kept || keys != SpikeKeys::kept; }
};
std::span<const ActivationMethod> activation_methods();
/// Throws UsageError, with the nearest one, where there is no such method.
const ActivationMethod& find_activation_method(std::string_view name);

/// Why a method cannot be had of these templates, and what to do about it, as what follows on its name; empty: it can.
std::string why_not_possible(const ActivationMethod& method, const SpikeTemplates& templates);

/// RangeKey::ratio from which a site's ordinary tokens are too different for one scale.
inline constexpr double kDynamicAbove = 20.0;

/// How one site of one block is quantized.
struct SiteChoice {
  Clip clip = Clip::none;
  int bits = 8;
};

/// A choice for some sites that takes the place of the method's.
struct SiteOverride {
  Site site = Site::attn_in;
  std::vector<int64_t> layers;  ///< empty: all
  SiteChoice choice;
};
/// Reads "SITE[:LAYERS]=CLIP[:BITS]", e.g. "down_in:1,2,9-10=dynamic", "attn_in=none", "o_in=mse:6"; without bits those
/// of `bits`. Throws UsageError naming the text and what is wrong with it.
SiteOverride parse_override(const std::string& text, int bits, int64_t n_layers);

/// Everything about a simulated quantization of activations.
struct ActivationPlan {
  std::vector<std::vector<SiteChoice>> choices;  ///< [sites][n_layers]
  Population population = Population::all;
  Spikes spikes = Spikes::kept;
  SpikeKeys keys = SpikeKeys::kept;
  Channels channels = Channels::alike;
  double smooth = kMigration;           ///< alpha of smoothing_scales()
  double outliers = kOutlierThreshold;  ///< of outlier_channels()
  std::vector<int64_t> prefix;          ///< ids in front of every text, which are not quantized
  bool asymmetric = false;
  /// Whether templates go through the quantizer; else they are exact, as where their keys, values and MLP outputs are
  /// computed beforehand.
  bool quantize_templates = true;
  /// Whether R ends a course even where F could.
  bool end_with_residual = false;
  /// Bits of keys (after RoPE) and values as a cache would hold them, with a scale a token and head; 0: not quantized.
  int bits_kv = 0;
};
/// The plan of a method at so many bits. Throws UsageError, as why_not_possible() says, for templates that do not do.
ActivationPlan plan_of(const ActivationMethod& method, int bits, const SpikeTemplates& templates,
                       std::span<const SiteOverride> overrides = {});

}  // namespace spikescope
