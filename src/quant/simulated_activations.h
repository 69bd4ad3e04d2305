// Quantized activations, simulated: interventions on a pass (hooks/hooks.h) that round what the matrices read, and put
// templates in the place of spikes (InsertQuant, arXiv 2606.02288).
#pragma once

#include <memory>
#include <vector>

#include "hooks/hooks.h"
#include "model/batch.h"
#include "quant/activation_methods.h"
#include "quant/quantizer.h"

namespace spikescope {

class SimulatedActivations {
 public:
  /// Makes the quantizers of all sites. `templates` is of this model (check_templates_of) and has to live as long as
  /// this and all hooks that it was attached to; so has this. Throws UsageError for a clip that was not calibrated for
  /// the bits asked for or of smoothed values, and as require_sites(); Error for a site without samples or with a range
  /// that is not finite.
  SimulatedActivations(const Architecture& architecture, const SpikeTemplates& templates, ActivationPlan plan);

  /// Adds the interventions of one pass over the batch, which has a state of its own: which tokens are spike tokens is
  /// found in the pass itself, in the block where their spikes would be born. The batch is one of with_prefix(), with
  /// prefix().
  void attach(Hooks& hooks, const TokenBatch& batch) const;

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
  void attach_spikes(Hooks& hooks, const std::shared_ptr<Pass>& pass) const;
  void attach_templates(Hooks& hooks, const std::shared_ptr<Pass>& pass) const;
  void attach_end(Hooks& hooks, const std::shared_ptr<Pass>& pass, size_t set) const;
  void quantize(const SiteQuantizer& site, const Rotation* rotation, const TensorView& rows) const;

  const Architecture& architecture_;
  const SpikeTemplates& templates_;
  const ActivationPlan plan_;
  std::vector<std::vector<SiteQuantizer>> quantizers_;  // [sites][n_layers]
  std::vector<std::unique_ptr<Rotation>> rotations_;    // [sites], null: none
};

}  // namespace spikescope
