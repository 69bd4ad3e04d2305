#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <string>
#include <utility>

#include "analyses/labels.h"
#include "analyses/layer_groups.h"
#include "analyses/null_space/null_space.h"
#include "analyses/null_space/reading.h"
#include "analyses/verdict.h"

namespace spikescope {
namespace {

/// The groups whose curves are shown: the plateaus with layers whose stacked matrix was decomposed, or, without any, all
/// layers together.
std::vector<LayerGroup> shown_groups(const Json& results, const std::string& matrix) {
  const Json& seen = results.at("stacked_layers").at(matrix);
  std::vector<LayerGroup> groups = layer_groups(results);
  std::erase_if(groups, [&](const LayerGroup& group) {
    return !group.plateau || std::none_of(seen.begin(), seen.end(), [&](const Json& layer) {
      return layer >= group.first && layer <= group.last;
    });
  });
  if (groups.empty()) groups.push_back({0, static_cast<int64_t>(results.at("layers").size()) - 1, false});
  return groups;
}

/// "W_V" to "v".
std::string id_of(const std::string& matrix) {
  std::string id = matrix.substr(matrix.find('_') + 1);
  std::transform(id.begin(), id.end(), id.begin(), [](unsigned char c) { return std::tolower(c); });
  return id;
}

/// What the vectors are of a matrix that reads something else than the block does.
std::string latent_note(const Json& matrix) {
  return matrix.at("reads") == "latent" ? " Vectors are the normed latents of keys and values." : "";
}

/// C(R) of a layer's stacked matrix; NaN where it was not decomposed.
double curve_value(const Json& layer, const std::string& matrix, const char* key, size_t index) {
  const Json& curve = layer.at("matrices").at(matrix).at(key);
  return index < curve.size() ? number_or_nan(curve.at(index)) : std::numeric_limits<double>::quiet_NaN();
}

/// "" where the stacked matrix was decomposed in all blocks, else in which.
std::string few_layers_note(const Json& results, const std::string& matrix) {
  if (stacked_everywhere(results, matrix)) return "";
  std::vector<std::string> layers;
  for (const Json& layer : results.at("stacked_layers").at(matrix)) layers.push_back(layer.dump());
  return fmt::format(" Layers looked at: {}.", join_words(layers));
}

Figure curve_figure(const Json& results, const Json& shape) {
  const std::string matrix = shape.at("name");
  const int64_t columns = shape.at("columns"), rank = std::min(shape.at("rows").get<int64_t>(), columns);
  Figure figure;
  figure.id = "null-space-" + id_of(matrix);
  figure.title = fmt::format("Energy in the leading directions of {}", matrix);
  Lines lines;
  std::vector<std::string> ranks;
  for (const LayerGroup& group : shown_groups(results, matrix)) {
    for (const auto& [what, key] : {std::pair("template", "curve_template"), {"ordinary tokens", "curve_semantic"}}) {
      Series series{fmt::format("{}, {}", what, layer_range(group.first, group.last)),
                    {},
                    {},
                    Series::Mark::line,
                    false,
                    false,
                    {}};
      for (int64_t r = 0; r < rank; ++r) {
        series.x.push_back(static_cast<double>(r + 1));
        const auto mean = [&, key = std::string(key)](const char* suffix) {
          return group_mean(results, group, [&](const Json& layer) {
            return curve_value(layer, matrix, (key + suffix).c_str(), static_cast<size_t>(r));
          });
        };
        series.y.push_back(mean(""));
        series.errors.push_back(mean("_se"));
      }
      lines.series.push_back(std::move(series));
    }
    const double k90 = group_mean(results, group, [&](const Json& layer) {
      return number_or_nan(layer.at("matrices").at(matrix).at("k90"));
    });
    ranks.push_back(fmt::format("{:.0f} in {}", k90, layer_range(group.first, group.last)));
  }
  Series random{"random vectors", {}, {}, Series::Mark::line, true, false, {}};
  for (int64_t r = 0; r < rank; ++r) {
    random.x.push_back(static_cast<double>(r + 1));
    random.y.push_back(static_cast<double>(r + 1) / static_cast<double>(columns));
  }
  lines.series.push_back(std::move(random));
  figure.caption = fmt::format(
      "Share C(R) of a vector's energy within the R leading right singular directions of {} (all heads stacked): of "
      "the template, of ordinary tokens, and of random vectors (R / {}); means over layers.{}{} 90 % of the matrix' "
      "energy is in the first {} directions. {} {}.",
      matrix, columns, latent_note(shape), few_layers_note(results, matrix), join_words(ranks),
      matrix == value_matrix(results) ? verdict_text(results.at("verdict")) : "", data_label(results));
  figure.x.label = "R";
  figure.y.label = "C(R)";
  figure.y.log = true;
  figure.content = std::move(lines);
  return figure;
}

Figure layers_figure(const Json& results) {
  const std::string matrix = value_matrix(results);
  Lines lines;
  for (const auto& [what, key] :
       {std::pair("template", "template"), {"ordinary tokens", "semantic"}, {"random vectors", "random"}}) {
    Series series{what, {}, {}, Series::Mark::line_and_points, key == std::string("random"), false, {}};
    for (const Json& layer : results.at("layers")) {
      series.x.push_back(layer.at("layer").get<double>());
      series.y.push_back(matrix_value(results, layer, matrix, key));
      series.errors.push_back(matrix_value(results, layer, matrix, (std::string(key) + "_se").c_str()));
      series.hover.push_back(fmt::format("layer {}, {}: {}\nk90 {:.0f}", layer.at("layer").get<int64_t>(), what,
                                         number(series.y.back(), series.errors.back()),
                                         matrix_value(results, layer, matrix, "k90")));
    }
    lines.series.push_back(std::move(series));
  }
  Figure figure;
  figure.id = "null-space-layers";
  figure.title = fmt::format("Energy where {} has 90 % of its own", matrix);
  figure.caption = fmt::format(
      "Share of a vector's energy within the leading directions that hold 90 % of {}'s{}: of the template (outside "
      "plateaus, which are shaded, of the latest spike tokens or the first token), of ordinary tokens and of random "
      "vectors.{} {}.",
      matrix, stacked_everywhere(results, matrix) ? "" : " (of each KV head alone; means over these)",
      latent_note(results.at("matrices").back()), data_label(results));
  figure.x.label = "layer";
  figure.y.label = "C(k90)";
  figure.y.log = true;
  figure.bands = plateau_bands(results);
  figure.content = std::move(lines);
  return figure;
}

Table groups_table(const Json& results) {
  Table table{"null-space-table",
              "Energy in the leading directions",
              "",
              {"layers", "spikes", "matrix", "k90", "template", "ordinary", "random", "all: template", "all: ordinary"},
              {}};
  std::vector<std::string> by_head;
  for (const Json& shape : results.at("matrices"))
    if (!stacked_everywhere(results, shape.at("name"))) by_head.push_back(shape.at("name"));
  for (const LayerGroup& group : layer_groups(results)) {
    for (const Json& shape : results.at("matrices")) {
      const std::string matrix = shape.at("name");
      const int64_t rank = std::min(shape.at("rows").get<int64_t>(), shape.at("columns").get<int64_t>());
      const auto last = [&](const char* key) {
        return group_mean(results, group, [&](const Json& layer) {
          return curve_value(layer, matrix, key, static_cast<size_t>(rank - 1));
        });
      };
      const auto with_error = [&](const std::string& key) {
        return number(matrix_mean(results, group, matrix, key.c_str()),
                      matrix_mean(results, group, matrix, (key + "_se").c_str()));
      };
      table.rows.push_back({group.first == group.last ? fmt::format("{}", group.first)
                                                      : fmt::format("{} to {}", group.first, group.last),
                            group.plateau ? "yes" : "no", matrix,
                            fmt::format("{:.0f}", matrix_mean(results, group, matrix, "k90")),
                            with_error("template"), with_error("semantic"),
                            number(matrix_mean(results, group, matrix, "random")), number(last("curve_template")),
                            number(last("curve_semantic"))});
    }
  }
  table.caption = fmt::format(
      "C(k90): share of a vector's energy in the directions that hold 90 % of the matrix' energy, of the template, of "
      "ordinary tokens, of random vectors; all: in all directions that the matrix does not map to zero. Means over "
      "layers{}, ± the mean standard error over windows. {}.",
      by_head.empty() ? "" : fmt::format(" (of {}: C(k90) of each KV head alone, means over these)", join_words(by_head)),
      data_label(results));
  return table;
}

}  // namespace

Section null_space_section(const Json& results, const H5File&, const DumpReader&) {
  Section section;
  section.summary = verdict_text(results.at("verdict"));
  section.figures.push_back(layers_figure(results));
  const Json& matrices = results.at("matrices");
  for (auto shape = matrices.rbegin(); shape != matrices.rend(); ++shape)
    if (!results.at("stacked_layers").at(shape->at("name").get<std::string>()).empty())
      section.figures.push_back(curve_figure(results, *shape));
  section.tables.push_back(groups_table(results));
  return section;
}

}  // namespace spikescope
