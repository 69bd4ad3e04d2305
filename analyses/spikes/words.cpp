#include "analyses/spikes/words.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "analyses/labels.h"

namespace spikescope {
namespace {

constexpr size_t kTableRows = 20;

std::string dims_text(const Json& dims) {
  std::vector<std::string> words;
  for (const Json& dim : dims) words.push_back(std::to_string(dim.get<int64_t>()));
  return (words.size() == 1 ? "dimension " : "dimensions ") + join_words(words);
}

/// "blocks 1 and 2": those that do `effect` ("writes" or "cancels") to plateau `index`; empty when none does.
std::string writers_text(const Json& results, int64_t index, const std::string& effect) {
  std::vector<std::string> blocks;
  for (const Json& writer : results.at("writers")) {
    if (writer.at("plateau") != index || writer.at("effect") != effect) continue;
    const std::string block = std::to_string(writer.at("block").get<int64_t>());
    if (std::find(blocks.begin(), blocks.end(), block) == blocks.end()) blocks.push_back(block);
  }
  return blocks.empty() ? "" : (blocks.size() == 1 ? "block " : "blocks ") + join_words(blocks);
}

std::string plateau_sentence(const Json& results, size_t index) {
  const Json& plateau = results.at("plateaus").at(index);
  const int64_t tokens = plateau.at("tokens"), first_tokens = plateau.at("first_tokens");
  const std::string who =
      tokens == first_tokens ? (tokens == 1 ? "the first token" : fmt::format("{} first tokens", tokens))
      : first_tokens == 0    ? fmt::format("{} token{} inside the text", tokens, tokens == 1 ? "" : "s")
                          : fmt::format("{} first tokens and {} inside the text", first_tokens, tokens - first_tokens);
  std::string text = fmt::format("{}: {} at about {} in {}", layer_range(plateau.at("first"), plateau.at("last")), who,
                                 number_with_error(plateau, "value"), dims_text(plateau.at("dims")));
  const std::string written = writers_text(results, static_cast<int64_t>(index), "writes");
  const std::string cancelled = writers_text(results, static_cast<int64_t>(index), "cancels");
  if (!written.empty()) text += ", written by " + written;
  if (!cancelled.empty()) text += (written.empty() ? ", cancelled by " : " and cancelled by ") + cancelled;
  return text;
}

/// Ranges of layers in which the published rule flags anything, and how many entries at most.
std::string published_sentence(const Json& results) {
  std::vector<std::string> ranges;
  int64_t first = -1, last = -1, most = 0;
  const auto close = [&] {
    if (first >= 0) ranges.push_back(layer_range(first, last));
    first = -1;
  };
  for (const Json& layer : results.at("layers")) {
    const int64_t flags = layer.at("published_rule_flags");
    most = std::max(most, flags);
    if (flags == 0) {
      close();
      continue;
    }
    last = layer.at("layer");
    if (first < 0) first = last;
  }
  close();
  if (ranges.empty()) return " The published rule (|h| >= 100 and >= 1,000 times the median) flags nothing.";
  return fmt::format(
      " The published rule (|h| >= 100 and >= 1,000 times the median) flags {}, at most {} entr{} a layer.",
      join_words(ranges), most, most == 1 ? "y" : "ies");
}

/// Spikes of one plateau that share a dimension and, inside the text, a spelling, over all windows.
struct SpikeGroup {
  int64_t plateau = -1;
  const Json* largest = nullptr;
  std::set<std::string> strings;
  std::set<int64_t> windows, positions;
  int64_t birth = std::numeric_limits<int64_t>::max(), death = -1;
  bool alive = false;

