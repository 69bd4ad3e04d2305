#include "quant/simulated_activations.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "base/fail.h"
#include "quant/prefix.h"
#include "quant/sink_bias.h"

namespace spikescope {
namespace {

constexpr int kOrdinary = -1;

/// The static quantizer of a choice; an empty one where none is needed.
Quantizer quantizer_of(const SiteChoice& choice, const SiteRange& range, bool asymmetric) {
  switch (choice.clip) {
    case Clip::none:
    case Clip::dynamic:
      return {};
    case Clip::absmax:
      return asymmetric ? Quantizer::asymmetric(choice.bits, range[RangeKey::lowest], range[RangeKey::highest])
                        : Quantizer::symmetric(choice.bits, range[RangeKey::absmax]);
    case Clip::percentile: {
      const double most = range[RangeKey::percentile];
      return asymmetric ? Quantizer::asymmetric(choice.bits, std::max<double>(range[RangeKey::lowest], -most),
                                                std::min<double>(range[RangeKey::highest], most))
                        : Quantizer::symmetric(choice.bits, most);
    }
    case Clip::mse:
      for (const RangeBits& at : range_bits())
        if (at.bits == choice.bits)
          return asymmetric ? Quantizer::asymmetric(choice.bits, range[at.low], range[at.high])
                            : Quantizer::symmetric(choice.bits, range[at.mse]);
      fail_usage(
          "the clip of least error is calibrated for 8, 6 and 4 bits, not for {}; choose one of these, or absmax",
          choice.bits);
  }
  return {};
}

/// The same where channels are not alike: their ends are known and nothing else.
Quantizer quantizer_of_channels(const SiteChoice& choice, const JointRange& range, bool asymmetric) {
  if (choice.clip == Clip::none || choice.clip == Clip::dynamic) return {};
  if (choice.clip != Clip::absmax)
    fail_usage(
        "the clip '{}' is calibrated for sites as they are; with smoothed or split channels choose absmax, "
        "dynamic or none",
        clip_kinds()[static_cast<size_t>(choice.clip)].name);
  return asymmetric ? Quantizer::asymmetric(choice.bits, range.low, range.high)
                    : Quantizer::symmetric(choice.bits, range.absmax());
}

/// Values of some rows, which are to come out of a quantizer as they went in.
class RowsAside {
 public:
  /// `marked`: which of all rows of the pass.
  RowsAside(const Activation& at, const std::vector<uint8_t>& marked) : values_(at.values) {
    for (int64_t row = 0; row < values_.rows() && !marked.empty(); ++row) {
      if (!marked[static_cast<size_t>(at.first_row + row)]) continue;
      rows_.push_back(row);
      kept_.insert(kept_.end(), values_.row(row), values_.row(row) + values_.row_size());
    }
  }
  void put_back() const {
    const int64_t size = values_.row_size();
    for (size_t i = 0; i < rows_.size(); ++i)
      std::copy_n(kept_.begin() + static_cast<int64_t>(i) * size, size, values_.row(rows_[i]));
  }

 private:
  const TensorView& values_;
  std::vector<int64_t> rows_;
  std::vector<float> kept_;
};

/// Values of some channels, which a quantizer is to see as 0.
class ChannelsAside {
 public:
  ChannelsAside(const TensorView& values, const std::vector<int64_t>& channels) : values_(values), channels_(channels) {
    kept_.reserve(static_cast<size_t>(values_.rows()) * channels_.size());
    for (int64_t row = 0; row < values_.rows(); ++row)
      for (const int64_t channel : channels_) kept_.push_back(std::exchange(values_.row(row)[channel], 0.0f));
  }
  void put_back() const {
    for (size_t i = 0; i < kept_.size(); ++i)
      values_.row(static_cast<int64_t>(i / channels_.size()))[channels_[i % channels_.size()]] = kept_[i];
  }

