// Where activations are quantized: what the four groups of matrices of a block read.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "hooks/hook_point.h"
#include "model/architecture.h"
#include "model/roles.h"

namespace spikescope {

enum class Site : uint8_t {
  attn_in,  ///< read by W_Q, W_K, W_V
  o_in,     ///< read by W_O
  mlp_in,   ///< read by the MLP's gate and up matrices
  down_in,  ///< read by the MLP's last matrix
};
inline constexpr size_t kSites = 4;

/// One row of the table of sites.
struct SiteKind {
  Site site;
  std::string_view name;  ///< "attn_in"
  Point point;            ///< whose values these are
};
/// All sites, indexed by Site.
std::span<const SiteKind> site_kinds();

/// Whether block `layer` has the site: mixtures of experts have no down_in, parallel blocks with one norm no mlp_in.
bool has_site(const Architecture& architecture, Site site, int layer);
/// Values of a token at the site; 0: no block has it.
int64_t site_width(const Architecture& architecture, Site site);
/// A matrix of a block that is a layer of its own, and what it reads.
struct LinearRole {
  Role role;
  std::optional<Site> site;  ///< nothing: what cannot be observed
};
/// Null for weights that are none.
const LinearRole* linear_role(Role role);
/// The site that it reads in this architecture: with one norm for both, the MLP reads attn_in.
std::optional<Site> site_read_by(const Architecture& architecture, const LinearRole& linear);

/// What the MLP adds to the residual stream, after the post-norm and the factors that a family may have for it.
Point mlp_update_point(const Architecture& architecture);

/// Throws UsageError where quantized activations cannot be simulated: no language model (its loss judges them), or one
/// whose attention and MLP read the residual stream itself, which has to stay as it is.
void require_sites(const Architecture& architecture);

}  // namespace spikescope