  double value() const { return std::abs(largest->at("value").get<double>()); }
};

/// Index of the plateau that holds the state; -1 for none.
int64_t plateau_at(const Json& results, int64_t layer) {
  int64_t index = 0;
  for (const Json& plateau : results.at("plateaus")) {
    if (layer >= plateau.at("first").get<int64_t>() && layer <= plateau.at("last").get<int64_t>()) return index;
    ++index;
  }
  return -1;
}

/// By plateau, most windows first. First tokens of all spellings are one group: they are spikes for their position.
std::vector<SpikeGroup> spike_groups(const Json& results) {
  std::map<std::tuple<int64_t, int64_t, std::string>, SpikeGroup> groups;
  for (const Json& spike : results.at("spikes")) {
    std::string text = spike.at("string");
    if (text.empty()) text = fmt::format("id {}", spike.at("id").get<int64_t>());
    const int64_t plateau = plateau_at(results, spike.at("peak")), position = spike.at("token");
    SpikeGroup& group = groups[{plateau, spike.at("dims").front(), position == 0 ? std::string() : text}];
    group.plateau = plateau;
    if (!group.largest || std::abs(spike.at("value").get<double>()) > group.value()) group.largest = &spike;
    group.strings.insert(text);
    group.windows.insert(spike.at("prompt").get<int64_t>());
    group.positions.insert(position);
    group.birth = std::min(group.birth, spike.at("birth").get<int64_t>());
    if (spike.at("death").is_null()) {
      group.alive = true;
    } else {
      group.death = std::max(group.death, spike.at("death").get<int64_t>());
    }
  }
  std::vector<SpikeGroup> order;
  for (auto& [key, group] : groups) order.push_back(std::move(group));
  std::stable_sort(order.begin(), order.end(), [](const SpikeGroup& a, const SpikeGroup& b) {
    // Spikes on no plateau last.
    const auto rank = [](const SpikeGroup& group) {
      return group.plateau < 0 ? std::numeric_limits<int64_t>::max() : group.plateau;
    };
    if (rank(a) != rank(b)) return rank(a) < rank(b);
    return a.windows.size() != b.windows.size() ? a.windows.size() > b.windows.size() : a.value() > b.value();
  });
  return order;
}

}  // namespace

std::string spikes_summary(const Json& results) {
  const Json& plateaus = results.at("plateaus");
  if (results.at("spikes").empty()) {
    const Json& layers = results.at("layers");
    const auto top = std::max_element(layers.begin(), layers.end(), [](const Json& a, const Json& b) {
      return a.at("max").get<double>() < b.at("max").get<double>();
    });
    return fmt::format(
        "No spike was found: {}. The largest value is {} in layer {}, {} times that layer's median.{}",
        results.at("windows") == results.at("tokens") ? "prompts of one token have no others to compare it with"
                                                      : "no token stands out by the automatic rule in any layer",
        number(top->at("max")), top->at("layer").get<int64_t>(), number(top->at("ratio")), published_sentence(results));
  }
  if (plateaus.empty()) {
    return fmt::format("{} spike{} found, but none stays on its level over layers: there is no plateau.{}",
                       results.at("spikes").size(), results.at("spikes").size() == 1 ? " was" : "s were",
                       published_sentence(results));
  }
  std::vector<std::string> sentences;
  for (size_t i = 0; i < plateaus.size(); ++i) sentences.push_back(plateau_sentence(results, i));
  std::string text =
      plateaus.size() == 1 ? "One plateau of spikes, " : fmt::format("{} plateaus of spikes. ", plateaus.size());
  for (size_t i = 0; i < sentences.size(); ++i) {
    if (plateaus.size() > 1) sentences[i][0] = 'L';
    text += sentences[i] + (i + 1 < sentences.size() ? ". " : ".");
  }
  return text + published_sentence(results);
}

Table spikes_table(const Json& results) {
  Table table{"spikes-table",
              "Spikes",
              "",
              {"token", "position", "dimensions", "largest value", "x median", "born", "gone", "windows"},
              {}};
  table.caption = fmt::format(
      "Spike tokens by the automatic rule; born: first layer, gone: first layer without it (-: still there in the "
      "last). First tokens of one plateau and dimension share a row, as do tokens of one spelling inside the text. {}.",
      data_label(results));
  const std::vector<SpikeGroup> groups = spike_groups(results);
  for (size_t i = 0; i < std::min(groups.size(), kTableRows); ++i) {
    const SpikeGroup& group = groups[i];
    std::string positions = std::to_string(*group.positions.begin());
    if (group.positions.size() > 1) positions += fmt::format(" to {}", *group.positions.rbegin());
    std::vector<std::string> dims;
    for (const Json& dim : group.largest->at("dims")) dims.push_back(std::to_string(dim.get<int64_t>()));
    const std::string token = group.strings.size() == 1 ? fmt::format("'{}'", readable_piece(*group.strings.begin()))
                                                        : fmt::format("{} spellings", group.strings.size());
    table.rows.push_back({token, positions, fmt::format("{}", fmt::join(dims, ", ")),
                          number(group.largest->at("value")), number(group.largest->at("ratio")),
                          std::to_string(group.birth), group.alive ? "-" : std::to_string(group.death),
                          fmt::format("{} of {}", group.windows.size(), results.at("windows").get<int64_t>())});
  }
  if (groups.size() > kTableRows)
    table.caption += fmt::format(" {} more rows are in the results.", groups.size() - kTableRows);
  return table;
}

Table largest_table(const Json& results, const DumpTokens& tokens) {
  const Json& layers = results.at("layers");
  const Json& state = *std::max_element(layers.begin(), layers.end(), [](const Json& a, const Json& b) {
    return number_or_nan(a.at("max")) < number_or_nan(b.at("max"));
  });
  const double median = number_or_nan(state.at("median"));
  Table table{"spikes-largest-table",
              "Largest values of a hidden state",
              fmt::format("The largest |h| of layer {}, which holds the largest of all, in the prompt that holds it; "
                          "the median there is {} (all prompts). {}.",
                          state.at("layer").get<int64_t>(), number(median), data_label(results)),
              {"rank", "value", "x median", "token", "dimension"},
              {}};
  for (const Json& entry : state.at("prompt_top")) {
    const double value = number_or_nan(entry.at("value"));
    table.rows.push_back({std::to_string(table.rows.size() + 1), number(value), number(std::abs(value) / median),
                          token_label(tokens, entry.at("prompt"), entry.at("token")),
                          std::to_string(entry.at("dim").get<int64_t>())});
  }
  return table;
}

Table writers_table(const Json& results) {
  Table table{"spikes-writers-table",
              "What writes and cancels the spikes",
              "",
              {"block", "dimension", "effect", "MLP", "attention", "neurons", "spikes"},
              {}};
  table.caption = fmt::format(
      "Change of the spike's dimension by each block that changes it by at least 5 % of its plateau, split into MLP "
      "and attention (means over the spikes counted in the last column, ± standard errors over windows), and the neurons that make up "
      "the MLP's part. "
      "{}.",
      data_label(results));
  if (results.at("writers_note").is_string())
    table.caption += " Note: " + results.at("writers_note").get<std::string>() + ".";
  for (const Json& writer : results.at("writers")) {
    std::vector<std::string> neurons;
    for (const Json& neuron : writer.at("neurons")) {
      if (std::abs(neuron.at("share").get<double>()) < 0.05 || neurons.size() == 4) break;
      neurons.push_back(fmt::format("{} ({})", neuron.at("index").get<int64_t>(),
                                    percent(neuron.at("share"), standard_error(neuron, "share"))));
    }
    table.rows.push_back({std::to_string(writer.at("block").get<int64_t>()),
                          std::to_string(writer.at("dim").get<int64_t>()), writer.at("effect"),
                          number_with_error(writer, "mlp"), number_with_error(writer, "attention"),
                          neurons.empty() ? "-" : fmt::format("{}", fmt::join(neurons, ", ")),
                          std::to_string(writer.at("spikes").get<int64_t>())});
  }
  return table;
}

}  // namespace spikescope
