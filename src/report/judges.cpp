#include "report/judges.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "analyses/interventions/verdict.h"
#include "analyses/labels.h"
#include "analyses/layer_groups.h"
#include "stats/moments.h"

namespace spikescope {
namespace {

using Holds = Verdict::Holds;

// Where a claim in words needs a number.
constexpr double kFarSmaller = 10.0;    // the largest over the tenth largest magnitude
constexpr double kAppears = 10.0;       // growth within the block that completes a spike
constexpr double kSameSize = 2.0;       // largest over smallest value along a plateau
constexpr double kTakenAway = 0.5;      // last value over the largest
constexpr double kMostSpikes = 0.9;     // share of spike tokens in the few dimensions
constexpr size_t kFewDims = 4;          // as many as the paper finds in LLaMA-2-7B
constexpr double kHardlyVaries = 0.25;  // coefficient of variation
constexpr double kConcentrated = 0.3;   // attention on few tokens: a sink by arXiv 2410.10781
constexpr double kOneBias = 0.9;        // cosine of the tokens' share with its mean over queries
constexpr double kOneTemplate = 0.9;    // cosine between layers of a plateau
constexpr double kMostEnergy = 0.9;     // of a key in slow pairs
constexpr double kMostAmplitude = 0.5;  // in the zone of rotational stability

Verdict verdict(Holds holds, std::string why) { return {"", holds, std::move(why)}; }
Verdict not_applicable(std::string why) { return verdict(Holds::not_applicable, std::move(why)); }
Verdict no_spikes() { return not_applicable("there are no plateaus of spikes on these prompts"); }

/// Of several things that have to hold.
Holds holds_of(size_t held, size_t all) {
  return held == all ? Holds::confirmed : held > 0 ? Holds::partly : Holds::no;
}

/// One sentence's worth on a plateau, and whether the claim holds there.
struct Found {
  bool holds = false;
  std::string words{};
};

Verdict of_all(const std::vector<Found>& found) {
  if (found.empty()) return no_spikes();
  std::vector<std::string> words;
  size_t held = 0;
  for (const Found& one : found) {
    held += one.holds;
    words.push_back(one.words);
  }
  return verdict(holds_of(held, found.size()), join_words(words));
}

std::string layers_text(const LayerGroup& group) { return layer_range(group.first, group.last); }

/// What `look` finds on each plateau of the results' layers; nothing where it gives no words.
template <class Look>
Verdict on_plateaus(const Json& results, Look look) {
  std::vector<Found> found;
  for (const LayerGroup& group : layer_groups(results)) {
    if (!group.plateau) continue;
    if (Found one = look(group); !one.words.empty()) found.push_back(std::move(one));
  }
  return of_all(found);
}

/// The state that holds the largest |h|.
const Json& largest_state(const Json& spikes) {
  const Json& layers = spikes.at("layers");
  return *std::max_element(layers.begin(), layers.end(), [](const Json& a, const Json& b) {
    return number_or_nan(a.at("max")) < number_or_nan(b.at("max"));
  });
}

Verdict as_judged(const Json& results, const char* key = "verdict") { return verdict_of(results.at(key)); }

/// The plan's run that does `what`; nullptr without.
const Json* find_run(const Json& results, const std::string& what, const Json& plateau) {
  for (const Json& run : results.at("runs"))
    if (run.at("what") == what && run.at("plateau") == plateau && !run.at("given").get<bool>()) return &run;
  return nullptr;
}

std::string signed_number(double value) {
  return std::isnan(value) ? "-" : fmt::format("{:+.{}f}", value, std::abs(value) >= 1.0 ? 2 : 4);
}

}  // namespace

// --- Massive Activations in Large Language Models -------------------------------------------------

Verdict judge_magnitudes(const Evidence& evidence) {
  const Json& spikes = evidence["spikes"];
  int64_t flags = 0;
  for (const Json& layer : spikes.at("layers")) flags += layer.at("published_rule_flags").get<int64_t>();
  const Json& state = largest_state(spikes);
  const size_t plateaus = spikes.at("plateaus").size();
  std::string why = fmt::format(
      "the largest |h|, {} in layer {}, is {} times the median there; the published rule flags {} of all values in all "
      "layers, the automatic one finds {} plateau{} of spikes",
      number(state.at("max")), state.at("layer").get<int64_t>(), number(state.at("ratio")), flags, plateaus,
      plateaus == 1 ? "" : "s");
  return verdict(flags > 0 ? Holds::confirmed : plateaus > 0 ? Holds::partly : Holds::no, std::move(why));
}

Verdict judge_few(const Evidence& evidence) {
  const Json& state = largest_state(evidence["spikes"]);
  const Json& top = state.at("prompt_top");
  if (top.size() < 2) return not_applicable("the state has fewer than two values");
  const double largest = std::abs(number_or_nan(top.front().at("value"))),
               last = std::abs(number_or_nan(top.back().at("value"))), fall = largest / last;
  std::string why = fmt::format("in layer {} the largest |h| is {}, the second {}, and number {} is {}",
                                state.at("layer").get<int64_t>(), number(largest),
                                number(std::abs(number_or_nan(top.at(1).at("value")))), top.size(), number(last));
  return verdict(fall >= kFarSmaller          ? Holds::confirmed
                 : fall * fall >= kFarSmaller ? Holds::partly
                                              : Holds::no,
                 std::move(why));
}

Verdict judge_layers(const Evidence& evidence) {
  const Json& spikes = evidence["spikes"];
  const Json &plateaus = spikes.at("plateaus"), &layers = spikes.at("layers");
  if (plateaus.empty()) return no_spikes();
  const Json& largest = *std::max_element(plateaus.begin(), plateaus.end(), [](const Json& a, const Json& b) {
    return std::abs(number_or_nan(a.at("value"))) < std::abs(number_or_nan(b.at("value")));
  });
  const size_t first = largest.at("first"), last = largest.at("last");
  const auto max_at = [&](size_t layer) { return number_or_nan(layers.at(layer).at("max")); };
  double low = max_at(first), high = low;
  for (size_t layer = first; layer <= last; ++layer) {
    low = std::min(low, max_at(layer));
    high = std::max(high, max_at(layer));
  }
  // A spike may take two blocks to grow.
  const size_t before = first > 1 ? first - 2 : 0;
  const double growth = first > 0 ? max_at(first) / max_at(before) : std::numeric_limits<double>::quiet_NaN(),
               left = max_at(layers.size() - 1) / high;
  const size_t held = static_cast<size_t>(growth >= kAppears) + static_cast<size_t>(high <= kSameSize * low) +
                      static_cast<size_t>(left <= kTakenAway);
  return verdict(
      holds_of(held, 3),
      fmt::format("the largest |h| {}, stays between {} and {} in {}, and ends at {}",
                  first > 0 ? fmt::format("grows from {} in layer {} to {} in layer {}", number(max_at(before)), before,
                                          number(max_at(first)), first)
                            : fmt::format("is {} from the first layer on", number(max_at(0))),
                  number(low), number(high), layer_range(static_cast<int64_t>(first), static_cast<int64_t>(last)),
                  number(max_at(layers.size() - 1))));
}

Verdict judge_places(const Evidence& evidence) {
  const Json& spikes = evidence["spikes"];
  if (spikes.at("spikes").empty()) return no_spikes();
  std::map<int64_t, size_t> dims;
  size_t first_tokens = 0;
  const size_t all = spikes.at("spikes").size();
  for (const Json& spike : spikes.at("spikes")) {
    if (!spike.at("dims").empty()) ++dims[spike.at("dims").at(0).get<int64_t>()];
    first_tokens += spike.at("token") == 0;
  }
  std::vector<std::pair<size_t, int64_t>> order;
  for (const auto& [dim, count] : dims) order.emplace_back(count, dim);
  std::sort(order.rbegin(), order.rend());
  size_t covered = 0;
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min(order.size(), kFewDims); ++i) {
    covered += order[i].first;
    names.push_back(std::to_string(order[i].second));
  }
  const double share = static_cast<double>(covered) / static_cast<double>(all);
  return verdict(
      share >= kMostSpikes ? Holds::confirmed
      : share >= 0.5       ? Holds::partly
                           : Holds::no,
      fmt::format("{} of the {} spikes are largest in dimension{} {} of {}; {} are at the first token", covered, all,
                  names.size() == 1 ? "" : "s", join_words(names), evidence.dump().d_model(), first_tokens));
}

