#include "quant/templates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace spikescope {

namespace {

// Indexed by RangeKey.
constexpr std::array<std::string_view, kRangeKeys> kNames = {"rows",       "absmax", "lowest", "highest", "ratio",
                                                             "percentile", "mse8",   "mse6",   "mse4",    "low8",
                                                             "high8",      "low6",   "high6",  "low4",    "high4"};

constexpr std::array kBits = {
    RangeBits{8, RangeKey::mse8, RangeKey::low8, RangeKey::high8},
    RangeBits{6, RangeKey::mse6, RangeKey::low6, RangeKey::high6},
    RangeBits{4, RangeKey::mse4, RangeKey::low4, RangeKey::high4},
};

}  // namespace

std::span<const std::string_view> range_key_names() { return kNames; }
std::span<const RangeBits> range_bits() { return kBits; }

std::span<const Population> populations() {
  static constexpr std::array kAll = {
      Population::ordinary,          Population::all,          Population::ordinary_rotated, Population::all_rotated,
      Population::ordinary_balanced, Population::all_balanced, Population::prefixed};
  static_assert(kAll.size() == kPopulations);
  return kAll;
}

std::string_view population_name(Population population) {
  constexpr std::array<std::string_view, kPopulations> kNames = {
      "ordinary", "all", "ordinary_rotated", "all_rotated", "ordinary_balanced", "all_balanced", "prefixed"};
  return kNames[static_cast<size_t>(population)];
}

bool is_rotated(Population population) {
  return population == Population::ordinary_rotated || population == Population::all_rotated || is_balanced(population);
}

bool is_balanced(Population population) {
  return population == Population::ordinary_balanced || population == Population::all_balanced;
}

std::vector<std::unique_ptr<Rotation>> site_rotations(const Architecture& a, const SpikeTemplates& templates) {
  std::vector<std::unique_ptr<Rotation>> rotations(kSites);
  if (templates.rotation == RotationKind::none) return rotations;
  // Each with a stream of its own.
  for (size_t site = 0; site < kSites; ++site)
    if (const int64_t width = site_width(a, static_cast<Site>(site)); width > 0)
      rotations[site] = std::make_unique<Rotation>(templates.rotation, width, templates.rotation_seed + (site << 32));
  return rotations;
}

std::vector<std::vector<SiteBasis>> site_bases(const SpikeTemplates& templates,
                                               const std::vector<std::unique_ptr<Rotation>>& rotations,
                                               Population population) {
  std::vector<std::vector<SiteBasis>> bases(kSites);
  for (size_t site = 0; site < kSites; ++site)
    for (size_t layer = 0; layer < static_cast<size_t>(templates.n_layers); ++layer)
      bases[site].emplace_back(is_rotated(population) ? rotations[site].get() : nullptr,
                               is_balanced(population) ? &templates.balances[site][layer] : nullptr);
  return bases;
}

std::span<const float> TemplateSet::at(Site site, int layer, int64_t d) const {
  if (site != Site::attn_in && site != Site::mlp_in) return {};
  const std::vector<float>& values = site == Site::attn_in ? attn_in : mlp_in;
  if (values.empty() || layer <= course.birth || layer > course.last) return {};
  const auto size = static_cast<size_t>(d);
  return std::span(values).subspan(static_cast<size_t>(layer - course.birth - 1) * size, size);
}

std::span<const float> TemplateSet::row(const std::vector<float>& rows, int layer) const {
  if (rows.empty() || layer <= course.birth || layer > course.last) return {};
  const size_t size = rows.size() / static_cast<size_t>(course.last - course.birth);
  return std::span(rows).subspan(static_cast<size_t>(layer - course.birth - 1) * size, size);
}

bool TemplateSet::silences(int layer) const {
  return layer == course.birth ||
         std::find(course.cancelling.begin(), course.cancelling.end(), layer) != course.cancelling.end();
}

std::string why_not_applicable(const SpikeTemplates& templates) {
  if (!templates.sets.empty()) return {};
  const BirthEvidence* best = nullptr;
  int64_t block = 0;
  for (size_t layer = 0; layer < templates.blocks.size(); ++layer) {
    const BirthEvidence& here = templates.blocks[layer];
    if (std::isnan(here.median) || !(here.median > 0.0)) continue;
    if (best && here.largest / here.median <= best->largest / best->median) continue;
    best = &here;
    block = static_cast<int64_t>(layer);
  }
  if (!best) return "no block has an MLP whose last matrix could write a spike (experts are not looked into)";
  const double factor = best->largest / best->median;
  if (best->above == 0)
    return fmt::format("no token's down_in exceeds {:g} x the median over tokens; the most is {:.1f} x, in block {}",
                       templates.eta, factor, block);
  return fmt::format(
      "where down_in exceeds {:g} x the median over tokens there is no gap, or the MLP does not write the token's "
      "largest value; the most is {:.1f} x, in block {}: {} tokens above, from {:.4g} on, the others up to {:.4g}",
      templates.eta, factor, block, best->above, best->least_above, best->largest_below);
}

}  // namespace spikescope
