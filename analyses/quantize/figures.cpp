#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "analyses/labels.h"
#include "analyses/quantize/quantize_section.h"
#include "base/text.h"

namespace spikescope {
namespace {

constexpr double kAlike = 2.0;  // curves within this factor of each other in every block are drawn once
constexpr const char* kNothingRounded = "nothing rounded";

using RowNumber = std::function<double(const Json& row)>;

std::string method_of(const Json& row) { return row.at("method"); }

/// "insertquant A8".
std::string row_name(const Json& row) {
  const std::string bits = row_bits(row);
  return method_of(row) + (bits.empty() ? "" : " " + bits);
}

double row_loss(const Json& row) { return number_or_nan(row.at("dnll")); }

double row_accuracy(const Json& row) {
  return row.contains("zero_shot") ? number_or_nan(row.at("zero_shot").at("average"))
                                   : std::numeric_limits<double>::quiet_NaN();
}

/// "29.188"; whole from 1,000 on.
std::string perplexity_text(const Json& row) {
  const double perplexity = number_or_nan(row.at("perplexity"));
  return perplexity < 1000.0 ? fmt::format("{:.3f}", perplexity) : number(perplexity);
}

/// "53.8 ± 0.4 %" of a key and its standard error.
std::string share_text(const Json& of, const std::string& key) {
  const double error = standard_error(of, key);
  return fmt::format("{:.1f}{} %", 100.0 * number_or_nan(of.at(key)),
                     std::isnan(error) ? "" : fmt::format(" ± {:.1f}", 100.0 * error));
}

/// The rows but the first, which is the model as it is.
std::vector<const Json*> changed_rows(const Json& results) {
  std::vector<const Json*> rows;
  for (const Json& row : results.at("rows")) rows.push_back(&row);
  rows.erase(rows.begin());
  return rows;
}

/// Rows of the same bits, in the order in which these first occur.
std::vector<std::pair<std::string, std::vector<const Json*>>> rows_by_bits(const Json& results) {
  std::vector<std::pair<std::string, std::vector<const Json*>>> groups;
  for (const Json* row : changed_rows(results)) {
    const std::string bits = row_bits(*row);
    const auto found =
        std::find_if(groups.begin(), groups.end(), [&](const auto& group) { return group.first == bits; });
    (found == groups.end() ? groups.emplace_back(bits, std::vector<const Json*>()) : *found).second.push_back(row);
  }
  return groups;
}

std::string hover_of(const Json& row) {
  std::string text = fmt::format("{}\nperplexity {}\ndifference {} nats\nlargest |h| {}", row_name(row),
                                 number(row.at("perplexity")), row_difference(row), number(row.at("largest_h")));
  if (row.contains("zero_shot")) text += fmt::format("\nright answers {}", share_text(row.at("zero_shot"), "average"));
  return text;
}

// --- Words --------------------------------------------------------------------------------------

std::string bits_sentence(const std::string& bits, const std::vector<const Json*>& rows) {
  const auto [least, most] = std::minmax_element(
      rows.begin(), rows.end(), [](const Json* a, const Json* b) { return row_loss(*a) < row_loss(*b); });
  const auto text = [](const Json& row) { return fmt::format("{} ({})", method_of(row), row_difference(row)); };
  if (bits.empty()) {
    std::vector<std::string> words;
    for (const Json* row : rows)
      words.push_back(fmt::format("{}, largest |h| {}", text(*row), number(row->at("largest_h"))));
    return fmt::format(" With {}: {}.", kNothingRounded, join_words(words));
  }
  if (rows.size() == 1) return fmt::format(" {}: {}.", bits, text(**least));
  return fmt::format(" {}: the least is that of {}, the most that of {}.", bits, text(**least), text(**most));
}

std::string summary(const Json& results) {
  const Json& reference = results.at("rows").at(0);
  std::string text =
      fmt::format("As it is, the model has a perplexity of {} and a largest |h| of {} on {}.",
                  number(reference.at("perplexity")), number(reference.at("largest_h")), windows_label(results));
  const auto groups = rows_by_bits(results);
  if (!groups.empty()) text += " Rise of the loss (nats a token, with its standard error over windows, paired):";
  for (const auto& group : groups) text += bits_sentence(group.first, group.second);
  return text;
}

Table rows_table(const Json& results) {
  const bool asked = results.at("rows").at(0).contains("zero_shot");
  Table table{
      "quantize-table",
      "Methods and bits",
      fmt::format("A, W: bits of activations and weights. dNLL: loss less that of the model as it is, nats a "
                  "token, ± standard error over windows, paired. {}Largest |h|: of any state after a block. New "
                  "spikes: tokens that have one only here. Matrices: what those of the blocks take at these bits, "
                  "scales included; weights: all of them; in MiB. Seconds: of the passes over the windows. "
                  "{}, {}.",
                  asked ? "Answers: right ones, mean over tasks. " : "", results.at("model").get<std::string>(),
                  windows_label(results)),
      {"method", "A", "W", "perplexity", "dNLL"},
      {}};
  if (asked) table.columns.emplace_back("answers");
  for (const char* column : {"largest |h|", "new spikes", "matrices", "weights", "seconds"})
    table.columns.emplace_back(column);
  const auto bits = [](const Json& value) { return value.is_null() ? "–" : value.dump(); };
  const auto mebibytes = [](const Json& bytes) { return fmt::format("{:.1f}", bytes.get<double>() / (1 << 20)); };
  for (const Json& row : results.at("rows")) {
    std::vector<std::string>& cells = table.rows.emplace_back();
    cells = {method_of(row), bits(row.at("bits_activation")), bits(row.at("bits_weight")), perplexity_text(row),
             &row == &results.at("rows").at(0) ? "" : row_difference(row)};
    if (asked) cells.push_back(share_text(row.at("zero_shot"), "average"));
    cells.push_back(number(row.at("largest_h")));
    cells.push_back(format_count(row.at("new_spikes").get<int64_t>()));
    cells.push_back(mebibytes(row.at("matrix_bytes")));
    cells.push_back(mebibytes(row.at("bytes")));
    cells.push_back(fmt::format("{:.1f}", row.at("seconds").get<double>()));
  }
  return table;
}

Table tasks_table(const Json& results) {
  const Json& asked = results.at("rows").at(0).at("zero_shot").at("tasks");
  Table table{"quantize-tasks-table",
              "Right answers by task",
              fmt::format("Without examples: the choice whose log-likelihood is the largest counts as the answer; ± "
                          "standard error over questions. {}.",
                          results.at("model").get<std::string>()),
              {"method", "bits"},
              {}};
  for (const auto& task : asked.items())
    table.columns.push_back(fmt::format("{} ({})", task.key(), task.value().at("rows").get<int64_t>()));
  for (const Json& row : results.at("rows")) {
    std::vector<std::string>& cells = table.rows.emplace_back(std::vector<std::string>{method_of(row), row_bits(row)});
    for (const auto& task : row.at("zero_shot").at("tasks").items()) cells.push_back(share_text(task.value(), "acc"));
  }
  return table;
}

// --- Figures ------------------------------------------------------------------------------------

/// Methods beside each other, a series for each kind of bits.
Figure methods_figure(const Json& results, Series::Mark mark, const RowNumber& value, const RowNumber& error) {
  Figure figure;
  std::vector<std::string>& methods = figure.x.categories;
  for (const Json* row : changed_rows(results))
    if (std::find(methods.begin(), methods.end(), method_of(*row)) == methods.end()) methods.push_back(method_of(*row));
  Lines lines;
  for (const auto& group : rows_by_bits(results)) {
    Series series{.name = group.first.empty() ? kNothingRounded : group.first, .mark = mark};
    for (const Json* row : group.second) {
      series.x.push_back(
          static_cast<double>(std::find(methods.begin(), methods.end(), method_of(*row)) - methods.begin()));
      series.y.push_back(value(*row));
      series.errors.push_back(error(*row));
      series.hover.push_back(hover_of(*row));
    }
    lines.series.push_back(std::move(series));
  }
  figure.content = std::move(lines);
  return figure;
}

/// A line at the value of the model as it is.
void add_reference(Figure& figure, double value) {
  const double end = static_cast<double>(figure.x.categories.size()) - 0.5;
  std::get<Lines>(figure.content)
      .series.push_back({.name = "as it is", .x = {-0.5, end}, .y = {value, value}, .dashed = true});
}

Figure perplexity_figure(const Json& results) {
  const auto perplexity = [](const Json& row) { return number_or_nan(row.at("perplexity")); };
  // Of the difference: what all models find hard in a window drops out.
  Figure figure = methods_figure(results, Series::Mark::bars, perplexity,
                                 [&](const Json& row) { return perplexity(row) * number_or_nan(row.at("dnll_se")); });
  add_reference(figure, perplexity(results.at("rows").at(0)));
  figure.id = "quantize-perplexity";
  figure.title = "Perplexity by method and bits";
  figure.caption = fmt::format(
      "exp of the mean loss (log scale), by method; A: bits of activations, W: of weights. Whiskers: standard error of "
      "the difference to the model as it is, over windows. {}, {}.",
      results.at("model").get<std::string>(), windows_label(results));
  figure.y.label = "perplexity";
  figure.y.log = true;
  return figure;
}

Figure loss_figure(const Json& results) {
  Figure figure = methods_figure(results, Series::Mark::points, row_loss,
                                 [](const Json& row) { return number_or_nan(row.at("dnll_se")); });
  figure.id = "quantize-loss";
  figure.title = "Rise of the loss by method and bits";
  figure.caption = fmt::format(
      "Loss less that of the model as it is (nats a token, log scale), paired over windows, with its standard error. "
      "Where the loss does not rise, there is no point. {}, {}.",
      results.at("model").get<std::string>(), windows_label(results));
  figure.y.label = "rise of the loss (nats)";
  figure.y.log = true;
  return figure;
}

Figure answers_figure(const Json& results) {
  Figure figure = methods_figure(results, Series::Mark::bars, row_accuracy,
                                 [](const Json& row) { return number_or_nan(row.at("zero_shot").at("average_se")); });
  add_reference(figure, row_accuracy(results.at("rows").at(0)));
  std::vector<std::string> names;
  for (const auto& task : results.at("rows").at(0).at("zero_shot").at("tasks").items()) names.push_back(task.key());
  figure.id = "quantize-answers";
  figure.title = "Right answers by method and bits";
  figure.caption =
      fmt::format("Share of right answers without examples, mean over {}, with its standard error over questions. {}.",
                  join_words(names), results.at("model").get<std::string>());
  figure.y.label = "right answers";
  return figure;
}

std::vector<double> largest_by_block(const Json& row) {
  std::vector<double> largest;
  for (const Json& block : row.at("blocks")) largest.push_back(number_or_nan(block.at("largest_h")));
  return largest;
}

bool alike(const std::vector<double>& a, const std::vector<double>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](double x, double y) { return x <= kAlike * y && y <= kAlike * x; });
}

