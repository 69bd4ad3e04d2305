#include "analyses/alignment/alignment.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "analyses/alignment/block_alignment.h"
#include "analyses/labels.h"
#include "analyses/layer_groups.h"
#include "analyses/residual_scan.h"
#include "analyses/spike_sets.h"
#include "analyses/spikes/tracks.h"
#include "analyses/templates.h"
#include "analyses/token_vectors.h"
#include "analyses/verdict.h"
#include "base/error.h"
#include "io/hdf5.h"
#include "stats/jackknife.h"
#include "stats/moments.h"

namespace spikescope {
namespace {

/// Queries point at the template's key where the cosine is positive for this share of them and the key stands out by so
/// many standard deviations; values are drained where they have at most this share of the others' length.
constexpr double kMostQueries = 0.95, kLeastZ = 2.0, kDrained = 0.5;

/// The keys of a KV head, from the sums of all windows but one (-1: of all).
struct KvRow {
  double key_norm_ratio, contrast, v_gain_template, v_gain_semantic, drain, drain_norm_factor, drain_gain_factor;
};
KvRow kv_row(const BlockAlignment& block, size_t kv, int64_t left_out) {
  KvSums sums;
  double tokens = 0.0, norms = 0.0;
  for (size_t window = 0; window < block.kv_windows.size(); ++window) {
    if (static_cast<int64_t>(window) == left_out) continue;
    const KvSums& one = block.kv_windows[window][kv];
    sums.key_norm += one.key_norm;
    sums.key_contrast += one.key_contrast;
    sums.value_norm += one.value_norm;
    sums.value_gain += one.value_gain;
    tokens += static_cast<double>(block.window_tokens[window]);
    norms += block.window_norms[window];
  }
  const KvTemplate& star = block.kv_heads[kv];
  KvRow row;
  row.key_norm_ratio = star.key_norm / (sums.key_norm / tokens);
  row.contrast = star.key_contrast / (sums.key_contrast / tokens);
  row.v_gain_template = star.value_gain / star.random_gain;
  row.v_gain_semantic = sums.value_gain / tokens / star.random_gain;
  row.drain = star.value_norm / (sums.value_norm / tokens);
  // A norm between input and value leaves nothing of the input's length.
  row.drain_norm_factor =
      block.linear ? block.template_norm / (norms / tokens) : std::numeric_limits<double>::quiet_NaN();
  row.drain_gain_factor = row.drain / row.drain_norm_factor;
  return row;
}

struct KvKey {
  const char* name;
  double KvRow::*value;
};
constexpr KvKey kKvKeys[] = {{"key_norm_ratio", &KvRow::key_norm_ratio},
                             {"contrast", &KvRow::contrast},
                             {"v_gain_template", &KvRow::v_gain_template},
                             {"v_gain_semantic", &KvRow::v_gain_semantic},
                             {"drain", &KvRow::drain},
                             {"drain_norm_factor", &KvRow::drain_norm_factor},
                             {"drain_gain_factor", &KvRow::drain_gain_factor}};

struct HeadKey {
  const char* name;
  ByWindow HeadAlignment::*values;
};
constexpr HeadKey kHeadKeys[] = {{"cos_template", &HeadAlignment::cos_template},
                                 {"cos_other", &HeadAlignment::cos_other},
                                 {"positive", &HeadAlignment::positive},
                                 {"logit_gap", &HeadAlignment::logit_gap}};

Moments moments_of(const ByWindow& values) {
  Moments moments;
  for (const double value : values)
    if (!std::isnan(value)) moments.add(value);
  return moments;
}

void add_mean(Json& json, const std::string& key, const Moments& windows) {
  json[key] = number_or_null(windows.mean());
  json[key + "_se"] = number_or_null(windows.standard_error());
}

/// Means over heads, with the standard error over windows of such a mean.
void add_layer_means(Json& json, const BlockAlignment& block) {
  const size_t windows = block.window_tokens.size();
  for (const HeadKey& key : kHeadKeys) {
    ByWindow means(windows);
    for (size_t window = 0; window < windows; ++window) {
      Moments heads;
      for (const HeadAlignment& head : block.heads) heads.add((head.*key.values)[window]);
      means[window] = heads.mean();
    }
    add_mean(json, key.name, moments_of(means));
  }
  add_mean(json, "cos_input", moments_of(block.cos_input));
  /// Shares of logits summed over heads and windows (-1: of all).
  const auto spike_dim_share = [&](int64_t left_out) {
    double spike = 0.0, all = 0.0;
    for (const HeadAlignment& head : block.heads) {
      for (size_t window = 0; window < windows; ++window) {
        if (static_cast<int64_t>(window) == left_out) continue;
        spike += head.spike_logit[window];
        all += head.template_logit[window];
      }
    }
    return spike / all;
  };
  Moments z;
  for (const HeadAlignment& head : block.heads) z.add(head.z);
  std::vector<double> z_without, share_without;
  for (size_t window = 0; window < windows; ++window) {
    Moments heads;
    for (const HeadAlignment& head : block.heads) heads.add(head.z_without[window]);
    z_without.push_back(heads.mean());
    share_without.push_back(spike_dim_share(static_cast<int64_t>(window)));
  }
  json["z"] = number_or_null(z.mean());
  json["z_se"] = number_or_null(jackknife_error(z_without));
  json["spike_dim_share"] = number_or_null(spike_dim_share(-1));
  json["spike_dim_share_se"] = number_or_null(jackknife_error(share_without));
  for (const KvKey& key : kKvKeys) {
    const auto mean = [&](int64_t left_out) {
      Moments heads;
      for (size_t kv = 0; kv < block.kv_heads.size(); ++kv) heads.add(kv_row(block, kv, left_out).*key.value);
      return heads.mean();
    };
    std::vector<double> left_out;
    for (size_t window = 0; window < windows; ++window) left_out.push_back(mean(static_cast<int64_t>(window)));
    json[key.name] = number_or_null(mean(-1));
    json[std::string(key.name) + "_se"] = number_or_null(jackknife_error(left_out));
  }
}

Json heads_json(const BlockAlignment& block) {
  Json heads = Json::array();
  for (const HeadAlignment& head : block.heads) {
    Json row;
    for (const HeadKey& key : kHeadKeys) add_mean(row, key.name, moments_of(head.*key.values));
    row["z"] = number_or_null(head.z);
    row["z_se"] = number_or_null(jackknife_error(head.z_without));
    heads.push_back(std::move(row));
  }
  return heads;
}

Json kv_heads_json(const BlockAlignment& block) {
  Json heads = Json::array();
  for (size_t kv = 0; kv < block.kv_heads.size(); ++kv) {
    const KvRow values = kv_row(block, kv, -1);
    std::vector<KvRow> without;
    for (size_t window = 0; window < block.window_tokens.size(); ++window)
      without.push_back(kv_row(block, kv, static_cast<int64_t>(window)));
    Json row;
    for (const KvKey& key : kKvKeys) {
      std::vector<double> left_out;
      for (const KvRow& one : without) left_out.push_back(one.*key.value);
      row[key.name] = number_or_null(values.*key.value);
      row[std::string(key.name) + "_se"] = number_or_null(jackknife_error(left_out));
    }
    heads.push_back(std::move(row));
  }
  return heads;
}

/// What the logits of this model have besides, or an empty string.
std::string logits_note(const Architecture& a) {
  std::vector<std::string> besides;
  if (a.qk_norm != QkNorm::none) besides.push_back("QK-norm");
  if (!a.ropes.empty()) besides.push_back("rotary positions");
  if (!a.alibi_slopes.empty()) besides.push_back("ALiBi");
  if (a.attention_softcap > 0) besides.push_back("a soft cap");
  if (a.qkv_clip > 0) besides.push_back("a limit on q, k and v");
  return besides.empty() ? "" : "q, k and logits are taken before " + join_words(besides);
}

/// Why contrast, gains, the drain's factors and the spike dimension's share are null, or an empty string.
std::string gains_note(const Architecture& a) {
  return a.latent ? "latent attention makes keys and values of a normed latent: no matrix maps what the block reads to "
                    "them, so that gains, contrast, the drain's factors and the spike dimension's share are undefined"
                  : "";
}

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

struct Claim {
  const char* text;
  /// What of a plateau's means says so: 1 confirmed, 0 not; with words for it.
  std::pair<bool, std::string> (*holds)(const Json& results, const LayerGroup& group);
};

std::pair<bool, std::string> keys_hold(const Json& results, const LayerGroup& group) {
  const double positive = group_mean(results, group, "positive"), z = group_mean(results, group, "z");
  return {positive >= kMostQueries && z >= kLeastZ,
          fmt::format("{} of the queries have a positive cosine with the template's key (mean {:.2f}, with other keys "
                      "{:.2f}), and it stands out by {:.1f} standard deviations in {}",
                      percent(positive), group_mean(results, group, "cos_template"),
                      group_mean(results, group, "cos_other"), z, layer_range(group.first, group.last))};
}

std::pair<bool, std::string> values_hold(const Json& results, const LayerGroup& group) {
  const double drain = group_mean(results, group, "drain");
  return {drain <= kDrained, fmt::format("the template's value has {} of the other values' length in {}",
                                         percent(drain), layer_range(group.first, group.last))};
}

Verdict judge(const Json& results, const Claim& claim) {
  Verdict verdict;
  verdict.claim = claim.text;
  std::vector<std::string> found;
  size_t held = 0;
  for (const LayerGroup& group : layer_groups(results)) {
    if (!group.plateau || std::isnan(group_mean(results, group, "drain"))) continue;
    auto [holds, words] = claim.holds(results, group);
    held += holds;
    found.push_back(std::move(words));
  }
  if (found.empty()) {
    verdict.why = "no plateau of spikes has ordinary tokens beside it";
    return verdict;
  }
  verdict.holds = held == found.size() ? Verdict::Holds::confirmed
                  : held > 0           ? Verdict::Holds::partly
                                       : Verdict::Holds::no;
  verdict.why = join_words(found);
  return verdict;
}

}  // namespace

Needs alignment_needs() { return {{"blocks.0.resid_pre", "blocks.*.resid_post"}, false, false}; }

Json run_alignment(const AnalysisInput& input, H5File&) {
  const DumpReader& dump = input.dump;
  if (const std::string why = why_no_projections(input); !why.empty()) return {{"applicable", false}, {"why", why}};
  const ModelWeights& weights = input.weights();

  const auto progress = [&](double fraction) {
    if (input.progress) input.progress(fraction);
  };
  const Templates templates(input, [&](double fraction) { progress(0.3 * fraction); });
  Json layers = Json::array();
  for (int64_t l = 0; l < dump.n_layers(); ++l) {
    const std::vector<double> x_star = templates.at(l).all;
    const BlockAlignment block =
        measure_alignment(weights, static_cast<int>(l), templates.ordinary(l), x_star, templates.spike_dim(l));
    Json row = {{"layer", l}, {"template", templates.source(l)}};
    add_layer_means(row, block);
    row["heads"] = heads_json(block);
    row["kv_heads"] = kv_heads_json(block);
    layers.push_back(std::move(row));
    progress(0.3 + 0.7 * static_cast<double>(l + 1) / static_cast<double>(dump.n_layers()));
  }

  Json json = templates.json();
  json["logits_note"] = text_or_null(logits_note(weights.architecture()));
  json["gains_note"] = text_or_null(gains_note(weights.architecture()));
  json["layers"] = std::move(layers);
  json["verdict"] = to_json(judge(json, {"queries of ordinary tokens point at the template's key", keys_hold}));
  json["value_verdict"] = to_json(judge(json, {"the template's value is drained", values_hold}));
  return json;
}

}  // namespace spikescope
