#include "analyses/convergence/convergence.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "analyses/convergence/constancy.h"
#include "analyses/labels.h"
#include "analyses/layer_groups.h"
#include "analyses/residual_scan.h"
#include "analyses/spike_sets.h"
#include "analyses/templates.h"
#include "analyses/token_vectors.h"
#include "analyses/verdict.h"
#include "io/hdf5.h"
#include "stats/jackknife.h"

namespace spikescope {
namespace {

/// Spike tokens are one vector where their mean cosine is at least this and their deviation at most this share of the
/// ordinary tokens'.
constexpr double kOneVector = 0.95, kLeastGain = 0.5;

/// Tokens that satisfy a condition on their position.
template <class Condition>
TokensByPrompt tokens_where(const TokensByPrompt& tokens, const Condition& condition) {
  TokensByPrompt chosen(tokens.size());
  for (size_t prompt = 0; prompt < tokens.size(); ++prompt)
    std::copy_if(tokens[prompt].begin(), tokens[prompt].end(), std::back_inserter(chosen[prompt]), condition);
  return chosen;
}

int64_t count_of(const TokensByPrompt& tokens) {
  int64_t count = 0;
  for (const auto& prompt : tokens) count += static_cast<int64_t>(prompt.size());
  return count;
}

void add_estimate(Json& json, const std::string& key, const Estimate& estimate) {
  json[key] = number_or_null(estimate.value);
  json[key + "_se"] = number_or_null(estimate.error);
}

Json constancy_json(const TokenVectors& vectors) {
  const Constancy constancy = measure_constancy(vectors);
  Json json = {{"count", constancy.count}, {"windows", constancy.windows}};
  add_estimate(json, "cosine", constancy.cosine);
  add_estimate(json, "deviation", constancy.deviation);
  return json;
}

/// One layer's rows of the results.
class LayerMeasure {
 public:
  LayerMeasure(const DumpReader& dump, const VectorSource& vectors, int64_t layer, int64_t dim)
      : dump_(dump), vectors_(vectors), states_(dumped(dump, residual_point(layer))), dim_(dim) {}

  /// Of what attention reads at the tokens, and of the spike dimension's value in r_l.
  Json operator()(const TokensByPrompt& tokens) const {
    return measures(read_vectors(dump_, vectors_, tokens), read_vectors(dump_, states_, tokens));
  }
  /// The same of the random first tokens; null where the dump has none.
  Json random_first() const {
    if (dump_.random_first() == 0) return nullptr;
    return measures(read_random_first(dump_, vectors_), read_random_first(dump_, states_));
  }

 private:
  Json measures(const TokenVectors& vectors, const TokenVectors& states) const {
    Json json = constancy_json(vectors);
    add_estimate(json, "cv", dim_ < 0 ? Estimate{kUndefined, kUndefined} : measure_variation(states, dim_));
    return json;
  }

