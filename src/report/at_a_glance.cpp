#include "report/at_a_glance.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "analyses/labels.h"
#include "analyses/layer_groups.h"
#include "analyses/residual_scan.h"
#include "stats/moments.h"

namespace spikescope {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
using Value = std::function<double(const Json& layer)>;

/// A number of a layer and its standard error over windows; without the second where it has none.
struct Measured {
  Value value, error{};
};

Measured value_of(const std::string& key) {
  return {[key](const Json& layer) { return number_or_nan(layer.at(key)); },
          [key](const Json& layer) { return standard_error(layer, key); }};
}

/// Deviation of spike tokens from their mean: of those that do not open every window, where there is such an opening;
/// where no spikes stand, of the latest ones.
Measured spike_deviation(const Json& results) {
  const bool same_start = results.at("constant_prefix").get<int64_t>() > 0;
  const auto tokens = [same_start](const Json& layer) -> const Json& {
    return layer.at(layer.at("latest").is_null() ? same_start ? "varying" : "spike" : "latest");
  };
  const auto number_of = [tokens](const char* key) {
    return [tokens, key](const Json& layer) {
      return tokens(layer).is_null() ? kNone : number_or_nan(tokens(layer).at(key));
    };
  };
  return {number_of("deviation"), number_of("deviation_se")};
}

Measured ordinary_deviation() {
  const auto number_of = [](const char* key) {
    return [key](const Json& layer) { return number_or_nan(layer.at("ordinary").at(key)); };
  };
  return {number_of("deviation"), number_of("deviation_se")};
}

/// Mean over the layers whose spikes stand, or over all others.
double mean_where(const Json& results, bool spikes, const Measured& measured) {
  Moments mean;
  for (const LayerGroup& group : layer_groups(results)) {
    if (group.plateau != spikes) continue;
    for (int64_t layer = group.first; layer <= group.last; ++layer)
      if (const double one = measured.value(results.at("layers").at(static_cast<size_t>(layer))); std::isfinite(one))
        mean.add(one);
  }
  return mean.mean();
}

/// "0.54 ± 0.01": the same with the mean of the standard errors.
std::string text_where(const Json& results, bool spikes, const Measured& measured, bool in_percent = false) {
  const double value = mean_where(results, spikes, measured),
               error = measured.error ? mean_where(results, spikes, {measured.error}) : kNone;
  return in_percent ? percent(value, error) : number(value, error);
}

Series curve(const Json& results, const char* name, const Measured& measured, bool dashed = false) {
  Series series{name, {}, {}, dashed ? Series::Mark::line : Series::Mark::line_and_points, dashed, false, {}, {}};
  for (const Json& layer : results.at("layers")) {
    series.x.push_back(static_cast<double>(series.x.size()));
    series.y.push_back(measured.value(layer));
    series.errors.push_back(measured.error ? measured.error(layer) : kNone);
    series.hover.push_back(fmt::format("layer {}\n{}: {}", series.x.size() - 1, name,
                                       number(series.y.back(), series.errors.back())));
  }
  return series;
}

/// Two digits are enough for a title: "0.056", "1.5"; "53 %".
std::string rough(double value) { return std::isnan(value) ? "-" : fmt::format("{:.2g}", value); }
std::string rough_percent(double share) { return std::isnan(share) ? "-" : fmt::format("{:.0f} %", 100.0 * share); }

/// ", 1.1 elsewhere"; nothing where spikes stand in all layers.
std::string elsewhere(double value, const std::string& text) {
  return std::isnan(value) ? "" : fmt::format(", {} elsewhere", text);
}

/// What the panels are made of, and the words on them.
class Glance {
 public:
  explicit Glance(std::span<const AnalysisResult> results) : results_(results), spikes_(applied(results, "spikes")) {}