/// A method's first row stands for it, and one method for all whose curves would cover each other.
Figure largest_figure(const Json& results) {
  struct Curve {
    const Json* row;
    std::vector<double> largest;
    std::vector<std::string> others;
  };
  std::vector<Curve> curves;
  std::vector<std::string> methods;
  for (const Json& row : results.at("rows")) {
    if (std::find(methods.begin(), methods.end(), method_of(row)) != methods.end()) continue;
    methods.push_back(method_of(row));
    std::vector<double> largest = largest_by_block(row);
    const auto same =
        std::find_if(curves.begin(), curves.end(), [&](const Curve& curve) { return alike(curve.largest, largest); });
    if (same == curves.end())
      curves.push_back({&row, std::move(largest), {}});
    else
      same->others.push_back(row_name(row));
  }
  Lines lines;
  std::string likeness;
  for (const Curve& curve : curves) {
    Series series{.name = row_name(*curve.row), .mark = Series::Mark::line_and_points};
    for (size_t block = 0; block < curve.largest.size(); ++block) {
      series.x.push_back(static_cast<double>(block));
      series.y.push_back(curve.largest[block]);
      series.hover.push_back(fmt::format("{}\nafter block {}: {}", series.name, block, number(curve.largest[block])));
    }
    if (!curve.others.empty()) likeness += fmt::format(" Like {}: {}.", series.name, join_words(curve.others));
    lines.series.push_back(std::move(series));
  }
  Figure figure;
  figure.id = "quantize-largest";
  figure.title = "The largest value by block";
  figure.caption = fmt::format(
      "Largest |h| (dimensionless, log scale) of any token after each block. Methods that stay within a factor of {:g} "
      "of "
      "one of the curves in every block are not drawn.{} {}, {}.",
      kAlike, likeness, results.at("model").get<std::string>(), windows_label(results));
  figure.x.label = "block";
  figure.y.label = "largest |h|";
  figure.y.log = true;
  figure.content = std::move(lines);
  return figure;
}

}  // namespace

