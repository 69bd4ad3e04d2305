#include "analyses/sinks/maps.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "analyses/block_inputs.h"
#include "analyses/labels.h"
#include "analyses/projections.h"
#include "analyses/templates.h"
#include "base/fail.h"
#include "io/hdf5.h"
#include "model/attention.h"
#include "model/rope.h"
#include "stats/moments.h"

namespace spikescope {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// Logits of a query with the keys [first, last) of the prompt.
std::vector<double> query_logits(const AttentionShape& shape, int64_t head, int64_t query, const float* q,
                                 const float* first_key, int64_t stride, int64_t first, int64_t last) {
  std::vector<double> logits;
  for (int64_t key = first; key < last; ++key) {
    const float* k = first_key + key * stride;
    double logit = 0.0;
    for (int64_t i = 0; i < shape.head_dim; ++i) logit += static_cast<double>(q[i]) * k[i];
    logit *= shape.scale;
    if (shape.softcap > 0.0) logit = shape.softcap * std::tanh(logit / shape.softcap);
    if (!shape.slopes.empty()) logit += shape.slopes[static_cast<size_t>(head)] * static_cast<double>(key - query);
    logits.push_back(logit);
  }
  return logits;
}

/// Mean over the queries t >= 1 of what they give to keys that are spike tokens, or to the others.
double mean_of_keys(const std::vector<double>& map, int64_t tokens, const std::vector<int64_t>& spikes,
                    bool of_spikes) {
  Moments mean;
  for (int64_t query = 1; query < tokens; ++query) {
    for (int64_t key = 0; key < tokens; ++key) {
      const double value = map[static_cast<size_t>(query * tokens + key)];
      const bool spike = std::binary_search(spikes.begin(), spikes.end(), key);
      if (spike == of_spikes && std::isfinite(value)) mean.add(value);
    }
  }
  return mean.mean();
}

Figure map_figure(const Json& results, const Json& map, const DumpReader& dump, std::vector<double> values,
                  bool logits) {
  const int64_t tokens = map.at("tokens"), block = map.at("block");
  const std::string what = map.at("what");
  const char* where = what == "before"  ? "before the first spike"
                      : what == "first" ? "on the first plateau"
                      : what == "last"  ? "on the last plateau"
                                        : "half-way through the model";
  Figure figure;
  figure.id = fmt::format("sinks-{}-{}", logits ? "logits" : "pattern", what);
  figure.title = fmt::format("{} in block {}, {}", logits ? "Attention logits" : "Attention", block, where);
  figure.x.label = "key";
  figure.y.label = "query";
  std::string found;
  const std::string spikes = map.at("spikes") == 1 ? "the spike token" : "the spike tokens";
  if (map.at("spikes") == 0)
    found = "None of them is a spike token of the state that enters this block.";
  else if (logits)
    found = fmt::format("Mean over queries t >= 1: {} with {}, {} with other keys.", number(map.at("spike_logit")),
                        spikes, number(map.at("other_logit")));
  else
    found = fmt::format("Queries t >= 1 give a mean of {} to {}.", percent(number_or_nan(map.at("spike_attention"))),
                        map.at("spikes") == 1 ? spikes : "each of the spike tokens");
  figure.caption =
      fmt::format("{} of each query with each key it sees, mean over heads; the first {} tokens of prompt 0. {} {}.",
                  logits ? "Logit before the softmax (dimensionless)" : "Attention probability", tokens, found,
                  results.at("model").get<std::string>());
  HeatMap heat;
  heat.z_label = logits ? "logit" : "attention";
  if (!logits) {
    heat.z_min = 0.0;
    heat.z_max = 1.0;
  }
  for (int64_t token = 0; token < tokens; ++token) {
    const std::string name = token_label(dump.tokens(), 0, token);
    figure.x.categories.push_back(name);
    // The first query on top, as attention maps are read.
    figure.y.categories.push_back(token_label(dump.tokens(), 0, tokens - 1 - token));
    heat.x.push_back(static_cast<double>(token));
    heat.y.push_back(static_cast<double>(token));
  }
  for (int64_t row = tokens - 1; row >= 0; --row) {
    for (int64_t key = 0; key < tokens; ++key) {
      heat.z.push_back(values[static_cast<size_t>(row * tokens + key)]);
      heat.hover.push_back(fmt::format("query {}\nkey {}: {}",
                                       figure.y.categories[static_cast<size_t>(tokens - 1 - row)],
                                       figure.x.categories[static_cast<size_t>(key)], number(heat.z.back())));
    }
  }
  figure.content = std::move(heat);
  return figure;
}

}  // namespace

