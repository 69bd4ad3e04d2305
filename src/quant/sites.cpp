#include "quant/sites.h"

#include "base/fail.h"

namespace spikescope {

namespace {

// Indexed by Site.
constexpr std::array kKinds = {
    SiteKind{Site::attn_in, "attn_in", Point::ln1_out},
    SiteKind{Site::o_in, "o_in", Point::z},
    SiteKind{Site::mlp_in, "mlp_in", Point::ln2_out},
    SiteKind{Site::down_in, "down_in", Point::mlp_post},
};
static_assert(kKinds.size() == kSites);

}  // namespace

std::span<const SiteKind> site_kinds() { return kKinds; }

bool has_site(const Architecture& architecture, Site site, int layer) {
  return has_point(architecture, {kKinds[static_cast<size_t>(site)].point, layer});
}

int64_t site_width(const Architecture& a, Site site) {
  // By Site.
  const int64_t widths[kSites] = {a.d_model, a.z_size(), a.d_model, a.mlp_width};
  bool any = false;
  for (int layer = 0; layer < a.n_layers; ++layer) any = any || has_site(a, site, layer);
  return any ? widths[static_cast<size_t>(site)] : 0;
}

Point mlp_update_point(const Architecture& architecture) {
  return architecture.layer_scale         ? Point::mlp_scaled
         : architecture.norms_of_branch() ? Point::ln2_post_out
                                          : Point::mlp_out;
}

void require_sites(const Architecture& a) {
  if (!a.head || !a.causal || a.pool != Pool::none)
    fail_usage("quantized activations are judged by the loss of the next token, and {} models {}", a.family,
               a.patches   ? "read images"
               : !a.causal ? "are encoders, which predict none"
                           : "have no head that predicts it");
  if (!a.norms_before())
    fail_usage(
        "in {} models attention and MLP read the residual stream without a norm in between: quantizing what they "
        "read is not simulated",
        a.family);
}

}  // namespace spikescope