  std::optional<Figure> figure() {
    if (!spikes_ || spikes_->at("layers").empty()) return std::nullopt;
    any_spikes_ = !spikes_->at("plateaus").empty();
    sizes();
    attention();
    if (any_spikes_) {
      values();
      distance();
    }
    Figure figure;
    figure.id = "at-a-glance";
    figure.title = "At a glance";
    figure.x.label = "layer";
    figure.bands = plateau_bands(*spikes_);
    figure.caption = caption();
    figure.content = std::move(stack_);
    return figure;
  }

 private:
  void add(std::string title, Axis y, std::vector<Series> series, std::string words) {
    const auto drawn = [](const Series& one) {
      return std::any_of(one.y.begin(), one.y.end(), [](double y) { return std::isfinite(y); });
    };
    std::erase_if(series, [&](const Series& one) { return !drawn(one); });
    if (series.empty()) return;
    const size_t number = stack_.panels.size() + 1;
    stack_.panels.push_back({fmt::format("{}  {}", number, title), std::move(y), {std::move(series), {}}});
    words_ += fmt::format(" ({}) {}", number, words);
  }

  /// The results, or nullptr with a word on why the panel is missing.
  const Json* need(const char* analysis) {
    if (const Json* found = applied(results_, analysis)) return found;
    const auto run = std::find_if(results_.begin(), results_.end(),
                                  [&](const AnalysisResult& one) { return one.analysis->name == analysis; });
    left_out_.push_back(run == results_.end() ? fmt::format("{} was not run", analysis)
                                              : fmt::format("{}: {}", analysis, run->results.value("why", "")));
    return nullptr;
  }

  void sizes() {
    const Json *largest = &spikes_->at("layers").at(0), &layers = spikes_->at("layers");
    for (const Json& layer : layers)
      if (number_or_nan(layer.at("max")) > number_or_nan(largest->at("max"))) largest = &layer;
    const double max = number_or_nan(largest->at("max")), median = number_or_nan(largest->at("median"));
    const std::string ratio = median > 0 ? fmt::format(", {} x the median", number(max / median)) : "";
    const std::string where =
        largest->at("top").empty() ? "" : fmt::format("dimension {}, ", largest->at("top").at(0).at("dim").get<int>());
    add("Size: up to " + number(max) + ratio, {"|h|", true, {}, {}, {}},
        {curve(*spikes_, "largest |h|", value_of("max")), curve(*spikes_, "median", value_of("median")),
         curve(*spikes_, "published threshold",
               {[](const Json& layer) {
                 return std::max<double>(kPublishedMagnitude, kPublishedRatio * number_or_nan(layer.at("median")));
               }},
               true)},
        fmt::format(
            "Size of the numbers that stand for a token inside the model: the largest is {} ({}layer {}), where "
            "the median is {}.",
            number(max), where, largest->at("layer").get<int64_t>(), number(median)));
  }

  void attention() {
    const Json* sinks = need("sinks");
    if (!sinks) return;
    const double mass = mean_where(*sinks, true, value_of("mass")), other = mean_where(*sinks, false, value_of("mass")),
                 bias = mean_where(*sinks, true, value_of("bias_ratio")),
                 first = mean_where(*sinks, any_spikes_, value_of("mean_alpha"));
    std::vector<Series> series = {curve(*sinks, "on spike tokens", value_of("mass")),
                                  curve(*sinks, "what that adds to the output, ||B||/||o||", value_of("bias_ratio")),
                                  curve(*sinks, "on the first token", value_of("mean_alpha"), true)};
    if (!any_spikes_) series.erase(series.begin(), series.begin() + 2);
    const std::string title = any_spikes_ ? fmt::format("Attention on spike tokens: {}{}", rough_percent(mass),
                                                        elsewhere(other, rough_percent(other)))
                                          : "Attention on the first token: " + rough_percent(first);
    const std::string words =
        any_spikes_
            ? fmt::format(
                  "Attention: these few tokens get {} of it{}{}.", text_where(*sinks, true, value_of("mass"), true),
                  elsewhere(other, text_where(*sinks, false, value_of("mass"), true)),
                  std::isnan(bias) ? ""
                                   : fmt::format("; what it brings from there is {} of the length of its output",
                                                 text_where(*sinks, true, value_of("bias_ratio"), true)))
            : fmt::format("Attention: the first token gets {} of it.",
                          text_where(*sinks, any_spikes_, value_of("mean_alpha"), true));
    add(title, {"share", false, 0.0, {}, {}}, std::move(series), words);
  }

