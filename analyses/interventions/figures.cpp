#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "analyses/interventions/interventions.h"
#include "analyses/interventions/verdict.h"
#include "analyses/labels.h"
#include "stats/moments.h"

namespace spikescope {
namespace {

std::string plateau_text(const Json& plateau) { return layer_range(plateau.at("first"), plateau.at("last")); }

/// "+10.90 ± 0.42".
std::string difference_text(const Json& run) {
  const double se = number_or_nan(run.at("difference_se"));
  const std::string text = fmt::format("{:+.3f}", number_or_nan(run.at("difference")));
  return std::isnan(se) ? text : text + fmt::format(" ± {:.2g}", se);
}

double difference(const Json& run) { return number_or_nan(run.at("difference")); }

/// The run of the plan that does `what` to the plateau; nullptr without one.
const Json* find_run(const Json& results, const Json& plateau, std::string_view what) {
  for (const Json& run : results.at("runs"))
    if (run.at("plateau") == plateau && run.at("what") == what && !run.at("given").get<bool>()) return &run;
  return nullptr;
}

/// Attention on the spike tokens, mean over the blocks that read the plateau.
double spike_attention(const Json& pass, const Json& plateau) {
  const Json& blocks = pass.at("spike_attention");
  Moments mean;
  const auto end = std::min(plateau.at("last").get<size_t>() + 1, blocks.size());
  for (size_t block = plateau.at("first"); block < end; ++block) {
    const double value = number_or_nan(blocks.at(block));
    if (!std::isnan(value)) mean.add(value);
  }
  return mean.mean();
}

/// What zero and mean do to a plateau, and whether the claim holds there.
std::string claim_sentence(const Json& results, size_t index) {
  const Json& plateau = results.at("plateaus").at(index);
  const Json *zero = find_run(results, index, "zero"), *mean = find_run(results, index, "mean");
  if (!zero || !mean) return "";
  const std::string verdict = plateau.at("verdict");
  return fmt::format(
      " Spikes of {}: zero at r{} makes the perplexity {} (loss {}), their mean makes it {} (loss {}). That zero "
      "collapses a model and the mean does nothing (arXiv 2402.17762) is {} there.",
      plateau_text(plateau), plateau.at("first").get<int64_t>(), number(zero->at("perplexity")), difference_text(*zero),
      number(mean->at("perplexity")), difference_text(*mean), verdict == "partly" ? "partly confirmed" : verdict);
}

std::string writers_sentence(const Json& results, size_t index) {
  const Json& plateau = results.at("plateaus").at(index);
  const Json *zero = find_run(results, index, "zero"), *off = find_run(results, index, "writers off");
  if (!zero || !off) return "";
  return fmt::format(
      " With the neurons that write them switched off the loss changes by {}, and the blocks that read them give the "
      "spike "
      "tokens {} of their attention; it was {}, and {} after zero.",
      difference_text(*off), number(spike_attention(*off, plateau)),
      number(spike_attention(results.at("baseline"), plateau)), number(spike_attention(*zero, plateau)));
}

std::string controls_sentence(const Json& results) {
  int64_t controls = 0, quiet = 0;
  std::vector<std::string> loud;
  for (const Json& run : results.at("runs")) {
    if (!run.at("control").get<bool>()) continue;
    ++controls;
    if (std::abs(difference(run)) < kNothing)
      ++quiet;
    else
      loud.push_back(fmt::format("{} ({})", run.at("name").get<std::string>(), difference_text(run)));
  }
  if (controls == 0) return "";
  std::string text =
      fmt::format(" Of {} controls {} change the loss by less than {}", controls, quiet, number(kNothing));
  return text + (loud.empty() ? "." : fmt::format("; the others are {}.", join_words(loud)));
}

std::string summary(const Json& results) {
  const Json& baseline = results.at("baseline");
  std::string text = fmt::format("Without any change the loss is {} nats a token (perplexity {}).",
                                 number(baseline.at("loss")), number(baseline.at("perplexity")));
  const size_t plateaus = results.at("plateaus").size();
  if (plateaus == 0) text += " There are no spikes to change, so what the papers say of them does not apply.";
  for (size_t k = 0; k < plateaus; ++k) text += claim_sentence(results, k) + writers_sentence(results, k);
  const Json *zero = find_run(results, nullptr, "zero everywhere"),
             *inserted = find_run(results, nullptr, "templates inserted");
  if (zero && inserted)
    text += fmt::format(
        " Zero wherever spikes stand changes the loss by {}; with the templates put where attention and MLP read them, "
        "by {}.",
        difference_text(*zero), difference_text(*inserted));
  return text + controls_sentence(results);
}

Table runs_table(const Json& results) {
  Table table{"interventions-table",
              "Loss and sinks by intervention",
              fmt::format("Loss in nats a token and standard error over windows; difference to the baseline, window by "
                          "window; loss at position 0; share of heads that are sinks. {}.",
                          data_label(results)),
              {"intervention", "loss", "perplexity", "difference", "at position 0", "sinks"},
              {}};
  const auto add = [&](const Json& run, const std::string& name, const std::string& difference) {
    const double se = number_or_nan(run.at("se"));
    table.rows.push_back({name, number(run.at("loss")) + (std::isnan(se) ? "" : fmt::format(" ± {:.2g}", se)),
                          number(run.at("perplexity")), difference, number(run.at("loss_position0")),
                          percent(number_or_nan(run.at("sinks")))});
  };
  add(results.at("baseline"), "baseline", "");
  for (const Json& run : results.at("runs")) {
    const std::string name = run.at("name");
    add(run, run.at("given").get<bool>() ? fmt::format("{}: {}", run.at("what").get<std::string>(), name) : name,
        difference_text(run));
  }
  return table;
}

Figure loss_figure(const Json& results) {
  Figure figure;
  std::vector<std::pair<Json, Series>> series;  // by plateau; null: all
  const auto series_of = [&](const Json& run) -> Series& {
    const Json key = run.at("given").get<bool>() ? Json("given") : run.at("plateau");
    for (auto& [of, found] : series)
      if (of == key) return found;
    Series made;
    made.name = key.is_string() ? "yours"
                : key.is_null() ? "all plateaus"
                                : plateau_text(results.at("plateaus").at(key.get<size_t>()));
    made.mark = Series::Mark::bars;
    return series.emplace_back(key, std::move(made)).second;
  };
  std::vector<std::string>& categories = figure.x.categories;
  for (const Json& run : results.at("runs")) {
    const std::string what = run.at("what");
    const auto place = std::find(categories.begin(), categories.end(), what) - categories.begin();
    if (place == static_cast<std::ptrdiff_t>(categories.size())) categories.push_back(what);
    Series& bars = series_of(run);
    bars.x.push_back(static_cast<double>(place));
    bars.y.push_back(difference(run));
    bars.hover.push_back(fmt::format("{}\nloss {} ({})\nperplexity {}", run.at("name").get<std::string>(),
                                     number(run.at("loss")), difference_text(run), number(run.at("perplexity"))));
  }
  Lines lines;
  for (auto& [key, bars] : series) lines.series.push_back(std::move(bars));
  figure.id = "interventions-loss";
  figure.title = "What each intervention costs";
  figure.caption = fmt::format(
      "Loss (nats a token) with the intervention less that without, {}; by the plateau whose spikes are meant. "
      "2.3 is ten times the perplexity. {}.",
      number(results.at("baseline").at("loss")), data_label(results));
  figure.y.label = "rise of the loss (nats)";
  figure.content = std::move(lines);
  return figure;
}

/// Of the plateau with the largest value.
std::optional<Figure> attention_figure(const Json& results) {
  const Json& plateaus = results.at("plateaus");
  size_t largest = 0;
  for (size_t k = 0; k < plateaus.size(); ++k)
    if (find_run(results, k, "zero") &&
        std::abs(plateaus[k].at("value").get<double>()) > std::abs(plateaus[largest].at("value").get<double>()))
      largest = k;
  if (plateaus.empty() || !find_run(results, largest, "zero")) return std::nullopt;
  Lines lines;
  const auto add = [&](const Json* pass, const std::string& name, bool dashed) {
    if (!pass) return;
    Series series{name, {}, {}, Series::Mark::line_and_points, dashed, false, {}};
    for (const Json& value : pass->at("spike_attention")) {
      series.x.push_back(static_cast<double>(series.x.size()));
      series.y.push_back(number_or_nan(value));
    }
    lines.series.push_back(std::move(series));
  };
  add(&results.at("baseline"), "baseline", false);
  for (const char* what : {"zero", "writers off"}) add(find_run(results, largest, what), what, false);
  add(find_run(results, nullptr, "templates inserted"), "templates inserted", true);
  Figure figure;
  for (const Json& plateau : plateaus)
    figure.bands.push_back(
        {plateau.at("first").get<double>() - 0.25, plateau.at("last").get<double>() + 0.25, "spikes"});
  figure.id = "interventions-attention";
  figure.title = "Attention on the spike tokens after interventions";
  figure.caption = fmt::format(
      "Share of attention that goes to the tokens that are spikes without any change (or were the latest before that "
      "block), mean over heads, queries and windows, by block; interventions on the spikes of {}. {}.",
      plateau_text(plateaus[largest]), data_label(results));
  figure.x.label = "block";
  figure.y.label = "attention on spike tokens";
  figure.content = std::move(lines);
  return figure;
}

}  // namespace

Section interventions_section(const Json& results, const H5File&, const DumpReader&) {
  Section section;
  section.summary = summary(results);
  section.tables.push_back(runs_table(results));
  if (!results.at("runs").empty()) section.figures.push_back(loss_figure(results));
  if (std::optional<Figure> attention = attention_figure(results)) section.figures.push_back(std::move(*attention));
  return section;
}

}  // namespace spikescope