 private:
  const TensorView& values_;
  const std::vector<int64_t>& channels_;
  std::vector<float> kept_;  // [rows][channels]
};

}  // namespace

/// State of one pass: of each token the set whose spike it has, from the block of its birth on.
struct SimulatedActivations::Pass {
  std::vector<int> set;
  std::vector<uint8_t> prefix;  ///< [tokens] whether it belongs to the prefix; empty: there is none
};

SimulatedActivations::SimulatedActivations(const Architecture& architecture, const SpikeTemplates& templates,
                                           ActivationPlan plan)
    : architecture_(architecture), templates_(templates), plan_(std::move(plan)), quantizers_(kSites) {
  require_sites(architecture);
  if (plan_.keys == SpikeKeys::biased) collect_keys();
  if (plan_.bits_kv > 0 && architecture.latent)
    fail_usage("a cache of keys and values is not what {} models keep (latent attention): leave --bits-kv out",
               architecture.family);
  rotations_.resize(kSites);
  if (is_rotated(plan_.population)) rotations_ = site_rotations(architecture, templates);
  bases_ = site_bases(templates, rotations_, plan_.population);
  for (const SiteKind& kind : site_kinds()) {
    const auto site = static_cast<size_t>(kind.site);
    for (int layer = 0; layer < architecture.n_layers; ++layer)
      quantizers_[site].push_back(has_site(architecture, kind.site, layer) ? site_quantizer(kind, layer)
                                                                           : SiteQuantizer());
  }
}

SimulatedActivations::SiteQuantizer SimulatedActivations::site_quantizer(const SiteKind& kind, int layer) const {
  SiteQuantizer here;
  here.choice = plan_.choices[static_cast<size_t>(kind.site)][static_cast<size_t>(layer)];
  const SiteRange& range = templates_.range(plan_.population, kind.site, layer);
  const bool needs_range = here.choice.clip != Clip::none && here.choice.clip != Clip::dynamic;
  if (needs_range && !(range[RangeKey::rows] > 0))
    fail("{} of block {} has no samples in the calibration; calibrate with more text", kind.name, layer);
  try {
    if (plan_.channels == Channels::alike) {
      here.quantizer = quantizer_of(here.choice, range, plan_.asymmetric);
      return here;
    }
    ChannelRange channels = templates_.channel_range(plan_.population, kind.site, layer);
    const int64_t width = site_width(architecture_, kind.site);
    if (static_cast<int64_t>(channels.highest.size()) != width)
      fail("ranges of {} channels, expected {}", channels.highest.size(), width);
    if (plan_.channels == Channels::smoothed)
      here.scales = smoothing_scales(
          channels, templates_.weight_maxima[static_cast<size_t>(kind.site)][static_cast<size_t>(layer)], plan_.smooth);
    else
      here.outliers = outlier_channels(channels, plan_.outliers);
    for (const int64_t channel : here.outliers)
      channels.lowest[static_cast<size_t>(channel)] = channels.highest[static_cast<size_t>(channel)] = 0.0f;
    here.quantizer = quantizer_of_channels(here.choice, joint_range(channels, here.scales), plan_.asymmetric);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    fail("{} of block {}: {}; the template file is damaged, make it anew", kind.name, layer, error.what());
  }
  return here;
}

double SimulatedActivations::share_of_outliers() const {
  size_t outliers = 0;
  int64_t channels = 0;
  for (const SiteKind& kind : site_kinds())
    for (const SiteQuantizer& site : quantizers_[static_cast<size_t>(kind.site)])
      if (site.choice.clip != Clip::none) {
        outliers += site.outliers.size();
        channels += site_width(architecture_, kind.site);
      }
  return channels > 0 ? static_cast<double>(outliers) / static_cast<double>(channels) : 0.0;
}

void SimulatedActivations::collect_keys() {
  if (const std::string why = why_no_sink_bias(architecture_); !why.empty())
    fail_usage("keys of spikes cannot be replaced in this model: {}", why);
  const Architecture& a = architecture_;
  if (templates_.kv_heads != a.n_kv_heads || templates_.head_dim != a.head_dim || templates_.v_dim != a.v_dim())
    fail("the templates' k' and v' are of {} heads of {} and {}, the model's of {} heads of {} and {}",
         templates_.kv_heads, templates_.head_dim, templates_.v_dim, a.n_kv_heads, a.head_dim, a.v_dim());
  keys_.resize(static_cast<size_t>(a.n_layers));
  values_.resize(keys_.size());
  for (const TemplateSet& set : templates_.sets)
    for (int layer = set.course.birth + 1; layer <= set.course.last; ++layer)
      for (const auto& [rows, to] : {std::pair(&set.attn_k, &keys_), {&set.attn_v, &values_}}) {
        const std::span<const float> row = set.row(*rows, layer);
        std::vector<float>& all = (*to)[static_cast<size_t>(layer)];
        all.insert(all.end(), row.begin(), row.end());
      }
}

void SimulatedActivations::quantize(const SiteQuantizer& site, const SiteBasis& basis, const TensorView& rows) const {
  const ChannelsAside outliers(rows, site.outliers);
  if (!site.scales.empty()) divide_channels(rows, site.scales);
  basis.to(rows);
  if (site.choice.clip == Clip::dynamic)
    quantize_rows_dynamic(rows, site.choice.bits, plan_.asymmetric);
  else if (site.choice.clip != Clip::none)
    quantize_rows(rows, site.quantizer);
  basis.from(rows);
  if (!site.scales.empty()) multiply_channels(rows, site.scales);
  outliers.put_back();
}

void SimulatedActivations::attach(Hooks& hooks, const TokenBatch& batch, RoundedBy rounded_by) const {
  const auto pass = std::make_shared<Pass>();
  pass->set.assign(batch.ids.size(), kOrdinary);
  if (!plan_.prefix.empty()) pass->prefix = prefix_rows(batch, plan_.prefix.size());
  // Before the quantizers: they see what is put in.
  if (plan_.spikes != Spikes::kept || plan_.keys != SpikeKeys::kept) attach_spikes(hooks, pass);
  if (rounded_by == RoundedBy::products) return;
  for (const SiteKind& kind : site_kinds())
    for (int layer = 0; layer < architecture_.n_layers; ++layer) {
      const SiteQuantizer& site = quantizers_[static_cast<size_t>(kind.site)][static_cast<size_t>(layer)];
      if (site.choice.clip == Clip::none || !has_site(architecture_, kind.site, layer)) continue;
      hooks.intervene(HookPoint{kind.point, layer}.name(),
                      [this, &site, pass, site_kind = kind.site, layer](const Activation& at) {
                        const RowsAside prefix(at, pass->prefix);
                        quantize(site, basis(site_kind, layer), at.values);
                        prefix.put_back();
                      });
    }
  if (plan_.spikes == Spikes::replaced && !plan_.quantize_templates) attach_templates(hooks, pass);
  for (const Point point : {Point::rot_k, Point::v})
    for (int layer = 0; layer < architecture_.n_layers && plan_.bits_kv > 0; ++layer)
      hooks.intervene(HookPoint{point, layer}.name(), [this, pass](const Activation& at) {
        const RowsAside prefix(at, pass->prefix);
        quantize_heads_dynamic(at.values, plan_.bits_kv, plan_.asymmetric);
        prefix.put_back();
      });
}

/// The grid of one site, with q moved so that none is negative.
Int8Inputs SimulatedActivations::int8_inputs(Site site, int layer) const {
  const SiteQuantizer& from = quantizers_[static_cast<size_t>(site)][static_cast<size_t>(layer)];
  const std::string_view name = site_kinds()[static_cast<size_t>(site)].name;
  const bool dynamic = from.choice.clip == Clip::dynamic;
  if (from.choice.clip == Clip::none) return {};
  if (from.choice.bits > 8)
    fail_usage("{} of block {} has {} bits: products of whole numbers take 8 or fewer", name, layer, from.choice.bits);
  if (dynamic && plan_.asymmetric)
    fail_usage("{} of block {} has a range of each token: products of whole numbers take it symmetric only", name,
               layer);
  Int8Inputs inputs;
  const int middle = 1 << (from.choice.bits - 1);
  inputs.kind = dynamic ? Int8Inputs::Scale::row : Int8Inputs::Scale::fixed;
  inputs.scale = from.quantizer.scale;
  const bool asymmetric = plan_.asymmetric;
  inputs.zero = asymmetric ? static_cast<int>(from.quantizer.zero) : middle;
  inputs.lowest = 0;
  inputs.highest = 2 * middle - 1;
  return inputs;
}

std::vector<BlockInt8Inputs> SimulatedActivations::int8_inputs() const {
  const auto no = [](std::string_view why) { fail_usage("products of whole numbers: {}", why); };
  if (is_balanced(plan_.population)) no("balanced values are brought back before the matrices read them");
  if (is_rotated(plan_.population))
    no("rotated values are turned back before the matrices read them, which are not rotated here");
  if (plan_.channels == Channels::smoothed)
    no("smoothed channels are multiplied by their scales before the matrices read them, which do not have them");
  if (plan_.channels == Channels::split) no("channels with outliers are not rounded");
  if (!plan_.prefix.empty()) no("the prefix is not rounded");
  if (plan_.keys != SpikeKeys::kept || plan_.bits_kv > 0) no("keys and values stay as they are");
  if (plan_.spikes == Spikes::replaced && !plan_.quantize_templates) no("templates are rounded like all other rows");
  if (architecture_.latent) no("latent attention has layers in between whose inputs have no scales");
  std::vector<BlockInt8Inputs> blocks;
  bool any = false;
  for (int layer = 0; layer < architecture_.n_layers; ++layer) {
    if (architecture_.blocks[static_cast<size_t>(layer)].experts) no("what experts read has no scales");
    // Blocks with one norm for both have no mlp_in of their own.
    const Site mlp_in = has_site(architecture_, Site::mlp_in, layer) ? Site::mlp_in : Site::attn_in;
    const BlockInt8Inputs& block =
        blocks.emplace_back(BlockInt8Inputs{int8_inputs(Site::attn_in, layer), int8_inputs(Site::o_in, layer),
                                            int8_inputs(mlp_in, layer), int8_inputs(Site::down_in, layer)});
    for (const Int8Inputs* inputs : {&block.attn_in, &block.o_in, &block.mlp_in, &block.down_in})
      any = any || inputs->whole();
  }
  if (!any) no("the method leaves all activations as they are");
  return blocks;
}

std::optional<SavedInputs> SimulatedActivations::saved_inputs() const {
  constexpr int kBits = 8, kMiddle = 1 << (kBits - 1);
  const bool experts = std::any_of(architecture_.blocks.begin(), architecture_.blocks.end(),
                                   [](const auto& block) { return block.experts; });
  const bool plain = !is_rotated(plan_.population) && plan_.channels == Channels::alike && plan_.prefix.empty();
  if (!plain || experts || architecture_.latent) return std::nullopt;
  SavedInputs saved{{.bits = kBits, .symmetric = !plan_.asymmetric}};
  std::optional<bool> dynamic;
  for (const SiteKind& kind : site_kinds()) {
    std::vector<ActivationScale>& scales = saved.scales.emplace_back();
    for (int layer = 0; layer < architecture_.n_layers; ++layer) {
      ActivationScale& scale = scales.emplace_back();
      if (!has_site(architecture_, kind.site, layer)) continue;
      const SiteQuantizer& site = quantizers_[static_cast<size_t>(kind.site)][static_cast<size_t>(layer)];
      const bool by_token = site.choice.clip == Clip::dynamic;
      if (site.choice.clip == Clip::none || site.choice.bits != kBits || dynamic.value_or(by_token) != by_token)
        return std::nullopt;
      dynamic = by_token;
      // There q is from -128 on.
      scale = {site.quantizer.scale,
               plan_.asymmetric && !by_token ? static_cast<int>(site.quantizer.zero) - kMiddle : 0};
    }
  }
  if (!dynamic) return std::nullopt;
  saved.format.dynamic = *dynamic;
  saved.format.strategy = *dynamic ? "token" : "tensor";
  if (*dynamic) saved.scales.clear();
  return saved;
}

/// Puts templates in the place of what attention and MLP read at spike tokens.
void SimulatedActivations::attach_templates(Hooks& hooks, const std::shared_ptr<Pass>& pass) const {
  for (const SiteKind& kind : site_kinds())
    for (int layer = 0; layer < architecture_.n_layers; ++layer) {
      const bool any = std::any_of(templates_.sets.begin(), templates_.sets.end(), [&](const TemplateSet& set) {
        return !set.at(kind.site, layer, templates_.d_model).empty();
      });
      if (!any) continue;
      hooks.intervene(HookPoint{kind.point, layer}.name(), [this, pass, site = kind.site, layer](const Activation& at) {
        for (int64_t row = 0; row < at.values.rows(); ++row) {
          const int set = pass->set[static_cast<size_t>(at.first_row + row)];
          if (set == kOrdinary) continue;
          const auto values = templates_.sets[static_cast<size_t>(set)].at(site, layer, templates_.d_model);
          std::copy(values.begin(), values.end(), at.values.row(row));
        }
      });
    }
}

void SimulatedActivations::attach_spikes(Hooks& hooks, const std::shared_ptr<Pass>& pass) const {
  for (size_t i = 0; i < templates_.sets.size(); ++i) {
    const TemplateSet& set = templates_.sets[i];
    const SpikeCourse& course = set.course;
    const auto index = static_cast<int>(i);
    hooks.intervene(HookPoint{Point::mlp_post, course.birth}.name(), [this, pass, index](const Activation& at) {
      const SpikeCourse& born = templates_.sets[static_cast<size_t>(index)].course;
      for (int64_t row = 0; row < at.values.rows(); ++row) {
        int& of = pass->set[static_cast<size_t>(at.first_row + row)];
        const bool lives = of != kOrdinary && templates_.sets[static_cast<size_t>(of)].course.last >= born.birth;
        if (!lives && largest_magnitude(at.values.row(row), at.values.row_size()) > born.threshold) of = index;
      }
    });
    for (int layer = course.birth; layer <= course.last; ++layer)
      if (plan_.spikes != Spikes::kept && set.silences(layer))
        hooks.intervene(HookPoint{mlp_update_point(architecture_), layer}.name(), [pass, index](const Activation& at) {
          for (int64_t row = 0; row < at.values.rows(); ++row)
            if (pass->set[static_cast<size_t>(at.first_row + row)] == index)
              std::fill_n(at.values.row(row), at.values.row_size(), 0.0f);
        });
    if (plan_.spikes == Spikes::replaced) attach_end(hooks, pass, i);
  }
  if (plan_.spikes == Spikes::replaced && plan_.quantize_templates) attach_templates(hooks, pass);
  if (plan_.keys != SpikeKeys::kept) attach_keys(hooks, pass);
}

/// Takes keys and values of spike tokens from attention while their spikes live, and gives it k' and v'.
void SimulatedActivations::attach_keys(Hooks& hooks, const std::shared_ptr<Pass>& pass) const {
  for (int layer = 0; layer < architecture_.n_layers; ++layer) {
    const auto lives = [layer](const SpikeCourse& course) { return course.birth < layer && layer <= course.last; };
    int64_t sets = 0;
    for (const TemplateSet& set : templates_.sets) sets += lives(set.course);
    if (sets == 0) continue;
    hooks.bias_attention(layer, [this, pass, lives, layer, sets] {
      AttentionBias bias;
      for (size_t token = 0; token < pass->set.size(); ++token)
        if (const int set = pass->set[token];
            set != kOrdinary && lives(templates_.sets[static_cast<size_t>(set)].course))
          bias.hidden.push_back(static_cast<int64_t>(token));
      if (plan_.keys != SpikeKeys::biased) return bias;
      bias.rows = sets;
      bias.keys = keys_[static_cast<size_t>(layer)];
      bias.values = values_[static_cast<size_t>(layer)];
      return bias;
    });
  }
}

/// What makes up at the end of a course for what was not written: F in the final norm's place, or R in the residual
/// stream.
void SimulatedActivations::attach_end(Hooks& hooks, const std::shared_ptr<Pass>& pass, size_t set) const {
  const TemplateSet& of = templates_.sets[set];
  const bool final_norm = !of.final_out.empty() && !plan_.end_with_residual;
  const HookPoint point =
      final_norm ? HookPoint{Point::ln_final_out, -1} : HookPoint{Point::resid_post, of.course.last};
  hooks.intervene(point.name(), [pass, &of, final_norm, index = static_cast<int>(set)](const Activation& at) {
    const std::vector<float>& values = final_norm ? of.final_out : of.residual;
    for (int64_t row = 0; row < at.values.rows(); ++row) {
      if (pass->set[static_cast<size_t>(at.first_row + row)] != index) continue;
      float* const to = at.values.row(row);
      for (size_t i = 0; i < values.size(); ++i) to[i] = values[i] + (final_norm ? 0.0f : to[i]);
    }
  });
}

EvaluationPass pass_with(const SimulatedActivations* activations, bool int8) {
  using RoundedBy = SimulatedActivations::RoundedBy;
  if (!activations) return {};
  EvaluationPass pass;
  pass.prefix = activations->prefix();
  if (int8) pass.int8 = activations->int8_inputs();
  pass.attach = [activations, rounded_by = int8 ? RoundedBy::products : RoundedBy::hooks](
                    Hooks& hooks, const TokenBatch& batch) { activations->attach(hooks, batch, rounded_by); };
  return pass;
}

}  // namespace spikescope
