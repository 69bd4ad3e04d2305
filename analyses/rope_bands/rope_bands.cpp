#include "analyses/rope_bands/rope_bands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "analyses/labels.h"
#include "analyses/layer_groups.h"
#include "analyses/rope_bands/block_bands.h"
#include "analyses/templates.h"
#include "analyses/verdict.h"
#include "io/hdf5.h"
#include "model/rope.h"
#include "model/weights.h"
#include "stats/jackknife.h"
#include "stats/moments.h"
#include "stats/quantile.h"

namespace spikescope {
namespace {

/// Longest distance looked at, of whatever prompts: so results of different dumps compare.
constexpr int64_t kDistance = 512;
/// The claim holds where the zone has at least this share of the amplitude, and the spread over distance is at most
/// this part of that of the mean ordinary key.
constexpr double kMostOfIt = 0.5, kSteady = 0.5;

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

/// Mean of what is defined.
template <class Rows, class Value>
double mean_over(const Rows& rows, Value value) {
  Moments mean;
  for (const auto& row : rows)
    if (const double one = value(row); !std::isnan(one)) mean.add(one);
  return mean.mean();
}

double of_stable(const Turning& turning, const std::vector<double>& energies) {
  double sum = 0.0;
  for (int64_t i = 0; i < turning.pairs(); ++i)
    if (turning.stable(i)) sum += energies[static_cast<size_t>(i)];
  return sum;
}

struct HeadKey {
  const char* name;
  double (*value)(const HeadBands& head);
};
constexpr HeadKey kHeadKeys[] = {
    {"coherence_stable", [](const HeadBands& head) { return head.of_template.coherence_stable; }},
    {"coherence_unstable", [](const HeadBands& head) { return head.of_template.coherence_unstable; }},
    {"zone_share", [](const HeadBands& head) { return head.of_template.zone_share; }},
    {"zone_share_semantic", [](const HeadBands& head) { return head.of_semantic.zone_share; }},
    {"zone_pairs", [](const HeadBands& head) { return head.of_template.zone_pairs; }},
    {"sigma_template", [](const HeadBands& head) { return head.of_template.sigma; }},
    {"sigma_semantic", [](const HeadBands& head) { return head.of_semantic.sigma; }},
    {"sigma_equal_length", [](const HeadBands& head) { return head.of_template.sigma * head.length; }},
    {"logit_template", [](const HeadBands& head) { return head.of_template.logit.front(); }},
    {"logit_template_mean", [](const HeadBands& head) { return head.of_template.logit_mean; }},
    {"logit_template_unturned", [](const HeadBands& head) { return head.of_template.logit_unturned; }},
    {"logit_semantic", [](const HeadBands& head) { return head.of_semantic.logit.front(); }},
    {"logit_semantic_mean", [](const HeadBands& head) { return head.of_semantic.logit_mean; }},
    {"logit_semantic_unturned", [](const HeadBands& head) { return head.of_semantic.logit_unturned; }},
};

struct KvKey {
  const char* name;
  double (*value)(const Turning& turning, const KeyEnergies& kv);
};
constexpr KvKey kKvKeys[] = {
    {"stable_energy_template",
     [](const Turning& turning, const KeyEnergies& kv) { return of_stable(turning, kv.of_template); }},
    {"stable_energy_semantic",
     [](const Turning& turning, const KeyEnergies& kv) { return of_stable(turning, kv.of_semantic); }},
    {"still_energy_template", [](const Turning&, const KeyEnergies& kv) { return kv.still_template; }},
    {"still_energy_semantic", [](const Turning&, const KeyEnergies& kv) { return kv.still_semantic; }},
};
constexpr const char* kZoneLogitShare = "zone_logit_share";

double median_zone_logit_share(const BlockBands& block) {
  std::vector<double> shares;
  for (const HeadBands& head : block.heads)
    if (const double share = head.of_template.zone_logit_share; !std::isnan(share)) shares.push_back(share);
  return lower_median(std::move(shares));
}

/// A number of the block, with its jackknife error over groups of windows.
template <class Value>
void add_with_error(Json& row, const std::string& key, const BlockBandsWithError& bands, Value value) {
  std::vector<double> left_out;
  for (const BlockBands& block : bands.left_out) left_out.push_back(value(block));
  row[key] = number_or_null(value(bands.all));
  row[key + "_se"] = number_or_null(jackknife_error(left_out));
}

void add_layer(Json& row, const Turning& turning, const BlockBandsWithError& bands) {
  int64_t stable = 0;
  for (int64_t i = 0; i < turning.pairs(); ++i) stable += turning.stable(i);
  row["dmax"] = turning.dmax();
  row["pairs"] = turning.pairs();
  row["stable_pairs"] = stable;
  for (const KvKey& key : kKvKeys)
    add_with_error(row, key.name, bands, [&](const BlockBands& block) {
      return mean_over(block.kv_heads, [&](const KeyEnergies& kv) { return key.value(turning, kv); });
    });
  for (const HeadKey& key : kHeadKeys)
    add_with_error(row, key.name, bands, [&](const BlockBands& block) { return mean_over(block.heads, key.value); });
  add_with_error(row, kZoneLogitShare, bands, median_zone_logit_share);
  for (size_t head = 0; head < bands.all.heads.size(); ++head) {
    Json one;
    for (const HeadKey& key : kHeadKeys)
      add_with_error(one, key.name, bands, [&](const BlockBands& block) { return key.value(block.heads[head]); });
    add_with_error(one, kZoneLogitShare, bands,
                   [&](const BlockBands& block) { return block.heads[head].of_template.zone_logit_share; });
    row["heads"].push_back(std::move(one));
  }
}

/// The same keys of a block whose queries and keys do not turn.
void add_unturned_layer(Json& row) {
  for (const char* key : {"dmax", "pairs", "stable_pairs"}) row[key] = nullptr;
  const auto add_null = [&](const std::string& key) { row[key] = row[key + "_se"] = nullptr; };
  for (const KvKey& key : kKvKeys) add_null(key.name);
  for (const HeadKey& key : kHeadKeys) add_null(key.name);
  add_null(kZoneLogitShare);
}

/// What each pair and each distance has, for the .h5: written block by block, NaN where a block has fewer pairs, a
/// shorter range or no RoPE.
class BandArrays {
 public:
  BandArrays(H5File& file, const Architecture& a, int64_t pairs, int64_t distances)
      : file_(file), heads_(a.n_heads), kv_heads_(a.n_kv_heads), pairs_(pairs), distances_(distances) {
    const int64_t blocks = a.n_layers;
    for (const char* key : {"template", "semantic"}) {
      for (const char* what : {"amplitude", "phase", "zone"}) declare(what, key, {blocks, heads_, pairs_});
      declare("energy", key, {blocks, kv_heads_, pairs_});
      declare("logit", key, {blocks, heads_, distances_});
    }
  }
  /// Null: no RoPE.
  void write(int64_t block, const Turning* turning, const BlockBands* bands) {
    for (int64_t i = 0; i < pairs_; ++i)
      frequencies_.push_back(turning && i < turning->pairs() ? turning->frequencies()[static_cast<size_t>(i)]
                                                             : kUndefined);
    const auto heads = [&](const char* what, const char* key, int64_t width, auto values) {
      std::vector<float> rows;
      for (int64_t head = 0; head < heads_; ++head)
        append(rows, width, bands ? values(bands->heads[static_cast<size_t>(head)]) : std::vector<double>());
      file_.write_rows(name(what, key), block, 1, rows);
    };
    const auto of_key = [&](const char* key, KeyBands HeadBands::*of, std::vector<double> KeyEnergies::*energies) {
      heads("amplitude", key, pairs_, [&](const HeadBands& head) { return (head.*of).amplitude; });
      heads("phase", key, pairs_, [&](const HeadBands& head) { return (head.*of).phase; });
      heads("zone", key, pairs_,
            [&](const HeadBands& head) { return std::vector<double>((head.*of).zone.begin(), (head.*of).zone.end()); });
      heads("logit", key, distances_, [&](const HeadBands& head) { return (head.*of).logit; });
      std::vector<float> rows;
      for (int64_t kv = 0; kv < kv_heads_; ++kv)
        append(rows, pairs_, bands ? bands->kv_heads[static_cast<size_t>(kv)].*energies : std::vector<double>());
      file_.write_rows(name("energy", key), block, 1, rows);
    };
    of_key("template", &HeadBands::of_template, &KeyEnergies::of_template);
    of_key("semantic", &HeadBands::of_semantic, &KeyEnergies::of_semantic);
  }
  void finish(int64_t blocks) {
    const std::vector<int64_t> shape = {blocks, pairs_};
    file_.write<double>("/frequencies", shape, std::span<const double>(frequencies_));
  }

