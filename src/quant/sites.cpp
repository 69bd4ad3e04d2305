#include "quant/sites.h"

#include <algorithm>

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

constexpr std::array kLinear = {
    LinearRole{Role::w_q, Site::attn_in},    LinearRole{Role::w_k, Site::attn_in},
    LinearRole{Role::w_v, Site::attn_in},    LinearRole{Role::w_q_a, Site::attn_in},
    LinearRole{Role::w_kv_a, Site::attn_in}, LinearRole{Role::w_kv_b, std::nullopt},
    LinearRole{Role::w_o, Site::o_in},       LinearRole{Role::w_gate, Site::mlp_in},
    LinearRole{Role::w_up, Site::mlp_in},    LinearRole{Role::w_down, Site::down_in},
    LinearRole{Role::expert_gate, {}},       LinearRole{Role::expert_up, {}},
    LinearRole{Role::expert_down, {}},       LinearRole{Role::shared_gate, {}},
    LinearRole{Role::shared_up, {}},         LinearRole{Role::shared_down, {}},
};

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

const LinearRole* linear_role(Role role) {
  const auto found =
      std::find_if(kLinear.begin(), kLinear.end(), [&](const LinearRole& row) { return row.role == role; });
  return found == kLinear.end() ? nullptr : &*found;
}

std::optional<Site> site_read_by(const Architecture& architecture, const LinearRole& linear) {
  return linear.site == Site::mlp_in && architecture.shared_norm ? Site::attn_in : linear.site;
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
