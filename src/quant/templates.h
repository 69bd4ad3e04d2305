// What calibration finds and InsertQuant needs (arXiv 2606.02288): where spikes are born and end, the vectors that take
// their place, and the ranges of the values at each site. docs/template-format.md specifies the file.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/balance.h"
#include "quant/channel_ranges.h"
#include "quant/rotation.h"
#include "quant/site_basis.h"
#include "quant/sites.h"
#include "quant/spike_course.h"

namespace spikescope {

/// What is known of the values at a site of a block. Values at bits are in the order of kRangeBits.
enum class RangeKey : uint8_t {
  rows,        ///< so many tokens
  absmax,      ///< largest |x|
  lowest,      ///< never above 0
  highest,     ///< never below 0
  ratio,       ///< over tokens: the largest of each one's largest |x|, over their lower median
  percentile,  ///< the |x| that 99.99 % of the values do not exceed
  mse8,        ///< clip of the symmetric quantizer with the least mean square error
  mse6,
  mse4,
  low8,  ///< range of the asymmetric quantizer with the least mean square error
  high8,
  low6,
  high6,
  low4,
  high4,
};
inline constexpr size_t kRangeKeys = static_cast<size_t>(RangeKey::high4) + 1;
inline constexpr double kPercentile = 0.9999;
/// Names of the keys, indexed by RangeKey.
std::span<const std::string_view> range_key_names();

/// One of the widths that clips are calibrated for.
struct RangeBits {
  int bits;
  RangeKey mse, low, high;
};
std::span<const RangeBits> range_bits();

/// NaN: the block has no such site, or no token was there to look at.
struct SiteRange {
  std::array<float, kRangeKeys> values;
  SiteRange() { values.fill(std::numeric_limits<float>::quiet_NaN()); }
  float operator[](RangeKey key) const { return values[static_cast<size_t>(key)]; }
  float& operator[](RangeKey key) { return values[static_cast<size_t>(key)]; }
};

/// Whose values count, and in which basis: as they are, turned by the site's rotation (SpikeTemplates::rotation), or
/// balanced (SpikeTemplates::balances) and turned.
enum class Population : uint8_t {
  ordinary,  ///< all tokens but the spike tokens of the templates
  all,
  ordinary_rotated,
  all_rotated,
  ordinary_balanced,
  all_balanced,
  prefixed,  ///< all tokens of windows that stand behind the prefix (SpikeTemplates::prefix), whose own do not count
};
inline constexpr size_t kPopulations = 7;
/// Those of the first so many whose channels are known one by one.
inline constexpr size_t kChannelPopulations = 2;
/// All, in order; and what each is called: "ordinary", ...
std::span<const Population> populations();
std::string_view population_name(Population population);
bool is_rotated(Population population);
bool is_balanced(Population population);

/// One course of spikes with what takes their place. S: the course's tokens.
struct TemplateSet {
  SpikeCourse course;            ///< after reading a file without its tokens
  int64_t tokens = 0;            ///< |S|
  BirthEvidence evidence;        ///< of the block of birth
  double deviation = 0.0;        ///< sqrt(mean ||x - mean||^2) / ||mean|| over S, mean over the templates at attn_in
  std::vector<float> attn_in;    ///< [blocks birth + 1 .. last][d] mean over S; empty: there are none
  std::vector<float> mlp_in;     ///< the same; empty also where blocks have no mlp_in
  std::vector<float> attn_k;     ///< [blocks birth + 1 .. last][kv_heads][head_dim] k' of attn_in (sink_bias_of()) ...
  std::vector<float> attn_v;     ///< ... and v', [..][kv_heads][v_dim]; both empty where SpikeTemplates::kv_heads is 0
  std::vector<float> residual;   ///< [d] R: mean over S of what the MLPs of `birth` and `cancelling` added
  std::vector<float> final_out;  ///< [d] F: mean over S of the final norm; empty: the course ends before

  /// The template of block `layer` at attn_in or mlp_in, [d]; empty where there is none.
  std::span<const float> at(Site site, int layer, int64_t d) const;
  /// Block `layer`'s row of attn_in, mlp_in, attn_k or attn_v; empty where there is none.
  std::span<const float> row(const std::vector<float>& rows, int layer) const;
  /// Whether MLP outputs of block `layer` are set to 0.
  bool silences(int layer) const;
};

struct CalibrationInfo {
  std::string model, model_name, model_sha256, family;
  std::string text, text_sha256;  ///< name and hash of the calibration text
  int64_t windows = 0, length = 0, tokens = 0;
  std::string bos;  ///< "none", or piece and id
  std::string dtype, command, version;
};

/// Tokens that stand in front of every window, so that spikes are theirs (PrefixQuant, arXiv 2410.05265).
struct SpikePrefix {
  std::vector<int64_t> ids;  ///< empty: none was asked for, or there are no spikes to choose by
  std::string text;          ///< that the ids spell
  int64_t spikes = 0;        ///< tokens of the windows that have a spike nevertheless
};

struct SpikeTemplates {
  CalibrationInfo info;
  int64_t n_layers = 0, d_model = 0;
  int64_t kv_heads = 0, head_dim = 0, v_dim = 0;  ///< of attn_k and attn_v; 0: there are none
  double eta = kBirthFactor;
  RotationKind rotation = RotationKind::none;  ///< none: the rotated ranges are NaN
  uint64_t rotation_seed = 0;
  std::vector<BirthEvidence> blocks;                                            ///< [n_layers]
  std::vector<TemplateSet> sets;                                                ///< by birth; empty: not applicable
  std::array<std::array<std::vector<SiteRange>, kSites>, kPopulations> ranges;  ///< [population][site][n_layers]
  SpikePrefix prefix;
  /// Of single channels, [population][site][n_layers]; empty: of a file that has none.
  std::array<std::array<std::vector<ChannelRange>, kSites>, kChannelPopulations> channels;
  /// [site][n_layers][width] reading_maxima(); empty as the channels are.
  std::array<std::vector<std::vector<float>>, kSites> weight_maxima;
  std::array<std::vector<ChannelBalance>, kSites> balances;  ///< [site][n_layers]; empty: none

  bool has_balances() const { return !balances[0].empty(); }
  const SiteRange& range(Population population, Site site, int layer) const {
    return ranges[static_cast<size_t>(population)][static_cast<size_t>(site)][static_cast<size_t>(layer)];
  }
  SiteRange& range(Population population, Site site, int layer) {
    return ranges[static_cast<size_t>(population)][static_cast<size_t>(site)][static_cast<size_t>(layer)];
  }
  bool has_channels() const { return !weight_maxima[0].empty(); }
  /// Only with has_channels(), and of the first kChannelPopulations.
  const ChannelRange& channel_range(Population population, Site site, int layer) const {
    return channels[static_cast<size_t>(population)][static_cast<size_t>(site)][static_cast<size_t>(layer)];
  }
};

/// The rotation of each site, [kSites], the same in all blocks; null where the templates have none.
std::vector<std::unique_ptr<Rotation>> site_rotations(const Architecture& architecture,
                                                      const SpikeTemplates& templates);

/// The basis of a population's values, [kSites][n_layers]. `rotations` (site_rotations()) and `templates` have to live
/// as long as the bases.
std::vector<std::vector<SiteBasis>> site_bases(const SpikeTemplates& templates,
                                               const std::vector<std::unique_ptr<Rotation>>& rotations,
                                               Population population);

/// Why there are no templates, with the figures; empty where there are.
std::string why_not_applicable(const SpikeTemplates& templates);

}  // namespace spikescope
