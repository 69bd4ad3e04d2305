#include "analyses/null_space/null_space.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "analyses/labels.h"
#include "analyses/layer_groups.h"
#include "analyses/null_space/matrices.h"
#include "analyses/templates.h"
#include "analyses/verdict.h"
#include "base/parallel.h"
#include "io/hdf5.h"
#include "model/weights.h"
#include "stats/moments.h"
#include "stats/spectrum.h"

namespace spikescope {
namespace {

/// k90 is the rank that holds this share of sum S^2.
constexpr double kShare = 0.9;
/// The template is in the bottom directions where C(k90) is at most this share of that of ordinary tokens.
constexpr double kBottom = 0.5;
/// Digits of curves in the JSON; the .h5 has them all.
constexpr double kCurveUnit = 1e-8;

/// What a matrix does with the template and the ordinary tokens of its block.
struct MatrixEnergies {
  std::vector<double> singular_values;
  int64_t k90 = 0;
  std::vector<double> of_template, of_semantic;  ///< C(R), [rank]
  Moments semantic;                              ///< C(k90), over windows
};

MatrixEnergies measure(std::span<const float> values, int64_t rows, std::span<const float> x_star,
                       const TokenVectors& ordinary) {
  const Spectrum spectrum(values, rows, ordinary.d);
  MatrixEnergies result{spectrum.singular_values(), spectrum.leading(kShare), spectrum.energy(x_star), {}, {}};
  std::vector<Moments> curve(static_cast<size_t>(spectrum.rank()));
  for (int64_t prompt = 0; prompt < ordinary.n_prompts(); ++prompt) {
    const int64_t first = ordinary.offsets[static_cast<size_t>(prompt)],
                  count = ordinary.offsets[static_cast<size_t>(prompt) + 1] - first;
    const std::vector<double> window =
        spectrum.energy(std::span(ordinary.values)
                            .subspan(static_cast<size_t>(first * ordinary.d), static_cast<size_t>(count * ordinary.d)));
    if (std::isnan(window.back())) continue;
    for (size_t r = 0; r < curve.size(); ++r) curve[r].add(window[r]);
  }
  for (const Moments& at : curve) result.of_semantic.push_back(at.mean());
  if (result.k90 > 0) result.semantic = curve[static_cast<size_t>(result.k90 - 1)];
  return result;
}

Json at_k90(const MatrixEnergies& energies, int64_t d) {
  const auto index = static_cast<size_t>(energies.k90 - 1);
  return {{"k90", energies.k90},
          {"template", energies.k90 > 0 ? number_or_null(energies.of_template[index]) : Json(nullptr)},
          {"semantic", number_or_null(energies.semantic.mean())},
          {"semantic_se", number_or_null(energies.semantic.standard_error())},
          {"random", static_cast<double>(energies.k90) / static_cast<double>(d)}};
}

Json curve_json(const std::vector<double>& curve) {
  Json json = Json::array();
  for (const double value : curve) json.push_back(number_or_null(std::round(value / kCurveUnit) * kCurveUnit));
  return json;
}

/// The curves of one of the three matrices in all blocks, for the .h5.
struct Curves {
  std::vector<double> singular_values, of_template, of_semantic;
  int64_t rank = 0;

  void add(const MatrixEnergies& energies) {
    rank = static_cast<int64_t>(energies.singular_values.size());
    singular_values.insert(singular_values.end(), energies.singular_values.begin(), energies.singular_values.end());
    of_template.insert(of_template.end(), energies.of_template.begin(), energies.of_template.end());
    of_semantic.insert(of_semantic.end(), energies.of_semantic.begin(), energies.of_semantic.end());
  }
  void write(H5File& arrays, const std::string& name, int64_t blocks) const {
    const std::vector<int64_t> shape = {blocks, rank};
    arrays.write<double>("/" + name + "/singular_values", shape, std::span<const double>(singular_values));
    arrays.write<double>("/" + name + "/curve_template", shape, std::span<const double>(of_template));
    arrays.write<double>("/" + name + "/curve_semantic", shape, std::span<const double>(of_semantic));
  }
};

Verdict judge(const Json& results) {
  Verdict verdict;
  verdict.claim = "the template lies in the directions that W_V maps to nearly nothing";
  std::vector<std::string> found;
  size_t held = 0;
  for (const LayerGroup& group : layer_groups(results)) {
    if (!group.plateau) continue;
    const auto mean = [&](const char* key) {
      return group_mean(results, group,
                        [key](const Json& layer) { return number_or_nan(layer.at("matrices").at("W_V").at(key)); });
    };
    const double share = mean("template"), reference = mean("semantic");
    if (std::isnan(share) || std::isnan(reference)) continue;
    held += share <= kBottom * reference;
    found.push_back(
        fmt::format("the leading directions with 90 % of W_V's energy hold {} of the template (ordinary tokens {}, "
                    "random vectors {}) "
                    "in {}",
                    percent(share), percent(reference), percent(mean("random")), layer_range(group.first, group.last)));
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

Needs null_space_needs() { return {{"blocks.0.resid_pre", "blocks.*.resid_post", "blocks.*.ln1.out"}, false, false}; }

Json run_null_space(const AnalysisInput& input, H5File& arrays) {
  const DumpReader& dump = input.dump;
  if (const std::string why = why_no_projections(input); !why.empty()) return {{"applicable", false}, {"why", why}};
  const ModelWeights& weights = input.weights();
  const int64_t d = dump.d_model(), blocks = dump.n_layers();

  const auto progress = [&](double fraction) {
    if (input.progress) input.progress(fraction);
  };
  const Templates templates(dump, input.seed, [&](double fraction) { progress(0.1 * fraction); });
  Json layers = Json::array();
  std::vector<Curves> curves(kMatrices.size());
  for (int64_t l = 0; l < blocks; ++l) {
    const std::vector<double> mean = templates.at(l);
    const std::vector<float> x_star(mean.begin(), mean.end());
    const TokenVectors ordinary = templates.ordinary(l);
    const std::vector<Part> parts = block_parts(weights, static_cast<int>(l));
    std::vector<MatrixEnergies> energies(parts.size());
    parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t i) {
      const Part& part = parts[static_cast<size_t>(i)];
      energies[static_cast<size_t>(i)] = measure(part.values, part.rows, x_star, ordinary);
    });

    Json matrices = Json::object();
    for (size_t i = 0; i < parts.size(); ++i) {
      Json row = at_k90(energies[i], d);
      if (parts[i].kv_head < 0) {
        curves[parts[i].matrix].add(energies[i]);
        row["curve_template"] = curve_json(energies[i].of_template);
        row["curve_semantic"] = curve_json(energies[i].of_semantic);
        row["kv_heads"] = Json::array();
        matrices[kMatrices[parts[i].matrix].name] = std::move(row);
      } else {
        matrices[kMatrices[parts[i].matrix].name]["kv_heads"].push_back(std::move(row));
      }
    }
    layers.push_back({{"layer", l}, {"template", templates.source(l)}, {"matrices", std::move(matrices)}});
    progress(0.1 + 0.9 * static_cast<double>(l + 1) / static_cast<double>(blocks));
  }
  for (size_t i = 0; i < curves.size(); ++i) curves[i].write(arrays, kMatrices[i].name, blocks);

  Json json = templates.json();
  json["layers"] = std::move(layers);
  json["verdict"] = to_json(judge(json));
  return json;
}

}  // namespace spikescope
