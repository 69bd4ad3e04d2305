// Quantized activations, simulated: interventions on a pass (hooks/hooks.h) that round what the matrices read, and put
// templates in the place of spikes (InsertQuant, arXiv 2606.02288).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "families/compressed_tensors.h"
#include "hooks/hooks.h"
#include "model/batch.h"
#include "model/int8_product.h"
#include "quant/activation_methods.h"
#include "quant/evaluation_pass.h"
#include "quant/quantizer.h"

namespace spikescope {

/// Grids of what the linear layers read, as a checkpoint of compressed-tensors says it.
struct SavedInputs {
  ActivationFormat format;
  std::vector<std::vector<ActivationScale>> scales = {};  ///< [sites][blocks]; empty: made as the values come
};

class SimulatedActivations {
 public:
  /// Makes the quantizers of all sites. `templates` is of this model (check_templates_of) and has to live as long as
  /// this and all hooks that it was attached to; so has this. Throws UsageError for a clip that was not calibrated for
  /// the bits asked for or of values in channels that are not alike, and as require_sites(); Error for a site without
  /// samples or with a range that is not finite, and for k' and v' of other sizes than the model's.
  SimulatedActivations(const Architecture& architecture, const SpikeTemplates& templates, ActivationPlan plan);

  /// Who rounds values: the interventions, or the products that read them (int8_inputs()).
  enum class RoundedBy : uint8_t { hooks, products };
  /// Adds the interventions of one pass over the batch, which has a state of its own: which tokens are spike tokens is
  /// found in the pass itself, in the block where their spikes would be born. The batch is one of with_prefix(), with
  /// prefix().
  void attach(Hooks& hooks, const TokenBatch& batch, RoundedBy rounded_by = RoundedBy::hooks) const;

  /// The same grids for products in whole numbers (RunOptions::int8), [blocks]. Throws UsageError for what such
  /// products cannot be: more than 8 bits, rotated values, smoothed channels, channels that are not rounded, a prefix,
  /// templates that are not rounded, ranges of each token that are asymmetric, experts, latent attention; and where
  /// nothing is rounded.
  std::vector<BlockInt8Inputs> int8_inputs() const;

  /// What a checkpoint can say of them: 8 bits at all sites, all static or all of each token, not rotated, channels
  /// alike and no prefix; else nothing. Nothing either for experts and latent attention, where layers read what is no
  /// site.
  std::optional<SavedInputs> saved_inputs() const;

  /// In which a site's values are rounded, and the weights that read them would be.
  const SiteBasis& basis(Site site, int layer) const {
    return bases_[static_cast<size_t>(site)][static_cast<size_t>(layer)];
  }

  /// Ids that have to stand in front of every prompt; empty: none.
  const std::vector<int64_t>& prefix() const { return plan_.prefix; }
  /// Of the channels of all sites that are quantized, the share left out for their outliers.
  double share_of_outliers() const;

 private:
  struct Pass;
  struct SiteQuantizer {
    SiteChoice choice;
    Quantizer quantizer;            ///< of static clips
    std::vector<float> scales;      ///< [width] of smoothed channels; empty: they are as they are
    std::vector<int64_t> outliers;  ///< channels that are not quantized
  };
  SiteQuantizer site_quantizer(const SiteKind& kind, int layer) const;
  void collect_keys();
  void attach_spikes(Hooks& hooks, const std::shared_ptr<Pass>& pass) const;
  void attach_templates(Hooks& hooks, const std::shared_ptr<Pass>& pass) const;
  void attach_keys(Hooks& hooks, const std::shared_ptr<Pass>& pass) const;
  void attach_end(Hooks& hooks, const std::shared_ptr<Pass>& pass, size_t set) const;
  void quantize(const SiteQuantizer& site, const SiteBasis& basis, const TensorView& rows) const;
  Int8Inputs int8_inputs(Site site, int layer) const;

  const Architecture& architecture_;
  const SpikeTemplates& templates_;
  const ActivationPlan plan_;
  std::vector<std::vector<SiteQuantizer>> quantizers_;  // [sites][n_layers]
  std::vector<std::unique_ptr<Rotation>> rotations_;    // [sites], null: none
  std::vector<std::vector<float>> keys_, values_;       // [n_layers] k' and v' of all sets that live there; or empty
  std::vector<std::vector<SiteBasis>> bases_;           // [sites][n_layers]
};

/// A pass with these activations (null: as they are) and their prefix: simulated, or with products in whole numbers.
EvaluationPass pass_with(const SimulatedActivations* activations, bool int8 = false);

}  // namespace spikescope
