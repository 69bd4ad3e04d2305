#include "scan/against.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/fail.h"

namespace spikescope {
namespace {

/// Ranks of what is to be found, from 1; null: not among the candidates.
Json found(const std::vector<Json>& truth, const std::vector<int64_t>& ranks, int64_t candidates) {
  const auto n = static_cast<int64_t>(truth.size());
  Json json = {{"count", n}, {"candidates", candidates}, {"found", Json::array()}};
  const auto within = [&](int64_t limit) {
    return std::count_if(ranks.begin(), ranks.end(), [&](int64_t rank) { return rank > 0 && rank <= limit; });
  };
  double precisions = 0.0;
  std::vector<int64_t> sorted = ranks;
  std::erase(sorted, 0);
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < sorted.size(); ++i) precisions += static_cast<double>(i + 1) / static_cast<double>(sorted[i]);
  const auto share = [&](double of) { return n > 0 ? Json(of / static_cast<double>(n)) : Json(nullptr); };
  json["recall_at_n"] = share(static_cast<double>(within(n)));
  json["recall_at_2n"] = share(static_cast<double>(within(2 * n)));
  json["average_precision"] = share(precisions);
  for (size_t i = 0; i < truth.size(); ++i) {
    Json row = truth[i];
    row["rank"] = ranks[i] > 0 ? Json(ranks[i]) : Json(nullptr);
    json["found"].push_back(std::move(row));
  }
  return json;
}

Json judge_dims(const ScanResult& result, const Json& spikes) {
  std::map<int64_t, int> signs;
  for (const Json& plateau : spikes.at("plateaus"))
    for (size_t i = 0; i < plateau.at("dims").size(); ++i)
      signs.try_emplace(plateau.at("dims").at(i).get<int64_t>(),
                        plateau.at("values").at(i).get<double>() > 0.0 ? 1 : -1);
  std::vector<Json> truth;
  std::vector<int64_t> ranks;
  int64_t leading = 0, right = 0;
  for (const DimensionScore& score : result.dimensions) leading += score.leading;
  for (size_t i = 0; i < result.dimensions.size(); ++i) {
    const DimensionScore& score = result.dimensions[i];
    const auto spike = signs.find(score.dim);
    if (spike == signs.end()) continue;
    right += score.leading;
    truth.push_back({{"dim", score.dim},
                     {"log10_expected", score.log10_expected},
                     {"leading", score.leading},
                     {"sign_right", score.sign == spike->second}});
    ranks.push_back(static_cast<int64_t>(i) + 1);
  }
  Json json = found(truth, ranks, static_cast<int64_t>(result.dimensions.size()));
  json["leading"] = leading;
  json["leading_right"] = right;
  return json;
}

Json judge_neurons(const ScanResult& result, const Json& spikes) {
  if (spikes.at("writers").empty() && !spikes.at("writers_note").is_null()) return nullptr;
  std::map<std::tuple<int64_t, int64_t, int64_t>, size_t> rank_of;
  for (size_t i = 0; i < result.neurons.size(); ++i) {
    const NeuronWrite& neuron = result.neurons[i];
    rank_of.try_emplace({neuron.block, neuron.index, neuron.dim}, i);
  }
  std::vector<Json> truth;
  std::vector<int64_t> ranks;
  int64_t judged = 0, right = 0;
  for (const Json& writer : spikes.at("writers"))
    for (const Json& neuron : writer.at("neurons")) {
      if (neuron.at("share").get<double>() < kNeuronShare) continue;
      const int64_t block = writer.at("block"), index = neuron.at("index"), dim = writer.at("dim");
      const auto ranked = rank_of.find({block, index, dim});
      Json row = {{"block", block},
                  {"index", index},
                  {"dim", dim},
                  {"share", neuron.at("share")},
                  {"effect", writer.at("effect")}};
      if (ranked != rank_of.end()) {
        const bool up = result.neurons[ranked->second].lean > 0.0, was_up = writer.at("mlp").get<double>() > 0.0;
        row["direction_right"] = up == was_up;
        ++judged;
        right += up == was_up;
      }
      ranks.push_back(ranked == rank_of.end() ? 0 : static_cast<int64_t>(ranked->second) + 1);
      truth.push_back(std::move(row));
    }
  Json json = found(truth, ranks, static_cast<int64_t>(result.neurons.size()));
  json["directions"] = judged;
  json["directions_right"] = right;
  return json;
}

Json judge_tokens(const TokenRanking& ranking, const Json& spikes, bool first) {
  std::map<int64_t, std::string> tokens;
  for (const Json& spike : spikes.at("spikes"))
    if ((spike.at("token").get<int64_t>() == 0) == first)
      tokens.try_emplace(spike.at("id").get<int64_t>(), spike.at("string").get<std::string>());
  std::vector<Json> truth;
  std::vector<int64_t> ranks;
  for (size_t i = 0; i < ranking.tokens.size(); ++i) {
    const TokenReach& token = ranking.tokens[i];
    const auto spike = tokens.find(token.id);
    if (spike == tokens.end()) continue;
    truth.push_back({{"id", token.id},
                     {"string", spike->second},
                     {"dim", token.dim},
                     {"value", token.value},
                     {"times", token.times}});
    ranks.push_back(static_cast<int64_t>(i) + 1);
  }
  return found(truth, ranks, static_cast<int64_t>(ranking.tokens.size()));
}

}  // namespace

Json judge(const ScanResult& result, const Json& spikes, const std::string& file) {
  if (!result.why_not.empty()) return nullptr;
  try {
    if (spikes.at("analysis") != "spikes" || !spikes.at("applicable").get<bool>())
      fail("{}: no results of the spikes analysis", file);
    for (const Json& plateau : spikes.at("plateaus"))
      for (const Json& dim : plateau.at("dims"))
        if (dim.get<size_t>() >= result.dimensions.size())
          fail("{}: dimension {}, of a model of another width ({})", file, dim.get<int64_t>(),
               result.dimensions.size());
    Json json = {{"model", spikes.at("model")},
                 {"windows", spikes.at("windows")},
                 {"tokens", spikes.at("tokens")},
                 {"dims", judge_dims(result, spikes)},
                 {"neurons", judge_neurons(result, spikes)}};
    const bool tokens = result.why_no_tokens.empty();
    json["inside"] = tokens ? judge_tokens(result.inside, spikes, false) : Json(nullptr);
    json["first"] = tokens ? judge_tokens(result.first, spikes, true) : Json(nullptr);
    return json;
  } catch (const Json::exception& error) {
    fail("{}: not results as this version writes them ({})", file, error.what());
  }
}

}  // namespace spikescope
