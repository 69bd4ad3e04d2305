#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "analyses/labels.h"
#include "analyses/layer_groups.h"
#include "analyses/null_space/matrices.h"
#include "analyses/null_space/null_space.h"
#include "analyses/verdict.h"

namespace spikescope {
namespace {

/// Mean over the layers of a group of a number of one matrix.
double matrix_mean(const Json& results, const LayerGroup& group, const char* matrix, const char* key) {
  return group_mean(results, group,
                    [&](const Json& layer) { return number_or_nan(layer.at("matrices").at(matrix).at(key)); });
}

/// The groups whose curves are shown: the plateaus, or, without any, all layers together.
std::vector<LayerGroup> shown_groups(const Json& results) {
  std::vector<LayerGroup> groups = layer_groups(results);
  std::erase_if(groups, [](const LayerGroup& group) { return !group.plateau; });
  if (groups.empty()) groups.push_back({0, static_cast<int64_t>(results.at("layers").size()) - 1, false});
  return groups;
}

Figure curve_figure(const Json& results, const char* matrix, int64_t d) {
  Figure figure;
  figure.id = fmt::format("null-space-{}", matrix == std::string("W_Q")   ? "q"
                                           : matrix == std::string("W_K") ? "k"
                                                                          : "v");
  figure.title = fmt::format("Energy in the leading directions of {}", matrix);
  Lines lines;
  std::vector<std::string> ranks;
  size_t rank = 0;
  for (const LayerGroup& group : shown_groups(results)) {
    rank =
        results.at("layers").at(static_cast<size_t>(group.first)).at("matrices").at(matrix).at("curve_template").size();
    for (const auto& [what, key] : {std::pair("template", "curve_template"), {"ordinary tokens", "curve_semantic"}}) {
      Series series{fmt::format("{}, {}", what, layer_range(group.first, group.last)),
                    {},
                    {},
                    Series::Mark::line,
                    false,
                    false,
                    {}};
      for (size_t r = 0; r < rank; ++r) {
        series.x.push_back(static_cast<double>(r + 1));
        series.y.push_back(group_mean(results, group, [&, key = key](const Json& layer) {
          return number_or_nan(layer.at("matrices").at(matrix).at(key).at(r));
        }));
      }
      lines.series.push_back(std::move(series));
    }
    ranks.push_back(fmt::format("{} in {}", fmt::format("{:.0f}", matrix_mean(results, group, matrix, "k90")),
                                layer_range(group.first, group.last)));
  }
  Series random{"random vectors", {}, {}, Series::Mark::line, true, false, {}};
  for (size_t r = 0; r < rank; ++r) {
    random.x.push_back(static_cast<double>(r + 1));
    random.y.push_back(static_cast<double>(r + 1) / static_cast<double>(d));
  }
  lines.series.push_back(std::move(random));
  figure.caption = fmt::format(
      "Share C(R) of a vector's energy within the R leading right singular directions of {} (all heads stacked): of "
      "the "
      "template, of ordinary tokens, and of random vectors (R / {}); means over layers. 90 % of the matrix' energy is "
      "in the "
      "first {} directions. {} {}.",
      matrix, d, join_words(ranks), matrix == std::string("W_V") ? verdict_text(results.at("verdict")) : "",
      data_label(results));
  figure.x.label = "R";
  figure.y.label = "C(R)";
  figure.y.log = true;
  figure.content = std::move(lines);
  return figure;
}

Figure layers_figure(const Json& results) {
  Lines lines;
  for (const auto& [what, key] :
       {std::pair("template", "template"), {"ordinary tokens", "semantic"}, {"random vectors", "random"}}) {
    Series series{what, {}, {}, Series::Mark::line_and_points, key == std::string("random"), false, {}};
    for (const Json& layer : results.at("layers")) {
      const Json& matrix = layer.at("matrices").at("W_V");
      series.x.push_back(layer.at("layer").get<double>());
      series.y.push_back(number_or_nan(matrix.at(key)));
      series.hover.push_back(fmt::format("layer {}, {}: {}\nk90 {}", layer.at("layer").get<int64_t>(), what,
                                         number(series.y.back()), matrix.at("k90").get<int64_t>()));
    }
    lines.series.push_back(std::move(series));
  }
  Figure figure;
  figure.id = "null-space-layers";
  figure.title = "Energy where W_V has 90 % of its own";
  figure.caption = fmt::format(
      "Share of a vector's energy within the leading directions that hold 90 % of W_V's: of the template (outside "
      "plateaus, "
      "which are shaded, of the latest spike tokens or the first token), of ordinary tokens and of random vectors. {}.",
      data_label(results));
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
  table.caption = fmt::format(
      "C(k90): share of a vector's energy in the directions that hold 90 % of the matrix' energy, of the template, of "
      "ordinary tokens, of random vectors; all: in all directions that the matrix does not map to zero. Means over "
      "layers. {}.",
      data_label(results));
  for (const LayerGroup& group : layer_groups(results)) {
    for (const Matrix& matrix : kMatrices) {
      const auto last = [&](const char* key) {
        return group_mean(results, group, [&](const Json& layer) {
          return number_or_nan(layer.at("matrices").at(matrix.name).at(key).back());
        });
      };
      table.rows.push_back({group.first == group.last ? fmt::format("{}", group.first)
                                                      : fmt::format("{} to {}", group.first, group.last),
                            group.plateau ? "yes" : "no", matrix.name,
                            fmt::format("{:.0f}", matrix_mean(results, group, matrix.name, "k90")),
                            number(matrix_mean(results, group, matrix.name, "template")),
                            number(matrix_mean(results, group, matrix.name, "semantic")),
                            number(matrix_mean(results, group, matrix.name, "random")), number(last("curve_template")),
                            number(last("curve_semantic"))});
    }
  }
  return table;
}

}  // namespace

Section null_space_section(const Json& results, const H5File&, const DumpReader& dump) {
  Section section;
  section.summary = verdict_text(results.at("verdict"));
  section.figures.push_back(layers_figure(results));
  for (const char* matrix : {"W_V", "W_K", "W_Q"})
    section.figures.push_back(curve_figure(results, matrix, dump.d_model()));
  section.tables.push_back(groups_table(results));
  return section;
}

}  // namespace spikescope
