#include "scan/scan.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "analyses/labels.h"
#include "base/error.h"
#include "model/weight_stream.h"
#include "scan/vocabulary_walk.h"
#include "stats/quantile.h"

namespace spikescope {
namespace {

/// The neurons looked at for the first block that writes.
constexpr size_t kFirstWriters = 20;

bool writes(const NeuronWrite& neuron, std::span<const DimensionScore> dimensions) {
  const auto score = std::find_if(dimensions.begin(), dimensions.end(),
                                  [&](const DimensionScore& dimension) { return dimension.dim == neuron.dim; });
  return neuron.lean * score->sign > 0.0;
}

int first_writing_block(const ScanResult& result) {
  int first = kMostTokenBlocks - 1;
  for (size_t i = 0; i < std::min(kFirstWriters, result.neurons.size()); ++i)
    if (writes(result.neurons[i], result.dimensions)) first = std::min(first, result.neurons[i].block);
  return first;
}

TokenRanking rank_tokens(const std::vector<float>& reached, const std::vector<int64_t>& dims) {
  TokenRanking ranking;
  const size_t count = reached.size() / dims.size();
  for (size_t i = 0; i < dims.size(); ++i) {
    std::vector<double> magnitudes;
    for (size_t id = 0; id < count; ++id) magnitudes.push_back(std::abs(reached[id * dims.size() + i]));
    ranking.medians.push_back(lower_median(std::move(magnitudes)));
  }
  for (size_t id = 0; id < count; ++id) {
    TokenReach best{static_cast<int64_t>(id), dims.front(), reached[id * dims.size()], -1.0};
    for (size_t i = 0; i < dims.size(); ++i) {
      const double value = reached[id * dims.size() + i];
      const double times = ranking.medians[i] > 0.0 ? std::abs(value) / ranking.medians[i] : 0.0;
      if (times > best.times) best = {static_cast<int64_t>(id), dims[i], value, times};
    }
    ranking.tokens.push_back(best);
  }
  std::stable_sort(ranking.tokens.begin(), ranking.tokens.end(),
                   [](const TokenReach& a, const TokenReach& b) { return a.times > b.times; });
  return ranking;
}

/// The piece of a token as the vocabulary spells it; empty where there is no tokenizer or no such piece.
std::string piece_of(const std::optional<Tokenizer>& tokenizer, int64_t id) {
  return tokenizer && id < tokenizer->size() ? tokenizer->piece(id) : "";
}

Json tokens_json(const TokenRanking& ranking, const std::vector<int64_t>& dims,
                 const std::optional<Tokenizer>& tokenizer, size_t top) {
  Json json = {{"medians", Json::array()}, {"tokens", Json::array()}};
  for (size_t i = 0; i < dims.size(); ++i)
    json["medians"].push_back({{"dim", dims[i]}, {"median", ranking.medians[i]}});
  for (size_t i = 0; i < std::min(top, ranking.tokens.size()); ++i) {
    const TokenReach& token = ranking.tokens[i];
    json["tokens"].push_back({{"id", token.id},
                              {"string", piece_of(tokenizer, token.id)},
                              {"dim", token.dim},
                              {"value", token.value},
                              {"times", token.times}});
  }
  return json;
}

Json expert_json(int expert) {
  if (expert == kSharedExpert) return "shared";
  return expert < 0 ? Json(nullptr) : Json(expert);
}

}  // namespace

ScanResult scan(const Checkpoint& checkpoint, const ScanRequest& request, const ScanProgress& progress) {
  const ModelWeights& weights = checkpoint.weights();
  const Architecture& a = checkpoint.architecture();
  ScanResult result;
  result.why_not = why_no_bounds(a);
  if (!result.why_not.empty()) return result;
  result.why_no_tokens = request.token_blocks == 0 ? "not asked for" : why_no_walk(a);
  const double blocks_share = result.why_no_tokens.empty() ? 0.3 : 1.0;
  {
    WeightStream stream(weights, request.hash);
    for (int block = 0; block < a.n_layers; ++block) {
      stream.loading(block);
      result.blocks.push_back(block_writes(weights, block));
      stream.loaded(block);
      progress(blocks_share * (block + 1) / static_cast<double>(a.n_layers), "neurons");
    }
    if (request.hash) result.sha256 = stream.sha256();
  }
  result.dimensions = score_dimensions(result.blocks);
  result.neurons = rank_neurons(result.blocks, result.dimensions);
  for (const DimensionScore& dimension : result.dimensions)
    if (dimension.leading || result.token_dims.empty()) result.token_dims.push_back(dimension.dim);
  if (!result.why_no_tokens.empty()) return result;

  const int wanted = request.token_blocks > 0 ? request.token_blocks : first_writing_block(result) + 1;
  result.token_blocks = std::min(wanted, static_cast<int>(a.n_layers));
  double done = blocks_share;
  for (const auto& [walk, ranking] : {std::pair(Walk::inside, &result.inside), std::pair(Walk::first, &result.first)}) {
    const double share = (1.0 - blocks_share) / 2;
    *ranking = rank_tokens(walk_vocabulary(weights, walk, result.token_blocks, result.token_dims,
                                           [&](double fraction) { progress(done + share * fraction, "tokens"); }),
                           result.token_dims);
    done += share;
  }
  return result;
}

Json to_json(const ScanResult& result, const Checkpoint& checkpoint, size_t top) {
  if (!result.why_not.empty()) return {{"applicable", false}, {"why", result.why_not}};
  Json json = {{"blocks", result.blocks.size()}, {"width", result.dimensions.size()}, {"leading", Json::array()}};
  json["dims"] = Json::array();
  for (size_t i = 0; i < result.dimensions.size(); ++i) {
    const DimensionScore& dimension = result.dimensions[i];
    if (dimension.leading) json["leading"].push_back(dimension.dim);
    if (i >= top && !dimension.leading) continue;
    json["dims"].push_back({{"dim", dimension.dim},
                            {"log10_expected", number_or_null(dimension.log10_expected)},
                            {"sign", dimension.sign},
                            {"bound", dimension.largest},
                            {"bound_block", dimension.largest_block},
                            {"leading", dimension.leading}});
  }
  json["neurons"] = Json::array();
  for (size_t i = 0; i < std::min(3 * top, result.neurons.size()); ++i) {
    const NeuronWrite& neuron = result.neurons[i];
    json["neurons"].push_back({{"block", neuron.block},
                               {"expert", expert_json(neuron.expert)},
                               {"index", neuron.index},
                               {"dim", neuron.dim},
                               {"score", neuron.score},
                               {"bound", neuron.bound},
                               {"share", neuron.share},
                               {"lean", neuron.lean},
                               {"effect", writes(neuron, result.dimensions) ? "writes" : "cancels"}});
  }
  Json tokens = {{"applicable", result.why_no_tokens.empty()}};
  if (result.why_no_tokens.empty()) {
    std::optional<Tokenizer> tokenizer;
    try {
      tokenizer = checkpoint.tokenizer();
    } catch (const Error&) {  // ids say it then
    }
    tokens["blocks"] = result.token_blocks;
    tokens["inside"] = tokens_json(result.inside, result.token_dims, tokenizer, top);
    tokens["first"] = tokens_json(result.first, result.token_dims, tokenizer, top);
  } else {
    tokens["why"] = result.why_no_tokens;
  }
  json["tokens"] = std::move(tokens);
  return json;
}

void write_arrays(const ScanResult& result, H5File& arrays) {
  if (!result.why_not.empty()) return;
  const std::vector<std::vector<double>> surprise = surprises(result.blocks);
  std::vector<double> bounds, surprised, expected(result.dimensions.size());
  for (size_t block = 0; block < result.blocks.size(); ++block) {
    bounds.insert(bounds.end(), result.blocks[block].bounds.begin(), result.blocks[block].bounds.end());
    surprised.insert(surprised.end(), surprise[block].begin(), surprise[block].end());
  }
  for (const DimensionScore& dimension : result.dimensions)
    expected[static_cast<size_t>(dimension.dim)] = dimension.log10_expected;
  const std::vector<int64_t> shape = {static_cast<int64_t>(result.blocks.size()),
                                      static_cast<int64_t>(result.dimensions.size())};
  arrays.write<double>("/bound", shape, std::span<const double>(bounds));
  arrays.write<double>("/surprise", shape, std::span<const double>(surprised));
  arrays.write("/log10_expected", expected);
}

}  // namespace spikescope