  static constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();
  const DumpReader& dump_;
  const VectorSource &vectors_, states_;
  int64_t dim_;
};

Json mlp_json(const DumpReader& dump, const std::optional<VectorSource>& source, const TokensByPrompt& spikes,
              const TokensByPrompt& ordinary) {
  if (!source) return nullptr;
  return {{"spike", constancy_json(read_vectors(dump, *source, spikes))},
          {"ordinary", constancy_json(read_vectors(dump, *source, ordinary))}};
}

/// Mean over a plateau's layers of one number of one group of tokens.
double plateau_mean(const Json& results, const LayerGroup& group, const char* tokens, const char* key) {
  return group_mean(results, group, [&](const Json& layer) {
    return layer.at(tokens).is_null() ? std::numeric_limits<double>::quiet_NaN()
                                      : number_or_nan(layer.at(tokens).at(key));
  });
}

Verdict judge(const Json& results) {
  Verdict verdict;
  verdict.claim = "spike tokens leave the norm as one and the same vector in all inputs";
  std::vector<std::string> found;
  size_t one = 0, closer = 0;
  bool by_construction = false;
  for (const LayerGroup& group : layer_groups(results)) {
    if (!group.plateau) continue;
    const double constant = group_mean(results, group, "constant");
    // Where first tokens are constant by construction, random ones tell what they do.
    const bool random = results.at("random_first") > 0;
    const char* tokens = !(constant > 0) ? "spike" : random ? "random_first" : "varying";
    const double cosine = plateau_mean(results, group, tokens, "cosine"),
                 deviation = plateau_mean(results, group, tokens, "deviation"),
                 reference = plateau_mean(results, group, "ordinary", "cosine"),
                 spread = plateau_mean(results, group, "ordinary", "deviation");
    if (std::isnan(cosine)) {
      by_construction |= constant > 0;
      continue;
    }
    closer += cosine > reference;
    one += cosine >= kOneVector && !(deviation > kLeastGain * spread);
    found.push_back(fmt::format("cosine {:.3f} (ordinary tokens {:.3f}) and deviation {} ({}) in {}", cosine, reference,
                                number(deviation), number(spread), layer_range(group.first, group.last)));
  }
  if (found.empty()) {
    verdict.why = by_construction
                      ? "the spike tokens are the same in every input and see nothing else, so that they are constant "
                        "by construction"
                      : "there are not two spike tokens on a plateau to compare";
    return verdict;
  }
  verdict.holds = one == found.size() ? Verdict::Holds::confirmed
                  : closer > 0        ? Verdict::Holds::partly
                                      : Verdict::Holds::no;
  verdict.why = join_words(found);
  if (by_construction) verdict.why += "; elsewhere spike tokens are constant by construction";
  return verdict;
}

}  // namespace

Needs convergence_needs() {
  return {{"blocks.0.resid_pre", "blocks.*.resid_post", "blocks.*.attn_out"}, false, false};
}

Json run_convergence(const AnalysisInput& input, H5File& arrays) {
  const DumpReader& dump = input.dump;
  if (const std::string missing = missing_for_templates(input); !missing.empty())
    return {{"applicable", false}, {"why", missing}};

  const auto progress = [&](double fraction) {
    if (input.progress) input.progress(fraction);
  };
  const Templates chosen(input, [&](double fraction) { progress(0.4 * fraction); });
  const std::vector<std::vector<SpikeSet>>& sets = chosen.sets();
  const TokensByPrompt& ordinary = chosen.ordinary_tokens();
  const int64_t prefix = constant_prefix(dump), blocks = dump.n_layers();

  Json layers = Json::array();
  std::vector<TemplateVector> templates;
  const TemplateVector undefined{
      std::vector<double>(static_cast<size_t>(dump.d_model()), std::numeric_limits<double>::quiet_NaN()), {}};
  std::vector<float> kept;
  for (int64_t l = 0; l < blocks; ++l) {
    const auto index = static_cast<size_t>(l);
    const int64_t dim = chosen.spike_dim(l);
    const VectorSource vectors = chosen.inputs().attention(l);
    const LayerMeasure measure(dump, vectors, l, dim);
    TokensByPrompt spikes;
    for (const SpikeSet& set : sets[index]) spikes.push_back(set.tokens);
    const TokensByPrompt inside = tokens_where(spikes, [](int64_t token) { return token > 0; }),
                         first = tokens_where(spikes, [](int64_t token) { return token == 0; }),
                         varying = tokens_where(spikes, [&](int64_t token) { return token >= prefix; });
    const int64_t count = count_of(spikes), constant = count - count_of(varying);
    templates.push_back(most_have_spikes(sets[index]) ? chosen.at(l) : undefined);
    kept.insert(kept.end(), templates.back().all.begin(), templates.back().all.end());
    layers.push_back({{"layer", l},
                      {"dim", dim < 0 ? Json(nullptr) : Json(dim)},
                      {"spike", measure(spikes)},
                      {"ordinary", measure(ordinary)},
                      {"inside", measure(inside)},
                      {"constant", constant},
                      {"varying", constant > 0 ? measure(varying) : Json(nullptr)},
                      {"latest", most_have_spikes(sets[index]) ? Json(nullptr) : measure(template_tokens(sets[index]))},
                      {"random_first", measure.random_first()},
                      {"random_first_spikes", dump.random_first() > 0 ? Json(chosen.random_spikes(l)) : Json(nullptr)},
                      {"mlp", mlp_json(dump, chosen.inputs().mlp(l), spikes, ordinary)}});
    add_estimate(layers.back(), "inside_to_first",
                 measure_agreement(read_vectors(dump, vectors, inside), read_vectors(dump, vectors, first)));
    progress(0.4 + 0.6 * static_cast<double>(l + 1) / static_cast<double>(blocks));
  }
  arrays.write<float>("/templates", std::vector<int64_t>{blocks, dump.d_model()}, std::span<const float>(kept));

  Json json = chosen.json();
  json["constant_prefix"] = prefix;
  json["random_first"] = dump.random_first();
  json["layers"] = std::move(layers);
  json["across_layers"] = json["across_layers_se"] = Json::array();
  for (const auto& a : templates) {
    Json row = Json::array(), errors = Json::array();
    for (const auto& b : templates) {
      std::vector<double> left_out;
      for (size_t group = 0; group < std::min(a.left_out.size(), b.left_out.size()); ++group)
        left_out.push_back(cosine(a.left_out[group], b.left_out[group]));
      row.push_back(number_or_null(cosine(a.all, b.all)));
      errors.push_back(number_or_null(jackknife_error(left_out)));
    }
    json["across_layers"].push_back(std::move(row));
    json["across_layers_se"].push_back(std::move(errors));
  }
  json["verdict"] = to_json(judge(json));
  return json;
}

}  // namespace spikescope