Verdict judge_constancy(const Evidence& evidence) {
  const Json& results = evidence["convergence"];
  const char* tokens = results.at("constant_prefix") > 0 ? "varying" : "spike";
  Verdict judged = on_plateaus(results, [&](const LayerGroup& group) -> Found {
    const double cv = group_mean(results, group, [&](const Json& layer) {
      const Json& of = layer.at(tokens);
      return of.is_null() ? std::numeric_limits<double>::quiet_NaN() : number_or_nan(of.at("cv"));
    });
    if (std::isnan(cv)) return {};
    return {cv <= kHardlyVaries, fmt::format("the spike value has a standard deviation of {} of its mean in {}",
                                             percent(cv), layers_text(group))};
  });
  if (judged.holds == Holds::not_applicable && !results.at("plateaus").empty())
    judged.why = "all spike tokens are the same in every input, so that they are constant by construction";
  return judged;
}

Verdict judge_interventions(const Evidence& evidence) {
  const Json& results = evidence["interventions"];
  std::vector<std::string> words;
  size_t confirmed = 0, partly = 0;
  for (size_t k = 0; k < results.at("plateaus").size(); ++k) {
    const Json& plateau = results.at("plateaus").at(k);
    const Json *zero = find_run(results, "zero", k), *mean = find_run(results, "mean", k);
    if (plateau.at("verdict") == "not tested" || !zero || !mean) continue;
    confirmed += plateau.at("verdict") == "confirmed";
    partly += plateau.at("verdict") == "partly";
    words.push_back(fmt::format("zero changes the loss by {} nats and the mean by {} in {}",
                                signed_number(number_or_nan(zero->at("difference"))),
                                signed_number(number_or_nan(mean->at("difference"))),
                                layer_range(plateau.at("first"), plateau.at("last"))));
  }
  if (words.empty()) return not_applicable("no plateau of spikes was tested on these prompts");
  const Holds holds = confirmed == words.size() ? Holds::confirmed : confirmed + partly > 0 ? Holds::partly : Holds::no;
  return verdict(holds,
                 fmt::format("of a loss of {}, {}", number(results.at("baseline").at("loss")), join_words(words)));
}