 private:
  static std::string name(const char* what, const char* key) { return fmt::format("/{}_{}", what, key); }
  void declare(const char* what, const char* key, const std::vector<int64_t>& shape) {
    file_.declare(name(what, key), shape);
  }
  static void append(std::vector<float>& rows, int64_t width, const std::vector<double>& values) {
    rows.insert(rows.end(), values.begin(), values.end());
    rows.insert(rows.end(), static_cast<size_t>(width) - values.size(), std::numeric_limits<float>::quiet_NaN());
  }
  H5File& file_;
  int64_t heads_, kv_heads_, pairs_, distances_;
  std::vector<double> frequencies_;
};

/// The rotary positions of a block; null without.
const Rope* rope_of(const Architecture& a, int64_t block) {
  const int rope = a.blocks[static_cast<size_t>(block)].rope;
  return rope >= 0 && !a.ropes.empty() ? &a.ropes[static_cast<size_t>(rope)] : nullptr;
}

/// Why this model has no sink logit that turns with distance. Empty when it has.
std::string why_no_bands(const Architecture& a) {
  bool any = false;
  for (int64_t block = 0; block < a.n_layers; ++block) any |= rope_of(a, block) != nullptr;
  if (!any)
    return fmt::format("this model has no rotary positions (RoPE){}", !a.alibi_slopes.empty()   ? " but ALiBi"
                                                                      : a.learned_positions > 0 ? " but learned ones"
                                                                                                : "");
  if (!a.causal)
    return "this model is an encoder: a query stands before or behind the sink, so that one distance is two angles";
  return {};
}

Verdict judge(const Json& results) {
  Verdict verdict;
  verdict.claim = "the sink logit sits in slow, coherent RoPE pairs and so does not depend on distance";
  std::vector<std::string> found;
  int held = 0, tested = 0;
  for (const LayerGroup& group : layer_groups(results)) {
    const double zone = group_mean(results, group, "zone_share"), sigma = group_mean(results, group, "sigma_template"),
                 equal = group_mean(results, group, "sigma_equal_length"),
                 semantic = group_mean(results, group, "sigma_semantic");
    if (!group.plateau || std::isnan(zone) || std::isnan(semantic)) continue;
    tested += 2;
    held += (zone >= kMostOfIt) + (equal <= kSteady * semantic);
    found.push_back(
        fmt::format("{} of the amplitude is in slow, coherent pairs and over distance the sink logit varies by {:.2g} "
                    "({:.2g} with a key as long as the mean ordinary one, whose own varies by {:.2g}) in {}",
                    percent(zone), sigma, equal, semantic, layer_range(group.first, group.last)));
  }
  if (found.empty()) {
    verdict.why = "no plateau of spikes has rotary positions and ordinary tokens beside it";
    return verdict;
  }
  verdict.holds = held == tested ? Verdict::Holds::confirmed : held > 0 ? Verdict::Holds::partly : Verdict::Holds::no;
  verdict.why = join_words(found);
  return verdict;
}

}  // namespace

Needs rope_bands_needs() { return {{"blocks.0.resid_pre", "blocks.*.resid_post"}, false, false}; }

Json run_rope_bands(const AnalysisInput& input, H5File& arrays) {
  const DumpReader& dump = input.dump;
  if (const std::string why = why_no_projections(input); !why.empty()) return {{"applicable", false}, {"why", why}};
  const ModelWeights& weights = input.weights();
  const Architecture& a = weights.architecture();
  if (const std::string why = why_no_bands(a); !why.empty()) return {{"applicable", false}, {"why", why}};

  const auto progress = [&](double fraction) {
    if (input.progress) input.progress(fraction);
  };
  const int64_t dmax = a.context_length > 0 ? std::min(kDistance, a.context_length - 1) : kDistance;
  // LongRoPE's frequencies follow the longest prompt: those of the pass that made the dump.
  int64_t longest = 0, pairs = 0;
  for (int64_t prompt = 0; prompt < dump.tokens().n_prompts(); ++prompt)
    longest = std::max(longest, dump.tokens().length(prompt));
  for (const Rope& rope : a.ropes) pairs = std::max(pairs, static_cast<int64_t>(rope.frequencies.size()));

  const Templates templates(input, [&](double fraction) { progress(0.3 * fraction); });
  BandArrays band_arrays(arrays, a, pairs, dmax + 1);
  Json layers = Json::array();
  for (int64_t l = 0; l < a.n_layers; ++l) {
    const int64_t window = a.blocks[static_cast<size_t>(l)].window;
    Json row = {{"layer", l},
                {"template", templates.source(l)},
                {"window", window > 0 ? Json(window) : Json(nullptr)},
                {"heads", Json::array()}};
    if (const Rope* rope = rope_of(a, l)) {
      const Turning turning(*rope, rope_frequencies(*rope, longest), window > 0 ? std::min(dmax, window - 1) : dmax);
      const BlockBandsWithError bands =
          measure_block_bands(weights, static_cast<int>(l), turning, templates.ordinary(l), templates.at(l));
      add_layer(row, turning, bands);
      band_arrays.write(l, &turning, &bands.all);
    } else {
      add_unturned_layer(row);
      band_arrays.write(l, nullptr, nullptr);
    }
    layers.push_back(std::move(row));
    progress(0.3 + 0.7 * static_cast<double>(l + 1) / static_cast<double>(a.n_layers));
  }
  band_arrays.finish(a.n_layers);

  Json json = templates.json();
  json["dmax"] = dmax;
  json["layers"] = std::move(layers);
  json["verdict"] = to_json(judge(json));
  return json;
}

}  // namespace spikescope
