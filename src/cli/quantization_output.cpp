#include "cli/quantization_output.h"

#include <fmt/format.h>

#include <cstdio>

#include "analyses/labels.h"
#include "analyses/quantize/quantize_section.h"
#include "analyses/run.h"
#include "base/fail.h"
#include "base/text.h"
#include "base/version.h"
#include "cli/page.h"
#include "io/output_file.h"
#include "report/quantization_page.h"

namespace fs = std::filesystem;

namespace spikescope {

std::string TableOutput::extension() const {
  const std::string end = given.extension().string();
  return end == ".json" || end == ".csv" || end == ".md" ? end : "";
}

void TableOutput::check(bool any_rows) const {
  if (given.empty()) return;
  if (!any_rows && extension() != ".json")
    fail_usage("--out {}: there is no table without --text FILE; a file .json has what was saved", given.string());
  if (is_folder() && fs::exists(given) && !fs::is_directory(given))
    fail_usage("--out {}: is a file; name a folder, or a file .json, .csv or .md", given.string());
}

fs::path write_table(const TableOutput& out, const Json& json, std::span<const MeasuredRow> rows,
                     const Session& session) {
  const std::string end = out.extension();
  if (end == ".json") write_file(out.given, json_text(json) + "\n");
  if (end == ".csv") write_file(out.given, quantization_csv(json));
  if (end == ".md") write_file(out.given, quantization_markdown(json));
  if (!out.is_folder()) return {};
  const auto text = [&](const char* key) { return json.at(key).get<std::string>(); };
  make_weight_results(out.given, "quantize", text("model"), [&](H5File& arrays) {
    write_row_arrays(rows, arrays);
    return json;
  });
  const fs::path folder = out.given / "quantize";
  write_file(folder / "quantize.csv", quantization_csv(json));
  write_file(folder / "quantize.md", quantization_markdown(json));
  ReportPage page = quantization_page(json);
  page.facts = {{"Model", text("model")},
                {"SHA-256", text("model_sha256")},
                {"Data", windows_label(json)},
                {"BOS", text("bos")},
                {"Precision", fmt::format("{} pass, statistics in float64", text("dtype"))},
                {"Machine", machine_text()},
                {"Date", today()},
                {"Command", text("command")},
                {"Version", fmt::format("spikescope {}", version())}};
  return write_page(std::move(page), folder, true, session);
}

void print_row_heading(bool with_answers) {
  fmt::print("{:<24}{:>5}{:>5}{:>14}{:>12}{:>19}{:>12}{:>12}{:>9}{:>11}{}\n", "method", "A", "W", "perplexity", "nll",
             "dnll (se)", "largest |h|", "new spikes", "seconds", "matrices", with_answers ? "   answers (se)" : "");
}

void print_row(const Json& row) {
  const auto bits = [&](const char* key) { return row.at(key).is_null() ? "-" : row.at(key).dump(); };
  const auto with_error = [](const char* format, const Json& value, const Json& error) {
    return fmt::format(fmt::runtime(format), number_or_nan(value), number(error));
  };
  fmt::print("{:<24}{:>5}{:>5}{:>14.3f}{:>12.4f}{:>19}{:>12}{:>12}{:>9.1f}{:>11}", row.at("method").get<std::string>(),
             bits("bits_activation"), bits("bits_weight"), number_or_nan(row.at("perplexity")),
             number_or_nan(row.at("nll")), with_error("{:+.4f} ({})", row.at("dnll"), row.at("dnll_se")),
             number(row.at("largest_h")), format_count(row.at("new_spikes").get<int64_t>()),
             row.at("seconds").get<double>(), format_bytes(row.at("matrix_bytes").get<int64_t>()));
  if (row.contains("zero_shot")) {
    const Json& answers = row.at("zero_shot");
    fmt::print("{:>15}", with_error("{:.3f} ({})", answers.at("average"), answers.at("average_se")));
  }
  fmt::print("\n");
  std::fflush(stdout);
}

void print_saved_model(const Json& saved) {
  fmt::print("{}: {} matrices by {}, {}\n", saved.at("folder").get<std::string>(), saved.at("matrices").get<int64_t>(),
             saved.at("weights").get<std::string>(), saved.at("format").get<std::string>());
  fmt::print("  {:.2f} bits a weight with scales, file {}\n", saved.at("bits_a_value").get<double>(),
             format_bytes(saved.at("bytes").get<int64_t>()));
  fmt::print("  error of the weights {:.3e} of their squares", saved.at("weight_error").get<double>());
  if (!saved.at("output_error").is_null())
    fmt::print(", of the layers' outputs {:.3e} on calibration text", saved.at("output_error").get<double>());
  fmt::print("\n");
}

}  // namespace spikescope