  void values() {
    const Json *alignment = need("alignment"), *convergence = need("convergence");
    std::vector<Series> series;
    std::string title, words;
    if (alignment) {
      const Measured drain = value_of("drain");
      const double inside = mean_where(*alignment, true, drain), outside = mean_where(*alignment, false, drain);
      series.push_back(curve(*alignment, "length of their values / others'", drain));
      title = fmt::format("Their values: {} as long as others'{}", rough(inside), elsewhere(outside, rough(outside)));
      words = fmt::format("What they bring along: their values are {} times as long as those of ordinary tokens{}.",
                          text_where(*alignment, true, drain),
                          elsewhere(outside, text_where(*alignment, false, drain)));
    }
    if (convergence) {
      const Measured spike = spike_deviation(*convergence), others = ordinary_deviation();
      const double own = mean_where(*convergence, true, spike), ordinary = mean_where(*convergence, true, others);
      series.push_back(curve(*convergence, "deviation from each other", spike));
      series.push_back(curve(*convergence, "deviation of ordinary tokens", others, true));
      if (title.empty()) title = fmt::format("They deviate by {}, others by {}", rough(own), rough(ordinary));
      words += std::isnan(own)
                   ? " Whether they are the same vector in all inputs cannot be told: all inputs begin alike."
                   : fmt::format(" After the norm they deviate from each other by {}, ordinary tokens by {}.",
                                 text_where(*convergence, true, spike), text_where(*convergence, true, others));
    }
    if (!series.empty()) add(title, {"ratio", true, {}, {}, {}}, std::move(series), words);
  }

  void distance() {
    const Json* rope = need("rope_bands");
    if (!rope) return;
    const double sink = mean_where(*rope, true, value_of("sigma_template")),
                 ordinary = mean_where(*rope, true, value_of("sigma_semantic"));
    add(fmt::format("Their logit over distance: ± {}, others' ± {}", rough(sink), rough(ordinary)),
        {"sigma", true, {}, {}, {}},
        {curve(*rope, "spike tokens' key", value_of("sigma_template")),
         curve(*rope, "ordinary key", value_of("sigma_semantic"), true)},
        fmt::format("How far attention depends on distance: over {} tokens the logit of their key has a standard "
                    "deviation of {}, that of an ordinary key {}.",
                    rope->at("dmax").get<int64_t>(), text_where(*rope, true, value_of("sigma_template")),
                    text_where(*rope, true, value_of("sigma_semantic"))));
  }

  std::string caption() const {
    std::string text = any_spikes_
                           ? fmt::format(
                                 "From top to bottom, over the layers; shaded where spikes stand.{} In other layers "
                                 "the curves are of the latest tokens with spikes, or of the first ones. A bias that "
                                 "attention can rest on - the papers' reading of spikes - would let all panels change "
                                 "together where the shading begins and ends.",
                                 words_)
                           : fmt::format("No spikes were found on these prompts.{}", words_);
    if (!left_out_.empty()) text += fmt::format(" Left out: {}.", join_words(left_out_));
    return fmt::format("{} {}.", text, data_label(*spikes_));
  }

  std::span<const AnalysisResult> results_;
  const Json* spikes_;
  bool any_spikes_ = false;
  PanelStack stack_;
  std::string words_;
  std::vector<std::string> left_out_;
};

}  // namespace

std::optional<Figure> at_a_glance(std::span<const AnalysisResult> results) { return Glance(results).figure(); }

}  // namespace spikescope