Verdict judge_attention(const Evidence& evidence) {
  const Json& sinks = evidence["sinks"];
  Moments outside;
  for (const LayerGroup& group : layer_groups(sinks)) {
    if (group.plateau) continue;
    for (int64_t block = group.first; block <= group.last; ++block)
      if (const double mass = number_or_nan(sinks.at("layers").at(static_cast<size_t>(block)).at("mass"));
          !std::isnan(mass))
        outside.add(mass);
  }
  Verdict judged = on_plateaus(sinks, [&](const LayerGroup& group) -> Found {
    const double mass = group_mean(sinks, group, "mass");
    if (std::isnan(mass)) return {};
    return {mass >= kConcentrated && !(outside.mean() >= mass / 2),
            fmt::format("the spike tokens get {} of the attention in {}", percent(mass), layers_text(group))};
  });
  if (outside.count() > 0 && judged.holds != Holds::not_applicable)
    judged.why += fmt::format(", and {} in all other blocks", percent(outside.mean()));
  return judged;
}

Verdict judge_bias(const Evidence& evidence) {
  const Json& sinks = evidence["sinks"];
  if (sinks.at("bias_note").is_string()) return not_applicable(sinks.at("bias_note").get<std::string>());
  return on_plateaus(sinks, [&](const LayerGroup& group) -> Found {
    const double cosine = group_mean(sinks, group, "bias_cosine_biased"),
                 ratio = group_mean(sinks, group, "bias_ratio");
    if (std::isnan(cosine)) return {};
    return {cosine >= kOneBias, fmt::format("their share has a cosine of {:.2f} with its mean over the queries, and {} "
                                            "of the output's length, in {}",
                                            cosine, percent(ratio), layers_text(group))};
  });
}

