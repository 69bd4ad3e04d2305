#include "hooks/hook_point.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/fail.h"
#include "base/nearest.h"

namespace spikescope {
namespace {

// Indexed by Point: the order is that of the enumeration.
constexpr std::array kKinds = {
    PointKind{Point::embed, "embed", false, PointShape::model},
    PointKind{Point::resid_pre, "resid_pre", true, PointShape::model},
    PointKind{Point::ln1_out, "ln1.out", true, PointShape::model},
    PointKind{Point::q, "attn.q", true, PointShape::query_heads},
    PointKind{Point::k, "attn.k", true, PointShape::kv_heads},
    PointKind{Point::v, "attn.v", true, PointShape::values},
    PointKind{Point::q_normed, "attn.q_normed", true, PointShape::query_heads},
    PointKind{Point::k_normed, "attn.k_normed", true, PointShape::kv_heads},
    PointKind{Point::rot_q, "attn.rot_q", true, PointShape::query_heads},
    PointKind{Point::rot_k, "attn.rot_k", true, PointShape::kv_heads},
    PointKind{Point::scores, "attn.scores", true, PointShape::square},
    PointKind{Point::pattern, "attn.pattern", true, PointShape::square},
    PointKind{Point::z, "attn.z", true, PointShape::mixed},
    PointKind{Point::attn_out, "attn_out", true, PointShape::model},
    PointKind{Point::ln1_post_out, "ln1_post.out", true, PointShape::model},
    PointKind{Point::attn_scaled, "attn_scaled", true, PointShape::model},
    PointKind{Point::resid_mid, "resid_mid", true, PointShape::model},
    PointKind{Point::ln2_out, "ln2.out", true, PointShape::model},
    PointKind{Point::router_logits, "mlp.router_logits", true, PointShape::experts},
    PointKind{Point::router_weights, "mlp.router_weights", true, PointShape::chosen},
    PointKind{Point::router_indices, "mlp.router_indices", true, PointShape::chosen},
    PointKind{Point::mlp_pre, "mlp.pre", true, PointShape::width},
    PointKind{Point::mlp_post, "mlp.post", true, PointShape::width},
    PointKind{Point::mlp_out, "mlp_out", true, PointShape::model},
    PointKind{Point::ln2_post_out, "ln2_post.out", true, PointShape::model},
    PointKind{Point::mlp_scaled, "mlp_scaled", true, PointShape::model},
    PointKind{Point::resid_post, "resid_post", true, PointShape::model},
    PointKind{Point::ln_final_out, "ln_final.out", false, PointShape::model},
    PointKind{Point::logits, "logits", false, PointShape::vocabulary},
    PointKind{Point::pooled, "pooled", false, PointShape::pooled},
    PointKind{Point::embeds, "embeds", false, PointShape::projected},
    PointKind{Point::cls_logits, "cls_logits", false, PointShape::labels},
    PointKind{Point::distillation_logits, "distillation_logits", false, PointShape::labels},
    PointKind{Point::class_logits, "logits", false, PointShape::labels},  // no model has both
};
static_assert(kKinds.size() == static_cast<size_t>(Point::class_logits) + 1);

constexpr std::string_view kBlocks = "blocks.";

}  // namespace

std::span<const PointKind> point_kinds() { return kKinds; }

std::string HookPoint::name() const {
  if (!kind().per_block) return std::string(kind().name);
  return fmt::format("{}{}.{}", kBlocks, layer, kind().name);
}

std::string HookPoint::dataset() const {
  std::string path = "/" + name();
  std::replace(path.begin(), path.end(), '.', '/');
  return path;
}

HookPoint parse_hook_point(std::string_view name) {
  std::string_view rest = name;
  int layer = -1;
  if (rest.starts_with(kBlocks)) {
    rest.remove_prefix(kBlocks.size());
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
    const size_t digits = static_cast<size_t>(end - rest.data());
    if (error != std::errc() || layer < 0 || digits >= rest.size() || rest[digits] != '.')
      fail_usage("hook point '{}': expected blocks.<layer>.<point>, e.g. blocks.3.resid_post", name);
    rest.remove_prefix(digits + 1);
  }
  for (const PointKind& kind : kKinds)
    if (kind.name == rest && kind.per_block == (layer >= 0)) return {kind.point, layer};

  std::vector<std::string> names;
  for (const PointKind& kind : kKinds)
    names.push_back(HookPoint{kind.point, kind.per_block ? std::max(layer, 0) : -1}.name());
  const std::string nearest = nearest_name(name, names);
  if (nearest.empty()) fail_usage("there is no hook point '{}'; 'spikescope inspect MODEL --points' lists them", name);
  fail_usage("there is no hook point '{}'; did you mean '{}'?", name, nearest);
}

bool glob_matches(std::string_view glob, std::string_view name) {
  // Backtracks to the last '*' only, so the time is at most the product of the lengths.
  size_t g = 0, n = 0, star = std::string_view::npos, star_name = 0;
  while (n < name.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      star_name = n;
      continue;
    }
    bool matched = false;
    size_t next = g + 1;
    if (g < glob.size() && glob[g] == '[') {
      const size_t close = glob.find(']', g + 2);
      if (close != std::string_view::npos) {
        for (size_t i = g + 1; i < close; ++i) {
          if (i + 2 < close && glob[i + 1] == '-') {
            matched |= glob[i] <= name[n] && name[n] <= glob[i + 2];
            i += 2;
          } else {
            matched |= glob[i] == name[n];
          }
        }
        next = close + 1;
      }
    } else if (g < glob.size()) {
      matched = glob[g] == '?' || glob[g] == name[n];
    }
    if (matched) {
      g = next;
      ++n;
    } else if (star != std::string_view::npos) {
      g = star + 1;
      n = ++star_name;
    } else {
      return false;
    }
  }
  while (g < glob.size() && glob[g] == '*') ++g;
  return g == glob.size();
}

}  // namespace spikescope
