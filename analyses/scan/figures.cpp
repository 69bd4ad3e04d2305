#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "analyses/labels.h"
#include "analyses/scan/scan_section.h"
#include "io/hdf5.h"
#include "stats/quantile.h"

namespace spikescope {
namespace {

std::vector<int64_t> leading_dims(const Json& results) { return results.at("leading").get<std::vector<int64_t>>(); }

/// The best candidates: the leading dimensions, or the first one.
std::vector<int64_t> best_dims(const Json& results) {
  std::vector<int64_t> dims = leading_dims(results);
  if (dims.empty()) dims.push_back(results.at("dims").at(0).at("dim"));
  return dims;
}

std::string dims_text(const std::vector<int64_t>& dims) {
  std::vector<std::string> words;
  for (const int64_t dim : dims) words.push_back(std::to_string(dim));
  return fmt::format("dimension{} {}", dims.size() == 1 ? "" : "s", join_words(words));
}

std::string sign_text(const Json& sign) { return sign == 0 ? "?" : sign > 0 ? "+" : "-"; }

std::string neuron_text(const Json& neuron) {
  const Json& expert = neuron.at("expert");
  return fmt::format("{}{}", neuron.at("index").get<int64_t>(),
                     expert.is_null()     ? ""
                     : expert.is_string() ? " (shared expert)"
                                          : fmt::format(" (expert {})", expert.get<int64_t>()));
}

std::string token_name(const Json& token) {
  const std::string piece = token.at("string");
  return piece.empty() ? fmt::format("id {}", token.at("id").get<int64_t>())
                       : fmt::format("'{}'", readable_piece(piece));
}

std::string expected_text(double log10_expected) {
  return log10_expected > -3.0 ? fmt::format("{:.2g}", std::pow(10.0, log10_expected))
                               : fmt::format("1e{:.1f}", log10_expected);
}

std::string tokens_sentence(const Json& results) {
  const Json& tokens = results.at("tokens");
  if (!tokens.at("applicable").get<bool>()) return fmt::format(" No tokens: {}.", tokens.at("why").get<std::string>());
  const Json& inside = tokens.at("inside");
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min<size_t>(3, inside.at("tokens").size()); ++i)
    names.push_back(token_name(inside.at("tokens").at(i)));
  const double ordinary = number_or_nan(inside.at("medians").at(0).at("median")),
               first = number_or_nan(tokens.at("first").at("medians").at(0).at("median"));
  return fmt::format(
      " Sent through the first {} without attention, the tokens that reach furthest are {} ({} times the vocabulary's "
      "median). At the first position, where attention sees the token alone, the median token reaches {} in dimension "
      "{} "
      "({} without attention).",
      tokens.at("blocks") == 1 ? "block" : fmt::format("{} blocks", tokens.at("blocks").get<int64_t>()),
      join_words(names), number(inside.at("tokens").at(0).at("times")), number(first),
      inside.at("medians").at(0).at("dim").get<int64_t>(), number(ordinary));
}

std::string against_sentence(const Json& results) {
  if (!results.contains("against")) return "";
  const Json& against = results.at("against");
  const Json& dims = against.at("dims");
  std::string text = fmt::format(" Of the {} spike dimensions that passes over {} prompts found, {} lead here",
                                 dims.at("count").get<int64_t>(), against.at("windows").get<int64_t>(),
                                 dims.at("leading_right").get<int64_t>());
  if (const Json& neurons = against.at("neurons"); !neurons.is_null() && neurons.at("count") > 0)
    text += fmt::format("; of the {} neurons that write or cancel them, {} are among the first {}",
                        neurons.at("count").get<int64_t>(), percent(number_or_nan(neurons.at("recall_at_2n"))),
                        2 * neurons.at("count").get<int64_t>());
  return text + ".";
}

std::string summary(const Json& results) {
  const std::vector<int64_t> leading = leading_dims(results);
  const Json& best = results.at("dims").at(0);
  const std::string chance = expected_text(number_or_nan(best.at("log10_expected")));
  std::string text =
      leading.empty()
          ? fmt::format(
                "No dimension stands out in what the neurons could write: the first, {}, would stand as high by "
                "chance in {} of as many dimensions.",
                best.at("dim").get<int64_t>(), chance)
          : fmt::format("The weights point at {}: by chance, {} dimensions would stand as high as the first.",
                        dims_text(leading), chance);
  if (!results.at("neurons").empty()) {
    const Json& neuron = results.at("neurons").at(0);
    text += fmt::format(" The neuron that points there most is {} of block {}, which can write up to {}.",
                        neuron_text(neuron), neuron.at("block").get<int64_t>(), number(neuron.at("bound")));
  }
  return text + tokens_sentence(results) + against_sentence(results);
}

Table dims_table(const Json& results) {
  Table table{
      "scan-dimensions",
      "Candidates for spike dimensions",
      fmt::format("Dimensions whose neurons could write most, over all blocks together. Expected: how many of the {} "
                  "dimensions would stand as high in a model without special ones. Sign: of what the neurons write "
                  "first. From the weights of {}.",
                  results.at("width").get<int64_t>(), results.at("model").get<std::string>()),
      {"dimension", "sign", "expected", "largest write of a neuron", "in block", ""},
      {}};
  for (const Json& row : results.at("dims"))
    table.rows.push_back({row.at("dim").dump(), sign_text(row.at("sign")),
                          expected_text(number_or_nan(row.at("log10_expected"))), number(row.at("bound")),
                          row.at("bound_block").dump(), row.at("leading").get<bool>() ? "leading" : ""});
  return table;
}

Table neurons_table(const Json& results) {
  Table table{
      "scan-neurons",
      "Candidates for neurons that write and cancel",
      fmt::format("Neurons that could write to {}. Score: the largest write over that of the block's ordinary neuron, "
                  "times the "
                  "share of all it writes that goes to this dimension. Lean: +1 can only raise the value, -1 only "
                  "lower it. From the weights of {}.",
                  dims_text(best_dims(results)), results.at("model").get<std::string>()),
      {"block", "neuron", "dimension", "score", "largest write", "share", "lean", "effect"},
      {}};
  for (const Json& row : results.at("neurons"))
    table.rows.push_back({row.at("block").dump(), neuron_text(row), row.at("dim").dump(), number(row.at("score")),
                          number(row.at("bound")), percent(row.at("share")),
                          fmt::format("{:+.2f}", row.at("lean").get<double>()), row.at("effect")});
  return table;
}

Table tokens_table(const Json& results) {
  const Json& tokens = results.at("tokens");
  Table table{
      "scan-tokens",
      "Candidates for spike tokens",
      fmt::format("Tokens whose states reach furthest at {} within the first {} blocks, each by itself, and how many "
                  "times the vocabulary's median that is. Anywhere: attention left out. First position: attention "
                  "sees the token alone. From the weights of {}.",
                  dims_text(best_dims(results)), tokens.at("blocks").get<int64_t>(),
                  results.at("model").get<std::string>()),
      {"anywhere", "dimension", "value", "times", "first position", "dimension", "value", "times"},
      {}};
  const Json &inside = tokens.at("inside").at("tokens"), &first = tokens.at("first").at("tokens");
  for (size_t i = 0; i < inside.size(); ++i) {
    std::vector<std::string>& row = table.rows.emplace_back();
    for (const Json* token : {&inside.at(i), &first.at(i)}) {
      row.push_back(token_name(*token));
      row.push_back(token->at("dim").dump());
      row.push_back(number(token->at("value")));
      row.push_back(number(token->at("times")));
    }
  }
  return table;
}

/// Surprise of the listed dimensions by block.
Figure surprise_figure(const Json& results, const std::vector<double>& surprise) {
  const auto blocks = results.at("blocks").get<size_t>(), width = results.at("width").get<size_t>();
  HeatMap map;
  map.z_label = "-log10 of chance";
  Figure figure;
  for (size_t block = 0; block < blocks; ++block) map.x.push_back(static_cast<double>(block));
  // The best on top.
  const Json& dims = results.at("dims");
  for (size_t i = dims.size(); i-- > 0;) {
    const auto dim = dims.at(i).at("dim").get<size_t>();
    map.y.push_back(static_cast<double>(figure.y.categories.size()));
    figure.y.categories.push_back(std::to_string(dim));
    for (size_t block = 0; block < blocks; ++block) {
      const double value = surprise[block * width + dim] / std::numbers::ln10;
      map.z.push_back(value);
      map.hover.push_back(fmt::format("dimension {}\nblock {}\n-log10 of chance {:.2f}", dim, block, value));
    }
  }
  figure.id = "scan-surprise";
  figure.title = "Where neurons point at the candidates";
  figure.caption = fmt::format(
      "By block: how improbable it is that some dimension's largest possible write is as large as this one's (3: one "
      "in a "
      "thousand); the {} dimensions with most evidence over all blocks, the best on top. {}, weights alone.",
      dims.size(), results.at("model").get<std::string>());
  figure.x.label = "block";
  figure.y.label = "dimension";
  figure.content = std::move(map);
  return figure;
}

/// The largest possible write to the best dimensions and to an ordinary one.
Figure bound_figure(const Json& results, const std::vector<double>& bound) {
  const auto blocks = results.at("blocks").get<size_t>(), width = results.at("width").get<size_t>();
  Lines lines;
  const auto curve = [&](const std::string& name, bool dashed, const auto& value) {
    Series series{name, {}, {}, Series::Mark::line_and_points, dashed, false, {}};
    for (size_t block = 0; block < blocks; ++block) {
      series.x.push_back(static_cast<double>(block));
      series.y.push_back(value(block));
    }
    lines.series.push_back(std::move(series));
  };
  const std::vector<int64_t> dims = best_dims(results);
  for (const int64_t dim : dims)
    curve(fmt::format("dimension {}", dim), false,
          [&](size_t block) { return bound[block * width + static_cast<size_t>(dim)]; });
  curve("median dimension", true, [&](size_t block) {
    return lower_median({bound.begin() + static_cast<std::ptrdiff_t>(block * width),
                         bound.begin() + static_cast<std::ptrdiff_t>((block + 1) * width)});
  });
  Figure figure;
  figure.id = "scan-bound";
  figure.title = "The largest write that a neuron could do";
  figure.caption = fmt::format(
      "By block: bound of what one neuron can add to or take from {} of the residual stream, on any input that its "
      "norm "
      "lets through, and the median of all dimensions. {}, weights alone.",
      dims_text(dims), results.at("model").get<std::string>());
  figure.x.label = "block";
  figure.y.label = "largest write";
  figure.y.log = true;
  figure.content = std::move(lines);
  return figure;
}

}  // namespace

Section scan_section(const Json& results, const H5File& arrays, const DumpReader&) {
  Section section;
  section.summary = summary(results);
  section.tables = {dims_table(results), neurons_table(results)};
  if (results.at("tokens").at("applicable").get<bool>()) section.tables.push_back(tokens_table(results));
  section.figures = {surprise_figure(results, arrays.read<double>("/surprise")),
                     bound_figure(results, arrays.read<double>("/bound"))};
  return section;
}

}  // namespace spikescope
