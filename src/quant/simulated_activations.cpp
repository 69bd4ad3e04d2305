#include "quant/simulated_activations.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/fail.h"

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

}  // namespace

/// State of one pass: of each token the set whose spike it has, from the block of its birth on.
struct SimulatedActivations::Pass {
  std::vector<int> set;
};

SimulatedActivations::SimulatedActivations(const Architecture& architecture, const SpikeTemplates& templates,
                                           ActivationPlan plan)
    : architecture_(architecture), templates_(templates), plan_(std::move(plan)), quantizers_(kSites) {
  require_sites(architecture);
  rotations_.resize(kSites);
  if (plan_.rotated) rotations_ = site_rotations(architecture, templates);
  for (const SiteKind& kind : site_kinds()) {
    const auto site = static_cast<size_t>(kind.site);
    for (int layer = 0; layer < architecture.n_layers; ++layer) {
      SiteQuantizer& here = quantizers_[site].emplace_back();
      if (!has_site(architecture, kind.site, layer)) continue;
      here.choice = plan_.choices[site][static_cast<size_t>(layer)];
      const SiteRange& range = templates.range(plan_.population, kind.site, layer);
      const bool needs_range = here.choice.clip != Clip::none && here.choice.clip != Clip::dynamic;
      if (needs_range && !(range[RangeKey::rows] > 0))
        fail("{} of block {} has no samples in the calibration; calibrate with more text", kind.name, layer);
      try {
        here.quantizer = quantizer_of(here.choice, range, plan_.asymmetric);
      } catch (const UsageError&) {
        throw;
      } catch (const Error& error) {
        fail("{} of block {}: {}; the template file is damaged, make it anew", kind.name, layer, error.what());
      }
    }
  }
}

void SimulatedActivations::quantize(const SiteQuantizer& site, const Rotation* rotation, const TensorView& rows) const {
  if (rotation) rotation->apply(rows);
  if (site.choice.clip == Clip::dynamic)
    quantize_rows_dynamic(rows, site.choice.bits, plan_.asymmetric);
  else if (site.choice.clip != Clip::none)
    quantize_rows(rows, site.quantizer);
  if (rotation) rotation->undo(rows);
}

void SimulatedActivations::attach(Hooks& hooks, const TokenBatch& batch, RoundedBy rounded_by) const {
  const auto pass = std::make_shared<Pass>();
  pass->set.assign(batch.ids.size(), kOrdinary);
  if (plan_.spikes != Spikes::kept) attach_spikes(hooks, pass);  // before the quantizers: they see what is put in
  if (rounded_by == RoundedBy::products) return;
  for (const SiteKind& kind : site_kinds())
    for (int layer = 0; layer < architecture_.n_layers; ++layer) {
      const SiteQuantizer& site = quantizers_[static_cast<size_t>(kind.site)][static_cast<size_t>(layer)];
      if (site.choice.clip == Clip::none || !has_site(architecture_, kind.site, layer)) continue;
      hooks.intervene(HookPoint{kind.point, layer}.name(),
                      [this, &site, rotation = rotations_[static_cast<size_t>(kind.site)].get()](const Activation& at) {
                        quantize(site, rotation, at.values);
                      });
    }
  if (plan_.spikes == Spikes::replaced && !plan_.quantize_templates) attach_templates(hooks, pass);
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
  const int middle = 1 << (from.choice.bits - 1), most = middle - 1;
  inputs.kind = dynamic ? Int8Inputs::Scale::row : Int8Inputs::Scale::fixed;
  inputs.scale = from.quantizer.scale;
  const bool asymmetric = plan_.asymmetric;
  inputs.zero = asymmetric ? static_cast<int>(from.quantizer.zero) : middle;
  inputs.lowest = asymmetric ? static_cast<int>(from.quantizer.lowest) : middle - most;
  inputs.highest = asymmetric ? static_cast<int>(from.quantizer.highest) : middle + most;
  return inputs;
}

std::vector<BlockInt8Inputs> SimulatedActivations::int8_inputs() const {
  const auto no = [](std::string_view why) { fail_usage("products of whole numbers: {}", why); };
  if (plan_.rotated) no("rotated values are turned back before the matrices read them, which are not rotated here");
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
  if (plan_.rotated || experts || architecture_.latent) return std::nullopt;
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
      if (set.silences(layer))
        hooks.intervene(HookPoint{mlp_update_point(architecture_), layer}.name(), [pass, index](const Activation& at) {
          for (int64_t row = 0; row < at.values.rows(); ++row)
            if (pass->set[static_cast<size_t>(at.first_row + row)] == index)
              std::fill_n(at.values.row(row), at.values.row_size(), 0.0f);
        });
    if (plan_.spikes == Spikes::replaced) attach_end(hooks, pass, i);
  }
  if (plan_.spikes == Spikes::replaced && plan_.quantize_templates) attach_templates(hooks, pass);
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

}  // namespace spikescope
