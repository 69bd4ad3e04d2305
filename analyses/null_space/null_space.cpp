#include "analyses/null_space/null_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "analyses/labels.h"
#include "analyses/layer_groups.h"
#include "analyses/null_space/matrices.h"
#include "analyses/null_space/plan.h"
#include "analyses/null_space/reading.h"
#include "analyses/templates.h"
#include "analyses/verdict.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "io/hdf5.h"
#include "model/gemm.h"
#include "model/weights.h"
#include "stats/jackknife.h"
#include "stats/moments.h"
#include "stats/spectrum.h"

namespace spikescope {
namespace {

/// k90 is the rank that holds this share of sum S^2.
constexpr double kShare = 0.9;
/// The template is in the bottom directions where C(k90) is at most this share of that of ordinary tokens.
constexpr double kBottom = 0.5;
/// The time is predicted from a decomposition of this size, and told from so many seconds on.
constexpr int64_t kTrialSide = 384;
constexpr double kWorthSaying = 10.0;
/// Digits of curves in the JSON; the .h5 has them all.
constexpr double kCurveUnit = 1e-8;

/// What the matrices are applied to: the template, and ordinary tokens.
struct Vectors {
  std::vector<float> of_template;  ///< [1 + groups, d]: all windows', then without one group of them each
  TokenVectors ordinary;
};

Vectors vectors_of(const TemplateVector& star, TokenVectors ordinary) {
  Vectors vectors{{star.all.begin(), star.all.end()}, std::move(ordinary)};
  for (const auto& mean : star.left_out)
    vectors.of_template.insert(vectors.of_template.end(), mean.begin(), mean.end());
  return vectors;
}

Vectors latents_of(const LatentReader& read, const Vectors& inputs) {
  Vectors latents{read(inputs.of_template), {}};
  const size_t templates = inputs.of_template.size() / static_cast<size_t>(inputs.ordinary.d);
  latents.ordinary.d = static_cast<int64_t>(latents.of_template.size() / templates);
  latents.ordinary.offsets = inputs.ordinary.offsets;
  latents.ordinary.values = read(inputs.ordinary.values);
  return latents;
}

/// What a matrix does with the template and the ordinary tokens of its block.
struct MatrixEnergies {
  std::vector<double> singular_values;
  int64_t k90 = 0;
  std::vector<double> of_template, of_semantic;        ///< C(R), [rank]
  std::vector<double> template_error, semantic_error;  ///< their standard errors over windows, [rank]
};

MatrixEnergies measure(std::span<const float> values, int64_t rows, const Vectors& vectors) {
  const TokenVectors& ordinary = vectors.ordinary;
  const Spectrum spectrum(values, rows, ordinary.d);
  const auto d = static_cast<size_t>(ordinary.d);
  const auto energy_of_template = [&](size_t row) {
    return spectrum.energy(std::span(vectors.of_template).subspan(row * d, d));
  };
  MatrixEnergies result{spectrum.singular_values(), spectrum.leading(kShare), energy_of_template(0), {}, {}, {}};
  std::vector<std::vector<double>> left_out;  // [rank][groups]
  left_out.resize(result.of_template.size());
  for (size_t row = 1; row < vectors.of_template.size() / d; ++row) {
    const std::vector<double> without = energy_of_template(row);
    for (size_t r = 0; r < left_out.size(); ++r) left_out[r].push_back(without[r]);
  }
  for (const auto& of_rank : left_out) result.template_error.push_back(jackknife_error(of_rank));
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
  for (const Moments& at : curve) {
    result.of_semantic.push_back(at.mean());
    result.semantic_error.push_back(at.standard_error());
  }
  return result;
}

/// `columns`: of the matrix. Nothing of a matrix that was not decomposed: the same keys, null.
Json at_k90(const MatrixEnergies& energies, int64_t columns) {
  const bool known = !energies.singular_values.empty();
  const auto at = [&](const std::vector<double>& curve) {
    return known && energies.k90 > 0 ? number_or_null(curve[static_cast<size_t>(energies.k90 - 1)]) : Json(nullptr);
  };
  return {{"k90", known ? Json(energies.k90) : Json(nullptr)},
          {"template", at(energies.of_template)},
          {"template_se", at(energies.template_error)},
          {"semantic", at(energies.of_semantic)},
          {"semantic_se", at(energies.semantic_error)},
          {"random", known ? Json(static_cast<double>(energies.k90) / static_cast<double>(columns)) : Json(nullptr)}};
}

Json curve_json(const std::vector<double>& curve) {
  Json json = Json::array();
  for (const double value : curve) json.push_back(number_or_null(std::round(value / kCurveUnit) * kCurveUnit));
  return json;
}

struct Curve {
  const char* name;
  std::vector<double> MatrixEnergies::*values;
};
constexpr Curve kCurves[] = {{"curve_template", &MatrixEnergies::of_template},
                             {"curve_template_se", &MatrixEnergies::template_error},
                             {"curve_semantic", &MatrixEnergies::of_semantic},
                             {"curve_semantic_se", &MatrixEnergies::semantic_error}};

/// The curves of one of the matrices in all blocks, for the .h5; NaN where it was not decomposed.
class CurveArrays {
 public:
  CurveArrays(int64_t blocks, int64_t rank)
      : blocks_(blocks),
        rank_(rank),
        singular_values_(static_cast<size_t>(blocks * rank), std::numeric_limits<double>::quiet_NaN()),
        curves_(std::size(kCurves), singular_values_) {}
  void put(int64_t block, const MatrixEnergies& energies) {
    const auto copy = [&](const std::vector<double>& from, std::vector<double>& to) {
      std::copy(from.begin(), from.end(), to.begin() + block * rank_);
    };
    copy(energies.singular_values, singular_values_);
    for (size_t i = 0; i < curves_.size(); ++i) copy(energies.*kCurves[i].values, curves_[i]);
  }
  void write(H5File& arrays, const std::string& matrix) const {
    const std::vector<int64_t> shape = {blocks_, rank_};
    arrays.write<double>("/" + matrix + "/singular_values", shape, std::span<const double>(singular_values_));
    for (size_t i = 0; i < curves_.size(); ++i)
      arrays.write<double>("/" + matrix + "/" + kCurves[i].name, shape, std::span<const double>(curves_[i]));
  }