AttentionMap attention_map(const AnalysisInput& input, int64_t block) {
  const DumpTokens& tokens = input.dump.tokens();
  const ModelWeights& weights = input.weights();
  const Architecture& a = weights.architecture();
  const int layer = static_cast<int>(block);
  const AttentionShape shape = attention_shape(a, layer);
  AttentionMap map;
  map.tokens = std::min(tokens.length(0), kMapTokens);
  const int64_t seen = shape.causal ? map.tokens : tokens.length(0);
  const std::vector<float> x = BlockInputs(input).attention(block).read(0, seen);
  const Projections projections(weights, layer);
  std::vector<float> rows = projections(x.data(), seen);
  projections.limit_and_norm(rows);
  const int64_t stride = projections.row_size();
  if (const int rope = a.blocks[static_cast<size_t>(layer)].rope; rope >= 0 && !a.ropes.empty()) {
    int64_t longest = 1;
    for (int64_t prompt = 0; prompt < tokens.n_prompts(); ++prompt) longest = std::max(longest, tokens.length(prompt));
    const RopeTable table(a.ropes[static_cast<size_t>(rope)], longest);
    table.rotate(rows.data() + projections.query(0), seen, stride, a.n_heads, a.head_dim, 0);
    table.rotate(rows.data() + projections.key(0), seen, stride, a.n_kv_heads, a.head_dim, 0);
  }
  const size_t size = static_cast<size_t>(map.tokens * map.tokens);
  map.logits.assign(size, kNone);
  map.pattern.assign(size, kNone);
  for (int64_t query = 0; query < map.tokens; ++query) {
    const int64_t first = shape.first_key(query), last = shape.last_key(query, seen);
    for (int64_t head = 0; head < shape.heads; ++head) {
      const float* keys = rows.data() + projections.key(head * shape.kv_heads / shape.heads);
      const std::vector<double> logits = query_logits(
          shape, head, query, rows.data() + query * stride + projections.query(head), keys, stride, first, last);
      const double largest = *std::max_element(logits.begin(), logits.end());
      double sum = 0.0;
      for (const double logit : logits) sum += std::exp(logit - largest);
      for (int64_t key = first; key < std::min(last, map.tokens); ++key) {
        const size_t cell = static_cast<size_t>(query * map.tokens + key);
        const double logit = logits[static_cast<size_t>(key - first)], share = 1.0 / static_cast<double>(shape.heads);
        if (head == 0) map.logits[cell] = map.pattern[cell] = 0.0;
        map.logits[cell] += share * logit;
        map.pattern[cell] += share * std::exp(logit - largest) / sum;
      }
    }
  }
  return map;
}

std::vector<MapPlace> map_places(std::span<const std::vector<SpikeSet>> sets, std::span<const Plateau> plateaus) {
  const int64_t blocks = static_cast<int64_t>(sets.size());
  if (plateaus.empty()) return {{blocks / 2, "middle"}};
  const auto has_spikes = [](const std::vector<SpikeSet>& block) {
    return std::any_of(block.begin(), block.end(), [](const SpikeSet& set) { return !set.tokens.empty(); });
  };
  const int64_t birth = std::find_if(sets.begin(), sets.end(), has_spikes) - sets.begin();
  const auto middle = [&](const Plateau& plateau) { return std::min((plateau.first + plateau.last) / 2, blocks - 1); };
  std::vector<MapPlace> places;
  if (birth > 0 && birth < blocks) places.push_back({birth - 1, "before"});
  places.push_back({middle(plateaus.front()), "first"});
  if (plateaus.size() > 1) places.push_back({middle(plateaus.back()), "last"});
  return places;
}

Json write_maps(const AnalysisInput& input, std::span<const std::vector<SpikeSet>> sets,
                std::span<const Plateau> plateaus, H5File& arrays) {
  const std::string why = why_no_projections(input);
  if (!why.empty()) return {{"maps", Json::array()}, {"maps_note", why}};
  Json maps = Json::array();
  std::vector<float> logits, pattern;
  int64_t tokens = 0;
  for (const MapPlace& place : map_places(sets, plateaus)) {
    const AttentionMap map = attention_map(input, place.block);
    std::vector<int64_t> spikes = sets[static_cast<size_t>(place.block)][0].tokens;
    std::erase_if(spikes, [&](int64_t token) { return token >= map.tokens; });
    tokens = map.tokens;
    logits.insert(logits.end(), map.logits.begin(), map.logits.end());
    pattern.insert(pattern.end(), map.pattern.begin(), map.pattern.end());
    maps.push_back({{"block", place.block},
                    {"what", place.what},
                    {"tokens", tokens},
                    {"spikes", spikes.size()},
                    {"spike_logit", number_or_null(mean_of_keys(map.logits, tokens, spikes, true))},
                    {"other_logit", number_or_null(mean_of_keys(map.logits, tokens, spikes, false))},
                    {"spike_attention", number_or_null(mean_of_keys(map.pattern, tokens, spikes, true))}});
  }
  const std::vector<int64_t> shape = {static_cast<int64_t>(maps.size()), tokens, tokens};
  arrays.write<float>("/maps/logits", shape, std::span<const float>(logits));
  arrays.write<float>("/maps/pattern", shape, std::span<const float>(pattern));
  return {{"maps", std::move(maps)}, {"maps_note", nullptr}};
}

std::vector<Figure> map_figures(const Json& results, const H5File& arrays, const DumpReader& dump) {
  const Json& maps = results.at("maps");
  if (maps.empty()) return {};
  const auto values_of = [&](const char* name, size_t place) {
    const std::vector<float> all = arrays.read<float>(name);
    const size_t side = maps.at(place).at("tokens"), size = side * side;
    if (all.size() != maps.size() * size) {
      fail("{}: {} holds {} values, expected {} maps of {} x {}: run `spikescope analyze` again",
           (dump.out() / "results/sinks.h5").string(), name, all.size(), maps.size(), side, side);
    }
    return std::vector<double>(all.begin() + static_cast<std::ptrdiff_t>(place * size),
                               all.begin() + static_cast<std::ptrdiff_t>((place + 1) * size));
  };
  std::vector<Figure> figures;
  for (size_t place = 0; place < maps.size(); ++place)
    figures.push_back(map_figure(results, maps[place], dump, values_of("/maps/logits", place), true));
  figures.push_back(map_figure(results, maps.back(), dump, values_of("/maps/pattern", maps.size() - 1), false));
  return figures;
}

}  // namespace spikescope