Verdict judge_images(const Evidence& evidence) {
  const std::vector<Json>& prompts = evidence.dump().tokens().prompts;
  if (prompts.empty() || !prompts[0].contains("image"))
    return not_applicable("this model was run on text, not on images");
  return judge_magnitudes(evidence);
}

// --- Massive Spikes in LLMs are Bias Vectors ------------------------------------------------------

Verdict judge_across_layers(const Evidence& evidence) {
  const Json& results = evidence["convergence"];
  const Json& matrix = results.at("across_layers");
  return on_plateaus(results, [&](const LayerGroup& group) -> Found {
    Moments cosine;
    for (int64_t a = group.first; a <= group.last; ++a)
      for (int64_t b = group.first; b < a; ++b)
        if (const double value = number_or_nan(matrix.at(static_cast<size_t>(a)).at(static_cast<size_t>(b)));
            !std::isnan(value))
          cosine.add(value);
    if (cosine.count() == 0) return {};
    return {cosine.mean() >= kOneTemplate, fmt::format("templates of two layers have a mean cosine of {:.3f} in {}",
                                                       cosine.mean(), layers_text(group))};
  });
}

Verdict judge_contrast(const Evidence& evidence) {
  const Json& results = evidence["alignment"];
  return on_plateaus(results, [&](const LayerGroup& group) -> Found {
    const double contrast = group_mean(results, group, "contrast");
    if (std::isnan(contrast)) return {};
    return {contrast > 1.0, fmt::format("W_K's gain on the template, taken from the mean, is {:.2f} times that on "
                                        "ordinary tokens in {}",
                                        contrast, layers_text(group))};
  });
}

Verdict judge_slow_bands(const Evidence& evidence) {
  const Json& results = evidence["rope_bands"];
  return on_plateaus(results, [&](const LayerGroup& group) -> Found {
    const double own = group_mean(results, group, "stable_energy_template"),
                 others = group_mean(results, group, "stable_energy_semantic");
    if (std::isnan(own)) return {};
    return {own >= kMostEnergy && own > others,
            fmt::format("pairs that turn by at most 45 degrees over {} tokens hold {} of its energy (ordinary keys {}) "
                        "in {}",
                        results.at("dmax").get<int64_t>(), percent(own), percent(others), layers_text(group))};
  });
}

Verdict judge_zones(const Evidence& evidence) {
  const Json& results = evidence["rope_bands"];
  return on_plateaus(results, [&](const LayerGroup& group) -> Found {
    const double own = group_mean(results, group, "zone_share"),
                 others = group_mean(results, group, "zone_share_semantic"),
                 pairs = group_mean(results, group, "zone_pairs");
    if (std::isnan(own)) return {};
    return {own >= kMostAmplitude && own > others,
            fmt::format("the zone, {} of the pairs, holds {} of the amplitude (mean ordinary key {}) in {}",
                        percent(pairs), percent(own), percent(others), layers_text(group))};
  });
}

Verdict judge_insertion(const Evidence& evidence) {
  const Json& results = evidence["interventions"];
  const Json *zero = find_run(results, "zero everywhere", nullptr),
             *inserted = find_run(results, "templates inserted", nullptr);
  if (!zero || !inserted) return not_applicable("no templates were inserted on these prompts");
  const double without = number_or_nan(zero->at("difference")), with = number_or_nan(inserted->at("difference"));
  std::string why = fmt::format("with the spikes at zero the loss changes by {} nats, with the templates put in by {}",
                                signed_number(without), signed_number(with));
  if (!(without > 0.0)) return not_applicable(why + ": there is nothing to restore");
  return verdict(with < kNothing ? Holds::confirmed : with <= without / 2 ? Holds::partly : Holds::no, std::move(why));
}

Verdict judge_convergence(const Evidence& evidence) { return as_judged(evidence["convergence"]); }
Verdict judge_keys(const Evidence& evidence) { return as_judged(evidence["alignment"]); }
Verdict judge_values(const Evidence& evidence) { return as_judged(evidence["alignment"], "value_verdict"); }
Verdict judge_null_space(const Evidence& evidence) { return as_judged(evidence["null_space"]); }
Verdict judge_distance(const Evidence& evidence) { return as_judged(evidence["rope_bands"]); }

}  // namespace spikescope
