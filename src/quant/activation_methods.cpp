#include "quant/activation_methods.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "analyses/layer_choice.h"
#include "base/fail.h"
#include "base/nearest.h"
#include "quant/quantizer.h"

namespace spikescope {
namespace {

// Indexed by Clip.
constexpr std::array kClips = {
    ClipKind{Clip::none, "none", "not quantized"},
    ClipKind{Clip::absmax, "absmax", "up to the largest value of the calibration"},
    ClipKind{Clip::mse, "mse", "where clipping and rounding have the least mean square error"},
    ClipKind{Clip::percentile, "percentile", "up to what 99.99 % of the values do not exceed"},
    ClipKind{Clip::dynamic, "dynamic", "up to each token's own largest value"},
};

constexpr auto kAll = Population::all, kOrdinary = Population::ordinary;
constexpr auto kAllRotated = Population::all_rotated, kOrdinaryRotated = Population::ordinary_rotated;
constexpr auto kAllBalanced = Population::all_balanced, kOrdinaryBalanced = Population::ordinary_balanced;
constexpr auto kPrefixed = Population::prefixed;
constexpr std::array kMethods = {
    ActivationMethod{"naive", "one scale a site, up to the largest value", Clip::absmax, kAll, Spikes::kept, false},
    ActivationMethod{"mse", "one scale a site, of least mean square error", Clip::mse, kAll, Spikes::kept, false},
    ActivationMethod{"percentile", "one scale a site, from the 99.99 percentile", Clip::percentile, kAll, Spikes::kept,
                     false},
    ActivationMethod{"left-out", "naive, calibrated without spike tokens, which stay: what not to do", Clip::absmax,
                     kOrdinary, Spikes::kept, false},
    ActivationMethod{"dynamic", "a scale a token (upper reference)", Clip::dynamic, kAll, Spikes::kept, false},
    ActivationMethod{"insertquant-absmax", "templates in the spikes' place; scales up to the largest value",
                     Clip::absmax, kOrdinary, Spikes::replaced, false},
    ActivationMethod{"insertquant-percentile", "the same, scales from the 99.99 percentile", Clip::percentile,
                     kOrdinary, Spikes::replaced, false},
    ActivationMethod{"insertquant", "the same, scales of least mean square error", Clip::mse, kOrdinary,
                     Spikes::replaced, false},
    ActivationMethod{"insertquant-dynamic", "the same, but a scale a token where ordinary tokens differ widely",
                     Clip::mse, kOrdinary, Spikes::replaced, true},
    ActivationMethod{"rotation", "rotated at every site; one scale each, up to the largest value", Clip::absmax,
                     kAllRotated, Spikes::kept, false},
    ActivationMethod{"rotation-mse", "the same, scales of least mean square error", Clip::mse, kAllRotated,
                     Spikes::kept, false},
    ActivationMethod{"rotation-dynamic", "the same, a scale a token", Clip::dynamic, kAllRotated, Spikes::kept, false},
    ActivationMethod{"rotation-insertquant", "templates in the spikes' place, rotated; scales of least error",
                     Clip::mse, kOrdinaryRotated, Spikes::replaced, false},
    ActivationMethod{"balanced", "channels balanced and rotated; scales of least mean square error", Clip::mse,
                     kAllBalanced, Spikes::kept, false},
    ActivationMethod{"balanced-insertquant", "the same with templates in the spikes' place", Clip::mse,
                     kOrdinaryBalanced, Spikes::replaced, false},
    ActivationMethod{"balanced-insertquant-dynamic", "the same, a scale a token", Clip::dynamic, kOrdinaryBalanced,
                     Spikes::replaced, false},
    ActivationMethod{"smoothquant",
                     "channels over scales that weights take (--smooth); one scale a site, largest value", Clip::absmax,
                     kAll, Spikes::kept, false, SpikeKeys::kept, Channels::smoothed},
    ActivationMethod{"smoothquant-insertquant", "the same with templates in the spikes' place", Clip::absmax, kOrdinary,
                     Spikes::replaced, false, SpikeKeys::kept, Channels::smoothed},
    ActivationMethod{"outlier-split", "a scale a token; channels with outliers (--outliers) are not quantized",
                     Clip::dynamic, kAll, Spikes::kept, false, SpikeKeys::kept, Channels::split},
    ActivationMethod{"prefixquant-absmax", "spikes settle on a prefix; scales up to the largest value behind it",
                     Clip::absmax, kPrefixed, Spikes::kept, false},
    ActivationMethod{"prefixquant", "the same, scales of least mean square error", Clip::mse, kPrefixed, Spikes::kept,
                     false},
    ActivationMethod{"prefix", "nothing quantized, the prefix in front of every text", Clip::none, kPrefixed,
                     Spikes::kept, false},
    ActivationMethod{"templates", "nothing quantized, templates in the spikes' place", Clip::none, kOrdinary,
                     Spikes::replaced, false},
    ActivationMethod{"removed", "nothing quantized, spikes never written and nothing in their place", Clip::none,
                     kOrdinary, Spikes::removed, false},
    ActivationMethod{"attention-bias", "nothing quantized, spikes never written, k' and v' in place of their keys",
                     Clip::none, kOrdinary, Spikes::removed, false, SpikeKeys::biased},
    ActivationMethod{"attention-bias-kept", "the same, but spikes stay in the residual stream", Clip::none, kAll,
                     Spikes::kept, false, SpikeKeys::biased},
    ActivationMethod{"attention-masked", "the same, and nothing in place of their keys", Clip::none, kAll, Spikes::kept,
                     false, SpikeKeys::masked},
};

std::vector<std::string> names_of_sites() {
  std::vector<std::string> names;
  for (const SiteKind& kind : site_kinds()) names.emplace_back(kind.name);
  return names;
}

int64_t whole_number(std::string_view text, const std::string& all) {
  int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    fail_usage("--override {}: '{}' is no whole number", all, text);
  return value;
}

}  // namespace

std::span<const ClipKind> clip_kinds() { return kClips; }
std::span<const ActivationMethod> activation_methods() { return kMethods; }

const ActivationMethod& find_activation_method(std::string_view name) {
  std::vector<std::string> names;
  for (const ActivationMethod& method : kMethods) {
    if (method.name == name) return method;
    names.emplace_back(method.name);
  }
  const std::string nearest = nearest_name(name, names);
  fail_usage("there is no method '{}'{}", name,
             nearest.empty() ? " (--help lists them)" : fmt::format("; did you mean '{}'?", nearest));
}

std::string why_not_possible(const ActivationMethod& method, const SpikeTemplates& templates) {
  if (method.needs_templates() && templates.sets.empty())
    return "needs templates, and this model has none: " + why_not_applicable(templates);
  if (method.rotated() && templates.rotation == RotationKind::none)
    return "needs ranges of rotated values: make the templates with --rotation hadamard";
  if (is_balanced(method.population) && !templates.has_balances())
    return "needs balanced channels, which this template file is too old to have: make it anew";
  if (method.keys == SpikeKeys::biased && templates.kv_heads == 0)
    return "needs k' and v', which the templates do not have: they are of a model that cannot have them (sliding "
           "windows, ALiBi, latent attention), or of an earlier version; then make them anew with: spikescope "
           "templates";
  if (method.channels != Channels::alike && !templates.has_channels())
    return "needs ranges of single channels, which this template file is too old to have: make it anew with: "
           "spikescope templates";
  if (method.prefixed() && templates.prefix.ids.empty())
    return fmt::format("needs a prefix, and the templates were made without: make them with --prefix auto{}",
                       templates.sets.empty() ? ", which finds none where there are no spikes, or with token ids" : "");
  return {};
}

SiteOverride parse_override(const std::string& text, int bits, int64_t n_layers) {
  const size_t equals = text.find('=');
  if (equals == text.npos)
    fail_usage("--override {}: expected SITE[:BLOCKS]=CLIP[:BITS], e.g. down_in:1,2,9-10=dynamic", text);
  const std::string_view left = std::string_view(text).substr(0, equals),
                         right = std::string_view(text).substr(equals + 1);
  const std::string_view site = left.substr(0, left.find(':')), clip = right.substr(0, right.find(':'));
  SiteOverride result;
  const auto found =
      std::find_if(site_kinds().begin(), site_kinds().end(), [&](auto& kind) { return kind.name == site; });
  if (found == site_kinds().end())
    fail_usage("--override {}: there is no site '{}'; there are {}", text, site, fmt::join(names_of_sites(), ", "));
  result.site = found->site;
  if (site.size() < left.size()) {
    const std::string option = "--override " + text;
    const LayerChoice blocks = parse_layers(std::string(left.substr(site.size() + 1)), option);
    if (!blocks) fail_usage("{}: name the blocks, e.g. down_in:1,2,9-10=dynamic", option);
    check_layers(blocks, n_layers, option);
    result.layers = chosen_blocks(blocks, n_layers);
  }
  const auto kind = std::find_if(kClips.begin(), kClips.end(), [&](auto& row) { return row.name == clip; });
  if (kind == kClips.end()) fail_usage("--override {}: there is no clip '{}'", text, clip);
  result.choice = {kind->clip, bits};
  if (clip.size() < right.size()) {
    const int64_t own = whole_number(right.substr(clip.size() + 1), text);
    if (own < kFewestBits || own > kMostBits)
      fail_usage("--override {}: expected {} to {} bits", text, kFewestBits, kMostBits);
    result.choice.bits = static_cast<int>(own);
  }
  return result;
}

ActivationPlan plan_of(const ActivationMethod& method, int bits, const SpikeTemplates& templates,
                       std::span<const SiteOverride> overrides) {
  if (const std::string why = why_not_possible(method, templates); !why.empty())
    fail_usage("method '{}' {}", method.name, why);
  ActivationPlan plan;
  plan.channels = method.channels;
  if (method.prefixed()) plan.prefix = templates.prefix.ids;
  plan.population = method.population;
  plan.spikes = method.spikes;
  plan.keys = method.keys;
  const auto layers = static_cast<size_t>(templates.n_layers);
  plan.choices.assign(kSites, std::vector<SiteChoice>(layers, {method.clip, bits}));
  if (method.dynamic_outliers)
    for (const SiteKind& kind : site_kinds())
      for (size_t layer = 0; layer < layers; ++layer)
        if (templates.range(method.population, kind.site, static_cast<int>(layer))[RangeKey::ratio] > kDynamicAbove)
          plan.choices[static_cast<size_t>(kind.site)][layer].clip = Clip::dynamic;
  for (const SiteOverride& other : overrides) {
    std::vector<SiteChoice>& choices = plan.choices[static_cast<size_t>(other.site)];
    if (other.layers.empty()) std::fill(choices.begin(), choices.end(), other.choice);
    for (const int64_t layer : other.layers) choices[static_cast<size_t>(layer)] = other.choice;
  }
  return plan;
}

}  // namespace spikescope
