#include "report/exhibits.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/fail.h"
#include "report/judges.h"

namespace spikescope {
namespace {

Paper massive_activations() {
  return {
      "2402.17762",
      "Massive Activations in Large Language Models",
      "Sun, Chen, Kolter, Liu (2024)",
      {
          {"magnitudes",
           "Figure 1: magnitudes over token and dimension",
           "a few activations of a hidden state are thousands of times larger than its median",
           {"spikes-surface-*"},
           {"spikes"},
           judge_magnitudes},
          {"largest",
           "Largest magnitudes of a hidden state",
           "only a handful of them are massive, and the next ones are far smaller",
           {"spikes-largest-table"},
           {"spikes"},
           judge_few},
          {"layers",
           "Three largest magnitudes and the median by layer",
           "massive activations appear within a block or two, stay about as large through the middle layers, and are "
           "taken away near the end",
           {"spikes-magnitude", "spikes-writers", "spikes-writers-table"},
           {"spikes"},
           judge_layers},
          {"places",
           "Dimensions and tokens of massive activations",
           "they sit in a few fixed dimensions, and at the first token or tokens of little meaning",
           {"spikes-table"},
           {"spikes"},
           judge_places},
          {"constancy",
           "Mean and variance of the values over inputs",
           "their values hardly vary from input to input",
           {"convergence-table"},
           {"convergence"},
           judge_constancy},
          {"interventions",
           "Interventions: set to zero, set to the mean",
           "set to zero the model collapses, set to their mean nothing happens",
           {"interventions-table", "interventions-loss"},
           {"interventions"},
           judge_interventions},
          {"attention",
           "Attention logits before and after massive activations appear",
           "attention concentrates on the tokens with massive activations as soon as these are there",
           {"sinks-logits-*", "sinks-pattern-*", "sinks-heads", "sinks-spikes"},
           {"sinks"},
           judge_attention},
          {"norm",
           "What the norm makes of these tokens",
           "behind the norm the tokens with massive activations are nearly the same vector",
           {"convergence-cosine", "convergence-deviation"},
           {"convergence"},
           judge_convergence},
          {"bias",
           "The tokens' share of the attention output: an implicit bias",
           "what attention takes from these tokens is nearly the same for all queries, a bias",
           {"sinks-bias", "sinks-tokens-*"},
           {"sinks"},
           judge_bias},
          {"explicit-bias",
           "Explicit attention biases",
           "models trained with an explicit bias in attention have no massive activations",
           {},
           {},
           nullptr,
           "the exhibit compares models trained for it, with and without such a bias"},
          {"vision",
           "Massive activations in vision transformers",
           "vision transformers have massive activations, too",
           {"spikes-surface-*", "spikes-table"},
           {"spikes"},
           judge_images},
          {"registers",
           "Register tokens fixed to their mean",
           "registers carry the bias: fixed to their mean, accuracy stays",
           {},
           {},
           nullptr,
           "the exhibit measures accuracy on ImageNet, for which there are no labelled images here"},
      }};
}

Paper bias_vectors() {
  return {
      "2606.02288",
      "Massive Spikes in LLMs are Bias Vectors",
      "Chen, Lee, Liou, Verma (2026)",
      {
          {"convergence",
           "Convergence after normalisation",
           "spike tokens leave the norm as one and the same vector in all inputs",
           {"convergence-cosine", "convergence-deviation", "convergence-table"},
           {"convergence"},
           judge_convergence},
          {"layers",
           "Convergence heat map over layers",
           "the vector stays the same from layer to layer",
           {"convergence-layers"},
           {"convergence"},
           judge_across_layers},
          {"contrast",
           "W_K: contrastive amplification",
           "W_K amplifies what sets the spike tokens' vector apart more than what sets others apart",
           {"alignment-table"},
           {"alignment"},
           judge_contrast},
          {"alignment",
           "W_Q: alignment of queries with the spike tokens' key",
           "queries of ordinary tokens point at the template's key",
           {"alignment-keys", "alignment-logits", "alignment-heads"},
           {"alignment"},
           judge_keys},
          {"drain",
           "W_V: value drain",
           "the template's value is drained",
           {"alignment-values"},
           {"alignment"},
           judge_values},
          {"null-space",
           "W_V: the spectral null space",
           "the template lies in the directions that W_V maps to nearly nothing",
           {"null-space-v", "null-space-layers", "null-space-k", "null-space-q", "null-space-table"},
           {"null_space"},
           judge_null_space},
          {"bands",
           "RoPE: low-frequency bands",
           "the template's key has its energy in the pairs of channels that hardly turn",
           {"rope-bands-energy", "rope-bands-table"},
           {"rope_bands"},
           judge_slow_bands},
          {"zones",
           "RoPE: zones of rotational stability",
           "queries meet that key in slow pairs that are in phase",
           {"rope-bands-zone"},
           {"rope_bands"},
           judge_zones},
          {"distance",
           "Sink against distance",
           "the sink logit sits in slow, coherent RoPE pairs and so does not depend on distance",
           {"rope-bands-logit-*", "rope-bands-sigma"},
           {"rope_bands"},
           judge_distance},
          {"insertion",
           "InsertQuant: spikes taken out, templates put in",
           "without spikes the model works as before once the templates are put where the norms would have made them",
           {"interventions-table", "interventions-attention"},
           {"interventions"},
           judge_insertion},
          {"quantization",
           "InsertQuant: perplexity and accuracy after quantization",
           "free of spikes, activations can be quantized per tensor with little loss",
           {},
           {},
           nullptr,
           "this program does not quantize"},
      }};
}

}  // namespace

const Json& Evidence::operator[](std::string_view name) const {
  const Json* found = applied(results_, name);
  if (!found) fail("there are no results of {} to judge by", name);
  return *found;
}

std::string Evidence::missing(std::string_view name) const {
  if (applied(results_, name)) return "";
  for (const AnalysisResult& result : results_) {
    if (result.analysis->name != name) continue;
    return result.another_dump ? fmt::format("the results of {} are of another dump", name)
                               : result.results.value("why", fmt::format("{} could not be applied", name));
  }
  return fmt::format("{} was not run", name);
}

std::span<const Paper> papers() {
  static const std::vector<Paper> all = {massive_activations(), bias_vectors()};
  return all;
}

const Paper* find_paper(std::string_view id) {
  for (const std::string_view prefix : {"arXiv:", "arxiv:"})
    if (id.starts_with(prefix)) id.remove_prefix(prefix.size());
  if (const size_t version = id.find('v');
      version != std::string_view::npos && id.find_first_not_of("0123456789", version + 1) == std::string_view::npos)
    id = id.substr(0, version);
  const auto all = papers();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Paper& paper) { return paper.id == id; });
  return found == all.end() ? nullptr : &*found;
}

std::vector<std::string_view> needs_of(const Paper& paper) {
  std::vector<std::string_view> names;
  for (const Exhibit& exhibit : paper.exhibits)
    for (const std::string_view name : exhibit.needs)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

}  // namespace spikescope
