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

/// "+10.90 ± 0.42", "-0.0005 ± 0.0002".
std::string difference_text(const Json& run) {
  const double value = number_or_nan(run.at("difference")), se = number_or_nan(run.at("difference_se"));
  const int decimals = std::abs(value) >= 1.0 ? 2 : 4;
  const std::string text = fmt::format("{:+.{}f}", value, decimals);
  return std::isnan(se) ? text : text + fmt::format(" ± {:.{}f}", se, decimals);
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

/// "layers 3 to 9 (confirmed)": what became of the claim, for each plateau that was tested.
std::vector<std::string> verdicts(const Json& results) {
  std::vector<std::string> words;
  for (const Json& plateau : results.at("plateaus")) {
    const std::string verdict = plateau.at("verdict");
    if (verdict != "not tested")
      words.push_back(
          fmt::format("{} for {}", verdict == "partly" ? "partly confirmed" : verdict, plateau_text(plateau)));
  }
  return words;
}

/// What a plateau's runs cost.
std::string plateau_sentence(const Json& results, size_t index) {
  const Json& plateau = results.at("plateaus").at(index);
  std::vector<std::string> costs;
  for (const auto& [what, words] : {std::pair("zero", "when set to zero"),
                                    {"mean", "when set to their mean"},
                                    {"writers off", "with the neurons off that write them"}})
    if (const Json* run = find_run(results, index, what))
      costs.push_back(fmt::format("{} {} (loss {})", number(run->at("perplexity")), words, difference_text(*run)));
  if (costs.empty()) return "";
  return fmt::format(" Spikes of {}, changed at r{}: perplexity {}.", plateau_text(plateau),
                     plateau.at("first").get<int64_t>(), join_words(costs));
}

std::string sink_sentence(const Json& results, size_t index) {
  const Json& plateau = results.at("plateaus").at(index);
  const Json *zero = find_run(results, index, "zero"), *off = find_run(results, index, "writers off");
  if (!zero) return "";
  std::string text = fmt::format(" The blocks that read {} give the spike tokens {} of their attention; {} after zero",
                                 plateau_text(plateau), percent(spike_attention(results.at("baseline"), plateau)),
                                 percent(spike_attention(*zero, plateau)));
  if (off) text += fmt::format(", {} with the writers off", percent(spike_attention(*off, plateau)));
  return text + ".";
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
  std::string text = fmt::format("The perplexity is {} without any change (loss {} nats a token).",
                                 number(baseline.at("perplexity")), number(baseline.at("loss")));
  const size_t plateaus = results.at("plateaus").size();
  for (size_t k = 0; k < plateaus; ++k) text += plateau_sentence(results, k);
  if (plateaus == 0)
    text += " There are no spikes to change, so what the papers say of them does not apply.";
  else if (const std::vector<std::string> words = verdicts(results); !words.empty())
    text += fmt::format(" That zero makes a model collapse and the mean does nothing (arXiv 2402.17762) is {}.",
                        join_words(words));
  const Json *zero = find_run(results, nullptr, "zero everywhere"),
             *inserted = find_run(results, nullptr, "templates inserted");
  if (zero && inserted)
    text += fmt::format(
        " Zero wherever spikes stand changes the loss by {}; with the templates put where attention and MLP read them, "
        "by {}.",
        difference_text(*zero), difference_text(*inserted));
  for (size_t k = 0; k < plateaus; ++k) text += sink_sentence(results, k);
  return text + controls_sentence(results);
}

Table runs_table(const Json& results) {
  Table table{"interventions-table",
              "Loss and sinks by intervention",
              fmt::format("Loss in nats a token and standard error over windows; difference to the baseline, window by "
                          "window; loss at position 0; share of heads that are sinks; ± standard errors over windows. {}.",
                          data_label(results)),
              {"intervention", "loss", "perplexity", "difference", "at position 0", "sinks"},
              {}};
  const auto add = [&](const Json& run, const std::string& name, const std::string& difference) {
    table.rows.push_back({name, number(number_or_nan(run.at("loss")), number_or_nan(run.at("se"))),
                          number_with_error(run, "perplexity"), difference, number_with_error(run, "loss_position0"),
                          percent(number_or_nan(run.at("sinks")), standard_error(run, "sinks"))});
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
    bars.errors.push_back(standard_error(run, "difference"));
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
    for (const Json& error : pass->at("spike_attention_se")) series.errors.push_back(number_or_nan(error));
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