 private:
  int64_t blocks_, rank_;
  std::vector<double> singular_values_;
  std::vector<std::vector<double>> curves_;
};

/// The results of a block whose parts are measured, by matrix.
Json matrices_json(const std::vector<Matrix>& matrices, const std::vector<Part>& parts,
                   const std::vector<MatrixEnergies>& energies) {
  Json json = Json::object();
  for (const Matrix& matrix : matrices) {
    Json row = at_k90({}, matrix.columns);
    for (const Curve& curve : kCurves) row[curve.name] = Json::array();
    row["kv_heads"] = std::vector<Json>(static_cast<size_t>(matrix.kv_heads));
    json[matrix.name] = std::move(row);
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    const Matrix& matrix = matrices[parts[i].matrix];
    Json &row = json[matrix.name], values = at_k90(energies[i], matrix.columns);
    if (parts[i].kv_head >= 0) {
      row["kv_heads"][static_cast<size_t>(parts[i].kv_head)] = std::move(values);
      continue;
    }
    row.update(values);
    for (const Curve& curve : kCurves) row[curve.name] = curve_json(energies[i].*curve.values);
  }
  return json;
}

/// What is going to be done, for people who wait.
std::string plan_text(const SpectrumPlan& plan, int64_t blocks, double seconds, double seconds_of_all) {
  std::vector<std::string> few;
  for (size_t i = 0; i < plan.matrices.size(); ++i)
    if (static_cast<int64_t>(plan.stacked[i].size()) < blocks)
      few.push_back(fmt::format("{} in {} of {} blocks", plan.matrices[i].name, plan.stacked[i].size(), blocks));
  const std::string text = fmt::format("null_space: singular directions will take about {}", duration_text(seconds));
  if (few.empty()) return text;
  return fmt::format("{}: of each KV head in all blocks, and stacked of {} (of all in all blocks: about {}; see "
                     "{})",
                     text, join_words(few), duration_text(seconds_of_all), kSpectrumLayersOption);
}

Verdict judge(const Json& results) {
  Verdict verdict;
  const std::string matrix = value_matrix(results);
  verdict.claim = fmt::format("the template lies in the directions that {} maps to nearly nothing", matrix);
  std::vector<std::string> found;
  size_t held = 0;
  for (const LayerGroup& group : layer_groups(results)) {
    if (!group.plateau) continue;
    const auto mean = [&](const char* key) { return matrix_mean(results, group, matrix, key); };
    const double share = mean("template"), reference = mean("semantic");
    if (std::isnan(share) || std::isnan(reference)) continue;
    held += share <= kBottom * reference;
    found.push_back(
        fmt::format("the leading directions with 90 % of {}'s energy hold {} of the template (ordinary tokens {}, random "
                    "vectors {}) in {}",
                    matrix, percent(share), percent(reference), percent(mean("random")), layer_range(group.first, group.last)));
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

Needs null_space_needs() { return {{"blocks.0.resid_pre", "blocks.*.resid_post"}, false, false}; }

Json run_null_space(const AnalysisInput& input, H5File& arrays) {
  const DumpReader& dump = input.dump;
  if (const std::string why = why_no_projections(input); !why.empty()) return {{"applicable", false}, {"why", why}};
  const ModelWeights& weights = input.weights();
  const int64_t blocks = dump.n_layers();
  const auto progress = [&](double fraction) {
    if (input.progress) input.progress(fraction);
  };
  constexpr double kScan = 0.05;  // of the bar
  const Templates templates(input, [&](double fraction) { progress(kScan * fraction); });

  int64_t vectors = 1 + window_groups(dump.tokens().n_prompts());
  for (const auto& window : templates.ordinary_tokens()) vectors += static_cast<int64_t>(window.size());
  const std::vector<Plateau> plateaus = find_plateaus(templates.states());
  const auto plan_of = [&](const LayerChoice& chosen) {
    return plan_spectra(matrices_of(weights), blocks, vectors, plateaus, chosen);
  };
  const SpectrumPlan plan = plan_of(input.spectrum_layers);
  const double work = plan.work(blocks, threads()),
               of_all = plan_of(parse_layers("all", kSpectrumLayersOption)).work(blocks, threads()),
               each = seconds_of_work(std::min(dump.d_model(), kTrialSide));
  if (input.note && each * work >= kWorthSaying) input.note(plan_text(plan, blocks, each * work, each * of_all));

  Json layers = Json::array();
  std::vector<CurveArrays> curves;
  for (const Matrix& matrix : plan.matrices) curves.emplace_back(blocks, matrix.rank());
  double done = 0.0, all = 0.0;
  std::mutex mutex;
  for (int64_t l = 0; l < blocks; ++l)
    for (const Part& part : plan.parts(l)) all += part.work;
  const auto began = std::chrono::steady_clock::now();
  for (int64_t l = 0; l < blocks; ++l) {
    const Vectors inputs = vectors_of(templates.at(l), templates.ordinary(l));
    Vectors latents;
    if (weights.architecture().latent) latents = latents_of(LatentReader(weights, static_cast<int>(l)), inputs);
    const std::vector<std::vector<float>> values = read_matrices(weights, static_cast<int>(l));
    const std::vector<Part> parts = plan.parts(l);
    std::vector<MatrixEnergies> energies(parts.size());
    parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t i) {
      const Part& part = parts[static_cast<size_t>(i)];
      const Matrix& matrix = plan.matrices[part.matrix];
      const auto rows = std::span(values[part.matrix])
                            .subspan(static_cast<size_t>(part.first_row * matrix.columns),
                                     static_cast<size_t>(part.rows * matrix.columns));
      energies[static_cast<size_t>(i)] = measure(rows, part.rows, matrix.of_latent ? latents : inputs);
      const std::lock_guard lock(mutex);
      done += part.work;
      progress(kScan + (1.0 - kScan) * done / all);
    });
    for (size_t i = 0; i < parts.size(); ++i)
      if (parts[i].kv_head < 0) curves[parts[i].matrix].put(l, energies[i]);
    layers.push_back({{"layer", l},
                      {"template", templates.source(l)},
                      {"matrices", matrices_json(plan.matrices, parts, energies)}});
  }
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();

  Json json = templates.json();
  json["predicted_seconds"] = each * work;
  json["decomposition_seconds"] = took;
  json["predicted_seconds_all_layers"] = each * of_all;
  json["matrices"] = Json::array();
  for (size_t i = 0; i < plan.matrices.size(); ++i) {
    const Matrix& matrix = plan.matrices[i];
    curves[i].write(arrays, matrix.name);
    json["matrices"].push_back({{"name", matrix.name},
                                {"rows", matrix.rows},
                                {"columns", matrix.columns},
                                {"reads", matrix.of_latent ? "latent" : "input"}});
    json["stacked_layers"][matrix.name] = plan.stacked[i];
  }
  json["layers"] = std::move(layers);
  json["verdict"] = to_json(judge(json));
  return json;
}

}  // namespace spikescope
