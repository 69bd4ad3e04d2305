#include "report/comparison_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "analyses/labels.h"
#include "base/text.h"
#include "figure/csv.h"
#include "figure/palette.h"

namespace spikescope {
namespace {

constexpr size_t kTopColumns = 3, kTokenKinds = 2, kDims = 4;
constexpr int64_t kMostDepths = 64;
constexpr double kTopOfShares = 1.02;  // so that a line at 1 is seen whole
constexpr const char* kNothing = "–";

std::string or_dash(double value) { return std::isnan(value) ? kNothing : number(value); }

/// "first token (12); 'the' (23), '\n' (8), 4 more".
std::string spike_tokens_text(const ComparedRun& run, size_t most) {
  if (run.spike_tokens.empty()) return "none found";
  std::string text;
  size_t shown = 0;
  for (const SpikeTokenKind& kind : run.spike_tokens) {
    if (shown++ == most) break;
    text += fmt::format("{}{}{}{} ({})", text.empty() ? "" : ", ", kind.first ? "first" : "",
                        kind.first && !kind.text.empty() ? " " : "", kind.text, kind.count);
  }
  if (run.spike_tokens.size() > most) text += fmt::format(", {} more", run.spike_tokens.size() - most);
  return text;
}

std::string dims_text(const ComparedRun& run, size_t most) {
  std::string text;
  for (size_t i = 0; i < std::min(most, run.dims.size()); ++i)
    text += fmt::format("{}{}", i > 0 ? ", " : "", run.dims[i]);
  if (run.dims.size() > most) text += fmt::format(", {} more", run.dims.size() - most);
  return text.empty() ? kNothing : text;
}

std::string plateaus_text(const ComparedRun& run) {
  std::string text;
  for (const auto& [first, last] : run.plateaus) {
    text += text.empty() ? "" : ", ";
    text += first == last ? std::to_string(first) : fmt::format("{}–{}", first, last);
  }
  return fmt::format("{} of {}", text.empty() ? "none" : text, run.blocks);
}

// --- Tables -------------------------------------------------------------------------------------

Table survey_table(std::span<const ComparedRun> runs) {
  Table table{
      "survey",
      "Massive activations of each model",
      "The three largest |h| (dimensionless) of the prompt and residual state that hold the largest of all, that "
      "state's median over all prompts, and the largest over it; tokens that the automatic rule calls spikes in "
      "any state, with their number; dimensions and residual states of the plateaus, of so many blocks. "
      "survey.csv beside this page has the numbers in full.",
      {"Model", "Top 1", "Top 2", "Top 3", "Median", "Ratio", "Tokens", "Dimensions", "Layers"},
      {}};
  for (const ComparedRun& run : runs) {
    std::vector<std::string> row = {run.name};
    for (size_t k = 0; k < kTopColumns; ++k)
      row.push_back(k < run.top.size() ? number(std::abs(run.top[k].value)) : kNothing);
    row.push_back(or_dash(run.median));
    row.push_back(std::isnan(run.ratio()) ? kNothing : format_count(std::lround(run.ratio())));
    if (run.failed()) {
      row.insert(row.end(), {"failed: " + run.error, kNothing, kNothing});
    } else {
      row.insert(row.end(), {spike_tokens_text(run, kTokenKinds), dims_text(run, kDims), plateaus_text(run)});
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table runs_table(std::span<const ComparedRun> runs) {
  Table table{"runs",
              "Sinks and template constancy of each model",
              "Share of heads that give the first token more than 0.3 of their attention, and its mean over all heads; "
              "mean cosine between spike tokens, and between ordinary tokens, after the norm, over the states of the "
              "plateaus (by construction: all spike tokens are the token that begins every prompt); size of the run. A "
              "dash: the run has no such results, or they are undefined.",
              {"Model", "Sink rate", "Mean attention", "Spike cosine", "Ordinary cosine", "Prompts", "Tokens"},
              {}};
  for (const ComparedRun& run : runs) {
    if (run.failed()) continue;
    table.rows.push_back({run.name, std::isnan(run.sink_rate) ? kNothing : percent(run.sink_rate),
                          or_dash(run.mean_alpha),
                          or_dash(run.spike_cosine) + (run.one_spike_token ? ", by construction" : ""),
                          or_dash(run.ordinary_cosine), format_count(run.windows), format_count(run.tokens)});
  }
  return table;
}

// --- Figures ------------------------------------------------------------------------------------

/// A line a run over the relative depth; runs without values in `curve` are left out.
Figure depth_figure(std::span<const ComparedRun> runs, DepthCurve ComparedRun::*curve) {
  Lines lines;
  for (const ComparedRun& run : runs) {
    if (run.failed()) continue;
    const DepthCurve& values = run.*curve;
    Series series{run.name, values.depth, values.value, Series::Mark::line, false, false, {}};
    // Six colours, then the same dashed, then with points. A run without values takes its place, so that the others
    // look the same in every figure of the page.
    const size_t round = lines.series.size() / kSeriesColors;
    series.dashed = round % 2 == 1;
    if (round >= 2) series.mark = Series::Mark::line_and_points;
    for (const std::string& hover : values.hover) series.hover.push_back(run.name + "\n" + hover);
    if (values.value.empty()) series.name.clear();
    lines.series.push_back(std::move(series));
  }
  Figure figure;
  figure.x.label = "depth (layer / number of blocks)";
  figure.x.min = 0.0;
  figure.x.max = 1.0;
  figure.content = std::move(lines);
  return figure;
}

Figure spikes_figure(std::span<const ComparedRun> runs) {
  Figure figure = depth_figure(runs, &ComparedRun::spikes);
  figure.id = "compare-spikes";
  figure.title = "Spike size by depth";
  figure.caption =
      "Largest |h| of each residual state over the state's median |h| (dimensionless, log scale), of all prompts of "
      "the run. Depth 0 is the embedding, 1 what leaves the last block.";
  figure.y.label = "largest |h| / median |h|";
  figure.y.log = true;
  return figure;
}

Figure sink_rate_figure(std::span<const ComparedRun> runs) {
  Series bars{"", {}, {}, Series::Mark::bars, false, false, {}};
  Figure figure;
  for (const ComparedRun& run : runs) {
    if (std::isnan(run.sink_rate)) continue;
    bars.x.push_back(static_cast<double>(figure.x.categories.size()));
    bars.y.push_back(run.sink_rate);
    bars.hover.push_back(
        fmt::format("{}\nsink rate {}\nmean attention {}", run.name, percent(run.sink_rate), number(run.mean_alpha)));
    figure.x.categories.push_back(run.name);
  }
  figure.id = "compare-sink-rate";
  figure.title = "Sink rate of each model";
  figure.caption =
      "Share of all heads that give the first token more than 0.3 of their attention, queries t >= 1, mean over "
      "prompts.";
  figure.y.label = "sink rate";
  figure.y.min = 0.0;
  figure.y.max = kTopOfShares;
  figure.content = Lines{{std::move(bars)}, {}};
  return figure;
}

/// A row a run, since a dozen curves between 0 and 1 would hide each other. Columns are pieces of the depth; a block
/// fills those whose middles lie in it.
Figure sink_depth_figure(std::span<const ComparedRun> runs) {
  HeatMap map;
  map.z_label = "share of heads";
  map.z_min = 0.0;
  map.z_max = 1.0;
  int64_t columns = 1;
  for (const ComparedRun& run : runs)
    columns = std::clamp(static_cast<int64_t>(run.sinks.value.size()), columns, kMostDepths);
  for (int64_t i = 0; i < columns; ++i) map.x.push_back((static_cast<double>(i) + 0.5) / static_cast<double>(columns));
  Figure figure;
  for (auto run = runs.rbegin(); run != runs.rend(); ++run) {  // rows go up the axis, tables down
    if (run->sinks.value.empty()) continue;
    map.y.push_back(static_cast<double>(map.y.size()));
    figure.y.categories.push_back(run->name);
    for (const double depth : map.x) {
      const auto block = static_cast<size_t>(depth * static_cast<double>(run->sinks.value.size()));
      map.z.push_back(run->sinks.value[block]);
      map.hover.push_back(run->name + "\n" + run->sinks.hover[block]);
    }
  }
  figure.id = "compare-sinks";
  figure.title = "Sinks by depth";
  figure.caption =
      "Share of each block's heads that give the first token more than 0.3 of their attention. Depth 0 is where the "
      "first "
      "block begins, 1 where the last one ends.";
  figure.x.label = "depth (block / number of blocks)";
  figure.content = std::move(map);
  return figure;
}

Figure constancy_figure(std::span<const ComparedRun> runs) {
  Figure figure = depth_figure(runs, &ComparedRun::constancy);
  figure.id = "compare-constancy";
  figure.title = "Template constancy by depth";
  figure.caption =
      "Mean cosine between the normalised vectors of spike tokens of all prompts, at each residual state that has "
      "them: "
      "1 means one and the same vector.";
  figure.y.label = "cosine of spike tokens";
  figure.y.max = kTopOfShares;
  return figure;
}

// --- Words --------------------------------------------------------------------------------------

/// "Without results on X: a and b (why)."; empty when nothing is missing.
std::string missing_text(std::span<const ComparedRun> runs, std::string ComparedRun::*why, const char* what) {
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const ComparedRun& run : runs) {
    if (!run.failed() && !(run.*why).empty()) by_reason[run.*why].push_back(run.name);
  }
  std::string text;
  for (const auto& [reason, names] : by_reason)
    text += fmt::format("{}{} ({})", text.empty() ? "" : "; ", join_words(names), reason);
  return text.empty() ? "" : fmt::format("Without results on {}: {}.", what, text);
}

/// The run with the largest value; nullptr when none has one.
const ComparedRun* largest_by(std::span<const ComparedRun> runs, double (*value)(const ComparedRun&)) {
  const ComparedRun* best = nullptr;
  for (const ComparedRun& run : runs) {
    if (!std::isnan(value(run)) && (!best || value(run) > value(*best))) best = &run;
  }
  return best;
}

std::vector<Finding> findings(std::span<const ComparedRun> runs) {
  const auto largest = [](const ComparedRun& run) { return run.largest(); };
  const auto ratio = [](const ComparedRun& run) { return run.ratio(); };
  const auto sink_rate = [](const ComparedRun& run) { return run.sink_rate; };
  size_t worked = 0, with_spikes = 0;
  for (const ComparedRun& run : runs) {
    worked += !run.failed();
    with_spikes += !run.spike_tokens.empty();
  }
  std::vector<Finding> all = {{"With spikes", fmt::format("{} of {}", with_spikes, worked),
                               "models with tokens that the automatic rule calls spikes"}};
  if (const ComparedRun* run = largest_by(runs, largest))
    all.push_back({"Largest activation", format_count(std::lround(run->largest())),
                   fmt::format("{}, state {} of {}", run->name, run->state, run->blocks)});
  if (const ComparedRun* run = largest_by(runs, ratio))
    all.push_back({"Against the median", format_count(std::lround(run->ratio())) + " x",
                   fmt::format("{}, median |h| {}", run->name, number(run->median))});
  if (const ComparedRun* run = largest_by(runs, sink_rate))
    all.push_back({"Highest sink rate", fmt::format("{:.0f} %", 100.0 * run->sink_rate),
                   fmt::format("{}, mean attention on the first token {}", run->name, number(run->mean_alpha))});
  return all;
}

std::string summary(std::span<const ComparedRun> runs) {
  std::vector<std::string> with, without, failed;
  std::set<int64_t> windows;
  for (const ComparedRun& run : runs) {
    (run.failed() ? failed : run.spike_tokens.empty() ? without : with).push_back(run.name);
    if (!run.failed()) windows.insert(run.windows);
  }
  const bool in_all = with.size() > 3 && with.size() + failed.size() == runs.size();
  std::string text;
  if (!with.empty())
    text += fmt::format("Massive activation spikes stand in {}.",
                        in_all ? fmt::format("all {} models", with.size()) : join_words(with));
  if (!without.empty()) text += fmt::format(" None were found in {}.", join_words(without));
  if (!failed.empty()) text += fmt::format(" Without results, since the run failed: {}.", join_words(failed));
  if (windows.size() > 1) text += " The runs are of different numbers of prompts: mind this when comparing them.";
  return text.starts_with(' ') ? text.substr(1) : text;
}

Json curve_json(const DepthCurve& curve) {
  Json values = Json::array();
  for (const double value : curve.value) values.push_back(number_or_null(value));
  return {{"depth", curve.depth}, {"value", std::move(values)}};
}

std::string csv_number(double value) { return std::isnan(value) ? "" : fmt::format("{:.9g}", value); }

}  // namespace

ReportPage comparison_page(std::span<const ComparedRun> runs) {
  const auto has = [&](DepthCurve ComparedRun::*curve) {
    return std::any_of(runs.begin(), runs.end(), [&](const ComparedRun& run) { return !(run.*curve).value.empty(); });
  };
  ReportPage page;
  page.title = runs.size() == 1 ? runs[0].name : fmt::format("{} models side by side", runs.size());
  page.summary = summary(runs);
  page.findings = findings(runs);

  page.sections.push_back({"survey", "Survey", {"", {survey_table(runs), runs_table(runs)}, {}}});
  if (has(&ComparedRun::spikes)) page.sections.push_back({"spikes", "Spikes", {"", {}, {spikes_figure(runs)}}});

  ReportSection sinks{"sinks", "Attention sinks", {missing_text(runs, &ComparedRun::no_sinks, "sinks"), {}, {}}};
  if (has(&ComparedRun::sinks)) sinks.content.figures = {sink_rate_figure(runs), sink_depth_figure(runs)};
  page.sections.push_back(std::move(sinks));

  ReportSection constancy{"constancy",
                          "Template constancy",
                          {missing_text(runs, &ComparedRun::no_constancy, "template constancy"), {}, {}}};
  if (has(&ComparedRun::constancy)) constancy.content.figures.push_back(constancy_figure(runs));
  page.sections.push_back(std::move(constancy));
  return page;
}

std::string comparison_csv(std::span<const ComparedRun> runs) {
  Table table;
  table.columns = {"model",        "top 1",           "top 2",      "top 3",         "median",    "state",
                   "blocks",       "tokens",          "dimensions", "plateaus",      "sink rate", "mean attention",
                   "spike cosine", "ordinary cosine", "prompts",    "prompt tokens", "folder",    "error"};
  for (const ComparedRun& run : runs) {
    std::vector<std::string> row = {run.name};
    for (size_t k = 0; k < kTopColumns; ++k)
      row.push_back(k < run.top.size() ? csv_number(std::abs(run.top[k].value)) : "");
    row.push_back(csv_number(run.median));
    if (run.failed()) {
      row.resize(table.columns.size() - 2);
    } else {
      row.insert(row.end(),
                 {std::to_string(run.state), std::to_string(run.blocks),
                  spike_tokens_text(run, run.spike_tokens.size()), dims_text(run, run.dims.size()), plateaus_text(run),
                  csv_number(run.sink_rate), csv_number(run.mean_alpha), csv_number(run.spike_cosine),
                  csv_number(run.ordinary_cosine), std::to_string(run.windows), std::to_string(run.tokens)});
    }
    row.insert(row.end(), {run.folder.string(), run.error});
    table.rows.push_back(std::move(row));
  }
  return to_csv(table);
}

Json comparison_json(std::span<const ComparedRun> runs) {
  Json models = Json::array();
  for (const ComparedRun& run : runs) {
    Json model = {{"name", run.name}, {"folder", run.folder.string()}};
    if (run.failed()) {
      model["error"] = run.error;
      models.push_back(std::move(model));
      continue;
    }
    model["windows"] = run.windows;
    model["tokens"] = run.tokens;
    model["blocks"] = run.blocks;
    model["state"] = run.state;
    model["median"] = number_or_null(run.median);
    model["ratio"] = number_or_null(run.ratio());
    model["top"] = Json::array();
    for (const LargestEntry& entry : run.top)
      model["top"].push_back(
          {{"prompt", entry.prompt}, {"token", entry.token}, {"dim", entry.dim}, {"value", entry.value}});
    model["spike_tokens"] = Json::array();
    for (const SpikeTokenKind& kind : run.spike_tokens)
      model["spike_tokens"].push_back({{"first", kind.first},
                                       {"text", kind.text.empty() ? Json(nullptr) : Json(kind.text)},
                                       {"count", kind.count}});
    model["dims"] = run.dims;
    model["plateaus"] = Json::array();
    for (const auto& [first, last] : run.plateaus) model["plateaus"].push_back({{"first", first}, {"last", last}});
    const auto note = [](const std::string& why) { return why.empty() ? Json(nullptr) : Json(why); };
    model["sink_rate"] = number_or_null(run.sink_rate);
    model["mean_alpha"] = number_or_null(run.mean_alpha);
    model["sinks_note"] = note(run.no_sinks);
    model["spike_cosine"] = number_or_null(run.spike_cosine);
    model["one_spike_token"] = run.one_spike_token;
    model["ordinary_cosine"] = number_or_null(run.ordinary_cosine);
    model["constancy_note"] = note(run.no_constancy);
    model["curves"] = {
        {"spikes", curve_json(run.spikes)}, {"sinks", curve_json(run.sinks)}, {"constancy", curve_json(run.constancy)}};
    models.push_back(std::move(model));
  }
  return models;
}

}  // namespace spikescope