std::string row_bits(const Json& row) {
  std::string text;
  for (const auto& [key, letter] : {std::pair("bits_activation", 'A'), {"bits_weight", 'W'}})
    if (const Json& bits = row.at(key); !bits.is_null())
      text += fmt::format("{}{}{}", text.empty() ? "" : " ", letter, bits.get<int64_t>());
  return text;
}

std::string row_difference(const Json& row) {
  const double difference = row_loss(row), error = standard_error(row, "dnll");
  if (std::isnan(difference)) return "-";
  const std::string text = fmt::format("{:+.4f}", difference);
  return std::isnan(error) ? text : text + fmt::format(" ± {:.4f}", error);
}

std::string windows_label(const Json& results) {
  const auto windows = results.at("windows").get<int64_t>();
  return fmt::format("{} window{} of {} tokens of {}", windows, windows == 1 ? "" : "s",
                     results.at("length").get<int64_t>(), results.at("text").get<std::string>());
}

Section quantize_section(const Json& results) {
  Section section;
  section.summary = summary(results);
  section.tables = {rows_table(results)};
  if (results.at("rows").size() > 1) {
    section.figures = {perplexity_figure(results)};
    if (std::any_of(results.at("rows").begin(), results.at("rows").end(),
                    [](const Json& row) { return row_loss(row) > 0.0; }))
      section.figures.push_back(loss_figure(results));
  }
  if (results.at("rows").at(0).contains("zero_shot")) {
    section.tables.push_back(tasks_table(results));
    if (results.at("rows").size() > 1) section.figures.push_back(answers_figure(results));
  }
  section.figures.push_back(largest_figure(results));
  return section;
}

Section quantize_section(const Json& results, const H5File&, const DumpReader&) { return quantize_section(results); }

}  // namespace spikescope
