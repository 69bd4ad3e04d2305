#include "report/report.h"

#include <fmt/format.h>

#include <cmath>

#include "analyses/run.h"
#include "base/fail.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/page.h"
#include "report/at_a_glance.h"

namespace fs = std::filesystem;

namespace spikescope {

std::vector<std::pair<std::string, std::string>> facts_of(const DumpReader& dump) {
  const DumpInfo& info = dump.info();
  const DumpTokens& tokens = dump.tokens();
  const auto size = [&](const char* key) { return json_get_or<int64_t>(info.config, key, 0, "config of the dump"); };
  return {
      {"Model", info.model_name},
      {"File", fs::path(info.model).filename().string()},
      {"SHA-256", info.model_sha256},
      {"Architecture", fmt::format("{}, {} layers, width {}, {} heads on {} KV heads, {:.0f} million parameters",
                                   info.family, size("n_layers"), size("d_model"), size("n_heads"), size("n_kv_heads"),
                                   static_cast<double>(size("parameters")) / 1e6)},
      {"Data", fmt::format("{} tokens in {} prompt{}", format_count(tokens.size()), tokens.n_prompts(),
                           tokens.n_prompts() == 1 ? "" : "s")},
      {"BOS", info.bos},
      {"Precision", fmt::format("{} pass, {} dump, statistics in float64", info.dtype, info.storage)},
      {"Machine", machine_text()},
      {"Date", today()},
      {"Command", info.command},
      {"Version", "spikescope " + info.version},
  };
}

namespace {

std::vector<Finding> findings_of(const std::vector<AnalysisResult>& results) {
  std::vector<Finding> findings;
  if (const Json* spikes = applied(results, "spikes")) {
    const Json* largest = nullptr;
    for (const Json& layer : spikes->at("layers"))
      if (!largest || layer.at("max").get<double>() > largest->at("max").get<double>()) largest = &layer;
    if (largest) {
      const Json& top = largest->at("top").at(0);
      const double max = largest->at("max").get<double>(), median = largest->at("median").get<double>();
      findings.push_back({"Largest activation", format_count(std::lround(max)),
                          fmt::format("state r{}, token {}, dimension {}", largest->at("layer").get<int>(),
                                      top.at("token").get<int>(), top.at("dim").get<int>())});
      if (median > 0)
        findings.push_back({"Against the median", format_count(std::lround(max / median)) + " x",
                            fmt::format("median |h| of that state {:.3g}", median)});
    }
    std::string ranges;
    for (const Json& plateau : spikes->at("plateaus"))
      ranges += fmt::format("{}r{} to r{}", ranges.empty() ? "" : ", ", plateau.at("first").get<int>(),
                            plateau.at("last").get<int>());
    findings.push_back(
        {"Plateaus", std::to_string(spikes->at("plateaus").size()), ranges.empty() ? "no spike found" : ranges});
  }
  // Both are null where no prompt has a second token.
  if (const Json* sinks = applied(results, "sinks"); sinks && sinks->at("sink_rate").is_number())
    findings.push_back({"Sink rate", fmt::format("{:.0f} %", 100.0 * sinks->at("sink_rate").get<double>()),
                        fmt::format("heads that give token 0 more than 0.3; mean attention {:.2f}",
                                    sinks->at("mean_alpha").get<double>())});
  return findings;
}

std::string summary_of(const DumpReader& dump, const std::vector<Finding>& findings) {
  std::string text =
      fmt::format("{} tokens in {} prompts went through the {} blocks of {}.", format_count(dump.tokens().size()),
                  dump.tokens().n_prompts(), dump.n_layers(), dump.info().model_name);
  for (const Finding& finding : findings)
    text += fmt::format(" {}: {} ({}).", finding.label, finding.value, finding.note);
  return text;
}

fs::path write_report_of(const fs::path& out, bool interactive, const Session& session) {
  const DumpReader dump(out);
  std::vector<AnalysisResult> results = load_results(out);
  if (results.empty())
    fail("{}: there are no results to report; run: spikescope analyze {}", (out / "results").string(), out.string());
  ReportPage page;
  page.title = dump.info().model_name;
  page.facts = facts_of(dump);
  page.findings = findings_of(results);
  if (std::optional<Figure> glance = at_a_glance(results)) page.lead.push_back(std::move(*glance));
  for (AnalysisResult& result : results) {
    page.sections.push_back(
        {std::string(result.analysis->name), std::string(result.analysis->title), std::move(result.section)});
  }
  page.summary = summary_of(dump, page.findings);
  return write_page(std::move(page), out / "report", interactive, session);
}

}  // namespace

fs::path write_report_for(const fs::path& out, const Session& session) { return write_report_of(out, true, session); }

void add_report(CLI::App& app, Session& session) {
  struct Options {
    fs::path out;
    bool still = false;
  };
  CLI::App* command = app.add_subcommand("report", "Write the report of a run's results");
  command->footer(R"(Examples:
  spikescope report runs/smol            OUT/report/index.html and OUT/report/figures
  spikescope report runs/smol --still    the same without JavaScript: pictures only)");
  auto options = std::make_shared<Options>();
  command->add_option("out", options->out, "Folder of a run")->required();
  command->add_flag("--still", options->still, "Pictures instead of interactive figures");
  command->callback([options, &session] {
    session.action = [options, &session] {
      const fs::path page = write_report_of(options->out, !options->still, session);
      if (session.json)
        fmt::print("{}\n", json_text({{"report", page.string()}}));
      else
        fmt::print("report: {}\n", page.string());
      return 0;
    };
  });
}

}  // namespace spikescope
