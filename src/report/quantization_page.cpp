#include "report/quantization_page.h"

#include <fmt/format.h>

#include <map>

#include "analyses/labels.h"
#include "analyses/quantize/quantize_section.h"
#include "figure/csv.h"

namespace spikescope {
namespace {

constexpr size_t kMostCards = 5;

/// What the model loses least with, for each kind of bits.
std::vector<Finding> findings_of_rows(const Json& results) {
  const Json& rows = results.at("rows");
  std::vector<Finding> findings = {
      {"Perplexity as it is", number(rows.at(0).at("perplexity")), windows_label(results)}};
  std::vector<std::string> order;
  std::map<std::string, const Json*> best;
  for (const Json& row : rows) {
    const std::string bits = row_bits(row);
    if (bits.empty() || row.at("dnll").is_null()) continue;
    const auto [at, fresh] = best.emplace(bits, &row);
    if (fresh) order.push_back(bits);
    if (row.at("dnll") < at->second->at("dnll")) at->second = &row;
  }
  for (const std::string& bits : order) {
    if (findings.size() == kMostCards) break;
    const Json& row = *best.at(bits);
    findings.push_back(
        {"Least loss at " + bits, fmt::format("{:+.4f}", row.at("dnll").get<double>()),
         fmt::format("{}, perplexity {}", row.at("method").get<std::string>(), number(row.at("perplexity")))});
  }
  return findings;
}

/// A bar would end a cell of Markdown.
std::string markdown_cell(const std::string& cell) {
  std::string text;
  for (const char c : cell) text += c == '|' ? "\\|" : std::string(1, c);
  return text;
}

std::string markdown_line(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) line += cell.empty() ? " |" : fmt::format(" {} |", markdown_cell(cell));
  return line + "\n";
}

}  // namespace

ReportPage quantization_page(const Json& results) {
  ReportPage page;
  page.title = fmt::format("{}, quantized", results.at("model").get<std::string>());
  page.findings = findings_of_rows(results);
  Section section = quantize_section(results);
  page.summary = std::move(section.summary);
  page.sections.push_back({"table", "One table", {"", std::move(section.tables), {}}});
  page.sections.push_back({"figures", "Figures", {"", {}, std::move(section.figures)}});
  return page;
}

std::string quantization_csv(const Json& results) {
  Table table;
  for (const char* key : {"method", "bits_activation", "bits_weight", "perplexity", "dnll", "dnll_se", "largest_h",
                          "new_spikes", "seconds", "bytes", "matrix_bytes"})
    table.columns.emplace_back(key);
  const size_t of_all = table.columns.size();
  const bool asked = results.at("rows").at(0).contains("zero_shot");
  if (asked) {
    table.columns.insert(table.columns.end(), {"zero_shot", "zero_shot_se"});
    for (const auto& task : results.at("rows").at(0).at("zero_shot").at("tasks").items())
      table.columns.push_back(task.key());
  }
  const auto text = [](const Json& value) {
    return value.is_null() ? "" : value.is_string() ? value.get<std::string>() : value.dump();
  };
  for (const Json& row : results.at("rows")) {
    std::vector<std::string>& cells = table.rows.emplace_back();
    for (size_t i = 0; i < of_all; ++i) cells.push_back(text(row.at(table.columns[i])));
    if (!asked) continue;
    const Json& answers = row.at("zero_shot");
    for (const char* key : {"average", "average_se"}) cells.push_back(text(answers.at(key)));
    for (const auto& task : answers.at("tasks").items()) cells.push_back(text(task.value().at("acc")));
  }
  return to_csv(table);
}

std::string quantization_markdown(const Json& results) {
  const Section section = quantize_section(results);
  const Table& table = section.tables.at(0);
  std::string text = markdown_line(table.columns) + "|";
  for (size_t i = 0; i < table.columns.size(); ++i) text += "---|";
  text += "\n";
  for (const std::vector<std::string>& row : table.rows) text += markdown_line(row);
  return text + "\n" + table.caption + "\n";
}

}  // namespace spikescope
