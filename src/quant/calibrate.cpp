#include "quant/calibrate.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <tuple>

#include "base/buffer.h"
#include "base/fail.h"
#include "base/parallel.h"
#include "model/gemm.h"
#include "model/prompt_layout.h"
#include "model/runner.h"
#include "quant/prefix.h"
#include "quant/quantizer.h"
#include "quant/sink_bias.h"
#include "quant/value_histogram.h"
#include "stats/quantile.h"

namespace spikescope {
namespace {

constexpr int64_t kRowsAPiece = 64;

/// Calls work(row) for all rows of a piece of a hook point, on all threads.
template <class Work>
void for_rows(const TensorView& values, const Work& work) {
  const int64_t rows = values.rows();
  parallel_for((rows + kRowsAPiece - 1) / kRowsAPiece, [&](int64_t piece) {
    const int64_t end = std::min(rows, (piece + 1) * kRowsAPiece);
    for (int64_t row = piece * kRowsAPiece; row < end; ++row) work(row);
  });
}

Peak peak_of(const float* values, int64_t count) {
  const float largest = largest_magnitude(values, count);
  const float* const at = std::find_if(values, values + count, [&](float v) { return std::abs(v) == largest; });
  return at == values + count ? Peak{} : Peak{*at, static_cast<int32_t>(at - values)};
}

class ProgressObserver : public PassObserver {
 public:
  ProgressObserver(CalibrationProgress progress, std::string part)
      : progress_(std::move(progress)), part_(std::move(part)) {}
  void progress(double fraction) override { progress_(fraction, part_); }

 private:
  const CalibrationProgress progress_;
  const std::string part_;
};

/// The progress of one of several passes.
CalibrationProgress progress_of_pass(const CalibrationProgress& progress, int pass, int passes) {
  return [&progress, pass, passes](double fraction, const std::string& part) {
    progress((pass + fraction) / passes, part);
  };
}

/// First pass: the largest values of every token.
PassPeaks record_peaks(const ModelWeights& weights, const TokenBatch& batch, const CalibrationProgress& progress) {
  const Architecture& a = weights.architecture();
  const auto layers = static_cast<size_t>(a.n_layers), tokens = batch.ids.size();
  PassPeaks peaks{std::vector<std::vector<float>>(layers),
                  {layers, std::vector<Peak>(tokens)},
                  {layers, std::vector<Peak>(tokens)}};
  Hooks hooks;
  hooks.observe("blocks.*.mlp.post", [&](const Activation& at) {
    std::vector<float>& down = peaks.down[static_cast<size_t>(at.point.layer)];
    down.resize(tokens);
    for_rows(at.values, [&](int64_t row) {
      down[static_cast<size_t>(at.first_row + row)] = largest_magnitude(at.values.row(row), at.values.row_size());
    });
  });
  const auto observe_peaks = [&](Point point, std::vector<std::vector<Peak>>& into) {
    hooks.observe("blocks.*." + std::string(HookPoint{point, 0}.kind().name), [&into](const Activation& at) {
      std::vector<Peak>& rows = into[static_cast<size_t>(at.point.layer)];
      for_rows(at.values, [&](int64_t row) {
        rows[static_cast<size_t>(at.first_row + row)] = peak_of(at.values.row(row), at.values.row_size());
      });
    });
  };
  observe_peaks(mlp_update_point(a), peaks.update);
  observe_peaks(Point::resid_post, peaks.state);
  ProgressObserver observer(progress, "looking for spikes");
  run_model(weights, batch, hooks, observer);
  return peaks;
}

/// The mean of vectors that come one at a time, and how far they are from it.
class VectorMean {
 public:
  void add(const float* values, int64_t count) {
    sums_.resize(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      sums_[static_cast<size_t>(i)] += values[i];
      squares_ += static_cast<double>(values[i]) * values[i];
    }
    ++count_;
  }
  std::vector<float> mean() const {
    std::vector<float> mean;
    for (const double sum : sums_) mean.push_back(static_cast<float>(sum / static_cast<double>(count_)));
    return mean;
  }
  /// sqrt(mean ||x - mean||^2) / ||mean||.
  double deviation() const {
    double square = 0.0;
    for (const double sum : sums_) square += sum * sum;
    square /= static_cast<double>(count_ * count_);
    return std::sqrt(std::max(squares_ / static_cast<double>(count_) - square, 0.0) / square);
  }

 private:
  std::vector<double> sums_;
  double squares_ = 0.0;
  int64_t count_ = 0;
};

/// What the second pass takes of the values at the sites of one block.
class SiteStatistics {
 public:
  SiteStatistics(int threads, size_t tokens) : ordinary_(static_cast<size_t>(threads)), largest_(tokens) {}

  /// `spikes`: whether each token is a spike token.
  void add(const Activation& at, const std::vector<uint8_t>& spikes) {
    const int64_t size = at.values.row_size();
    for_rows(at.values, [&](int64_t row) {
      const auto token = static_cast<size_t>(at.first_row + row);
      largest_[token] = largest_magnitude(at.values.row(row), size);
      if (!spikes[token]) ordinary_[static_cast<size_t>(thread_index())].add(at.values.row(row), size);
    });
    for (int64_t row = 0; row < at.values.rows(); ++row)
      if (spikes[static_cast<size_t>(at.first_row + row)]) of_spikes_.add(at.values.row(row), size);
  }

  /// Of ordinary tokens, and of all; begins anew.
  std::pair<SiteRange, SiteRange> take(const std::vector<uint8_t>& spikes) {
    ValueHistogram& ordinary = ordinary_.front();
    for (size_t thread = 1; thread < ordinary_.size(); ++thread) {
      ordinary.merge(ordinary_[thread]);
      ordinary_[thread].clear();
    }
    std::vector<double> ordinary_rows;
    for (size_t token = 0; token < largest_.size(); ++token)
      if (!spikes[token]) ordinary_rows.push_back(largest_[token]);
    std::pair<SiteRange, SiteRange> ranges;
    ranges.first = range_of(ordinary, std::move(ordinary_rows));
    ordinary.merge(of_spikes_);
    ranges.second = range_of(ordinary, {largest_.begin(), largest_.end()});
    ordinary.clear();
    of_spikes_.clear();
    return ranges;
  }

  /// Of the tokens seen last, the largest |x| of each.
  const std::vector<float>& largest() const { return largest_; }

 private:
  static SiteRange range_of(const ValueHistogram& histogram, std::vector<double> largest) {
    SiteRange range;
    range[RangeKey::rows] = static_cast<float>(largest.size());
    if (largest.empty()) return range;
    range[RangeKey::absmax] = static_cast<float>(histogram.largest());
    range[RangeKey::lowest] = histogram.lowest();
    range[RangeKey::highest] = histogram.highest();
    range[RangeKey::ratio] = static_cast<float>(histogram.largest() / lower_median(std::move(largest)));
    range[RangeKey::percentile] = static_cast<float>(histogram.magnitude_quantile(kPercentile));
    const ClipSearch search(histogram);
    for (const RangeBits& at : range_bits()) {
      range[at.mse] = static_cast<float>(search.symmetric(at.bits).high);
      const ClipSearch::Range both = search.asymmetric(at.bits);
      range[at.low] = static_cast<float>(both.low);
      range[at.high] = static_cast<float>(both.high);
    }
    return range;
  }

  std::vector<ValueHistogram> ordinary_;  // a thread each
  ValueHistogram of_spikes_;
  std::vector<float> largest_;  // [tokens]
};

/// What a site holds in another basis, in `values`.
Activation in_basis(const Activation& at, const SiteBasis& basis, Buffer& values) {
  const int64_t rows = at.values.rows(), size = at.values.row_size();
  values.resize(rows * size);
  for (int64_t row = 0; row < rows; ++row) std::copy_n(at.values.row(row), size, values.data() + row * size);
  const Activation turned{at.point, at.first_row, {values.data(), {rows, size}, size}};
  basis.to(turned.values);
  return turned;
}

/// Second pass.
class Collector : public PassObserver {
 public:
  /// `rotations`: of the templates; `spikes`: [tokens] whether a token is of any set.
  Collector(const ModelWeights& weights, SpikeTemplates& templates,
            const std::vector<std::unique_ptr<Rotation>>& rotations, const std::vector<uint8_t>& spikes,
            const CalibrationProgress& progress)
      : weights_(weights),
        architecture_(weights.architecture()),
        templates_(templates),
        bases_(site_bases(templates, rotations, Population::ordinary_rotated)),
        spikes_(spikes),
        progress_(progress) {
    for (size_t site = 0; site < kSites; ++site) {
      sites_.emplace_back(threads(), spikes.size());
      channels_.emplace_back(threads());
      rotated_sites_.emplace_back(threads(), spikes.size());
    }
    for (const TemplateSet& set : templates.sets)
      sums_.push_back({std::vector<VectorMean>(blocks_of(set)), std::vector<VectorMean>(blocks_of(set)), {}, {}});
  }

  void attach(Hooks& hooks) {
    for (const SiteKind& kind : site_kinds())
      hooks.observe("blocks.*." + std::string(HookPoint{kind.point, 0}.kind().name),
                    [this, site = kind.site](const Activation& at) { see_site(site, at); });
    hooks.observe("blocks.*." + std::string(HookPoint{mlp_update_point(architecture_), 0}.kind().name),
                  [this](const Activation& at) {
                    for (size_t i = 0; i < sums_.size(); ++i)
                      if (templates_.sets[i].silences(at.point.layer)) see_update(i, at);
                  });
    const bool to_the_end = std::any_of(templates_.sets.begin(), templates_.sets.end(),
                                        [](const TemplateSet& set) { return set.course.reaches_end; });
    if (to_the_end && has_point(architecture_, {Point::ln_final_out, -1}))
      hooks.observe("ln_final.out", [this](const Activation& at) {
        for (size_t i = 0; i < sums_.size(); ++i)
          if (templates_.sets[i].course.reaches_end)
            for_spikes(i, at,
                       [&](const float* values, size_t) { sums_[i].final_out.add(values, at.values.row_size()); });
      });
  }

  void block_done(int layer, const TensorView&) override {
    parallel_for(static_cast<int64_t>(kSites), [&](int64_t index) {
      const SiteKind& kind = site_kinds()[static_cast<size_t>(index)];
      if (!has_site(architecture_, kind.site, layer)) return;
      const auto site = static_cast<size_t>(kind.site);
      std::tie(templates_.range(Population::ordinary, kind.site, layer),
               templates_.range(Population::all, kind.site, layer)) = sites_[site].take(spikes_);
      const auto at = static_cast<size_t>(layer);
      std::tie(templates_.channels[static_cast<size_t>(Population::ordinary)][site][at],
               templates_.channels[static_cast<size_t>(Population::all)][site][at]) = channels_[site].take();
      if (!bases_[site][at].changes()) return;
      std::tie(templates_.range(Population::ordinary_rotated, kind.site, layer),
               templates_.range(Population::all_rotated, kind.site, layer)) = rotated_sites_[site].take(spikes_);
      ChannelMoments& moments = moments_[site];
      if (moments.rows() > 0)
        templates_.balances[site][at] =
            balance_of(moments.means(), moments.deviations(), reading_norms(weights_, kind.site, layer));
      moments.clear();
    });
  }

  void progress(double fraction) override { progress_(fraction, "ranges and templates"); }

  /// After the pass.
  void finish() {
    for (size_t i = 0; i < sums_.size(); ++i) {
      TemplateSet& set = templates_.sets[i];
      double deviation = 0.0;
      for (const VectorMean& sum : sums_[i].attn_in) deviation += sum.deviation();
      set.deviation = deviation / static_cast<double>(sums_[i].attn_in.size());
      for (const auto& [from, to] : {std::pair(&sums_[i].attn_in, &set.attn_in), {&sums_[i].mlp_in, &set.mlp_in}})
        for (const VectorMean& sum : *from) {
          const std::vector<float> mean = sum.mean();
          to->insert(to->end(), mean.begin(), mean.end());
        }
      set.residual = sums_[i].residual_mean(set.tokens);
      set.final_out = sums_[i].final_out.mean();
    }
  }

 private:
  struct Sums {
    std::vector<VectorMean> attn_in, mlp_in;  ///< [blocks birth + 1 .. last]
    VectorMean final_out;
    std::vector<double> residual;  ///< [d] over all tokens and silenced blocks

    std::vector<float> residual_mean(int64_t tokens) const {
      std::vector<float> mean;
      for (const double sum : residual) mean.push_back(static_cast<float>(sum / static_cast<double>(tokens)));
      return mean;
    }
  };

  static size_t blocks_of(const TemplateSet& set) { return static_cast<size_t>(set.course.last - set.course.birth); }

  /// Calls work(values, token) for the spike tokens of a set among the rows.
  template <class Work>
  void for_spikes(size_t set, const Activation& at, const Work& work) const {
    const std::vector<int64_t>& tokens = templates_.sets[set].course.tokens;
    const int64_t end = at.first_row + at.values.rows();
    for (auto token = std::lower_bound(tokens.begin(), tokens.end(), at.first_row);
         token != tokens.end() && *token < end; ++token)
      work(at.values.row(*token - at.first_row), static_cast<size_t>(*token));
  }

  void see_site(Site site, const Activation& at) {
    const auto index = static_cast<size_t>(site), layer = static_cast<size_t>(at.point.layer);
    if (at.first_row == 0) templates_.weight_maxima[index][layer] = reading_maxima(weights_, site, at.point.layer);
    sites_[index].add(at, spikes_);
    channels_[index].add(at, spikes_);
    if (const SiteBasis& basis = bases_[index][layer]; basis.changes()) {
      rotated_sites_[index].add(in_basis(at, basis, turned_), spikes_);
      moments_[index].add(at, spikes_);
    }
    if (site != Site::attn_in && site != Site::mlp_in) return;
    for (size_t i = 0; i < sums_.size(); ++i) {
      const SpikeCourse& course = templates_.sets[i].course;
      if (at.point.layer <= course.birth || at.point.layer > course.last) continue;
      std::vector<VectorMean>& means = site == Site::attn_in ? sums_[i].attn_in : sums_[i].mlp_in;
      VectorMean& mean = means[static_cast<size_t>(at.point.layer - course.birth - 1)];
      for_spikes(i, at, [&](const float* values, size_t) { mean.add(values, at.values.row_size()); });
    }
  }

  void see_update(size_t set, const Activation& at) {
    std::vector<double>& sums = sums_[set].residual;
    sums.resize(static_cast<size_t>(at.values.row_size()));
    for_spikes(set, at, [&](const float* values, size_t) {
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += values[i];
    });
  }

  const ModelWeights& weights_;
  const Architecture& architecture_;
  SpikeTemplates& templates_;
  const std::vector<std::vector<SiteBasis>> bases_;  // [sites][blocks]
  const std::vector<uint8_t>& spikes_;               // [tokens]
  const CalibrationProgress& progress_;
  std::vector<SiteStatistics> sites_, rotated_sites_;
  std::vector<ChannelStatistics> channels_;
  std::array<ChannelMoments, kSites> moments_;
  Buffer turned_;
  std::vector<Sums> sums_;  // of templates_.sets
};

/// k' and v' of the templates at attn_in.
void add_sink_biases(const ModelWeights& weights, SpikeTemplates& templates) {
  const Architecture& a = weights.architecture();
  if (templates.sets.empty() || !why_no_sink_bias(a).empty()) return;
  templates.kv_heads = a.n_kv_heads;
  templates.head_dim = a.head_dim;
  templates.v_dim = a.v_dim();
  for (TemplateSet& set : templates.sets)
    for (int layer = set.course.birth + 1; layer <= set.course.last; ++layer) {
      const SinkBias bias = sink_bias_of(weights, layer, set.at(Site::attn_in, layer, templates.d_model));
      set.attn_k.insert(set.attn_k.end(), bias.key.begin(), bias.key.end());
      set.attn_v.insert(set.attn_v.end(), bias.value.begin(), bias.value.end());
    }
}

/// Third pass, with a rotation: ranges of balanced values, whose balance the second pass has found.
class BalancedRanges : public PassObserver {
 public:
  BalancedRanges(const Architecture& architecture, const std::vector<uint8_t>& spikes, SpikeTemplates& templates,
                 const std::vector<std::unique_ptr<Rotation>>& rotations, const CalibrationProgress& progress)
      : architecture_(architecture),
        spikes_(spikes),
        templates_(templates),
        bases_(site_bases(templates, rotations, Population::ordinary_balanced)),
        progress_(progress) {
    for (size_t site = 0; site < kSites; ++site) sites_.emplace_back(threads(), spikes.size());
  }

  void attach(Hooks& hooks) {
    for (const SiteKind& kind : site_kinds())
      hooks.observe("blocks.*." + std::string(HookPoint{kind.point, 0}.kind().name),
                    [this, site = static_cast<size_t>(kind.site)](const Activation& at) {
                      const SiteBasis& basis = bases_[site][static_cast<size_t>(at.point.layer)];
                      sites_[site].add(in_basis(at, basis, values_), spikes_);
                    });
  }

  void block_done(int layer, const TensorView&) override {
    parallel_for(static_cast<int64_t>(kSites), [&](int64_t index) {
      const SiteKind& kind = site_kinds()[static_cast<size_t>(index)];
      if (has_site(architecture_, kind.site, layer))
        std::tie(templates_.range(Population::ordinary_balanced, kind.site, layer),
                 templates_.range(Population::all_balanced, kind.site, layer)) =
            sites_[static_cast<size_t>(index)].take(spikes_);
    });
  }

  void progress(double fraction) override { progress_(fraction, "ranges of balanced values"); }

 private:
  const Architecture& architecture_;
  const std::vector<uint8_t>& spikes_;
  SpikeTemplates& templates_;
  const std::vector<std::vector<SiteBasis>> bases_;  // [sites][blocks]
  const CalibrationProgress& progress_;
  std::vector<SiteStatistics> sites_;
  Buffer values_;
};

/// Last pass: ranges of the prompts' own tokens behind the prefix, and how many of these have spikes nevertheless.
class PrefixCollector : public PassObserver {
 public:
  PrefixCollector(const Architecture& architecture, const TokenBatch& batch, SpikeTemplates& templates,
                  const CalibrationProgress& progress)
      : architecture_(architecture),
        templates_(templates),
        of_prefix_(prefix_rows(batch, templates.prefix.ids.size())),
        spikes_(batch.ids.size()),
        progress_(progress) {
    for (size_t site = 0; site < kSites; ++site) sites_.emplace_back(threads(), batch.ids.size());
  }

  void attach(Hooks& hooks) {
    for (const SiteKind& kind : site_kinds())
      hooks.observe(
          "blocks.*." + std::string(HookPoint{kind.point, 0}.kind().name),
          [this, site = static_cast<size_t>(kind.site)](const Activation& at) { sites_[site].add(at, of_prefix_); });
  }

  void block_done(int layer, const TensorView&) override {
    for (const TemplateSet& set : templates_.sets)
      if (set.course.birth == layer) see_births(set.course.threshold);
    parallel_for(static_cast<int64_t>(kSites), [&](int64_t index) {
      const SiteKind& kind = site_kinds()[static_cast<size_t>(index)];
      if (has_site(architecture_, kind.site, layer))
        templates_.range(Population::prefixed, kind.site, layer) =
            sites_[static_cast<size_t>(index)].take(of_prefix_).first;
    });
  }

  void progress(double fraction) override { progress_(fraction, "ranges behind a prefix"); }

  /// After the pass.
  void finish() { templates_.prefix.spikes = std::count(spikes_.begin(), spikes_.end(), uint8_t{1}); }

 private:
  void see_births(double threshold) {
    const std::vector<float>& largest = sites_[static_cast<size_t>(Site::down_in)].largest();
    for (size_t row = 0; row < largest.size(); ++row)
      if (!of_prefix_[row] && largest[row] > threshold) spikes_[row] = 1;
  }

  const Architecture& architecture_;
  SpikeTemplates& templates_;
  const std::vector<uint8_t> of_prefix_;  // [rows]
  std::vector<uint8_t> spikes_;           // [rows] whether an own token has one
  const CalibrationProgress& progress_;
  std::vector<SiteStatistics> sites_;
};

bool fits_context(const TokenBatch& batch, const Architecture& a) {
  return a.context_length <= 0 || PromptLayout(batch.offsets, batch.parents).longest() <= a.context_length;
}

}  // namespace

SpikeTemplates calibrate(const ModelWeights& weights, const TokenBatch& batch, CalibrationInfo info,
                         const CalibrationSettings& settings, const CalibrationProgress& progress) {
  const double eta = settings.eta;
  const Architecture& a = weights.architecture();
  require_sites(a);
  if (!(eta >= 1.0) || !std::isfinite(eta)) fail_usage("eta is {}; expected a number from 1 on", eta);
  if (settings.prefix) check_prompts(with_prefix(batch, *settings.prefix), a);
  const bool rotates = settings.rotation != RotationKind::none;
  // Whether there is a prefix is known once spikes are.
  const int passes_at_most = 2 + rotates + !(settings.prefix && settings.prefix->empty());
  const SpikeCourses found =
      find_spike_courses(record_peaks(weights, batch, progress_of_pass(progress, 0, passes_at_most)), eta);

  SpikeTemplates templates;
  templates.info = std::move(info);
  templates.info.tokens = static_cast<int64_t>(batch.ids.size());
  templates.n_layers = a.n_layers;
  templates.d_model = a.d_model;
  templates.eta = eta;
  templates.rotation = settings.rotation;
  templates.rotation_seed = settings.seed;
  templates.blocks = found.blocks;
  for (auto& population : templates.ranges)
    for (std::vector<SiteRange>& layers : population) layers.resize(static_cast<size_t>(a.n_layers));
  for (auto& population : templates.channels)
    for (std::vector<ChannelRange>& layers : population) layers.resize(static_cast<size_t>(a.n_layers));
  for (std::vector<std::vector<float>>& layers : templates.weight_maxima)
    layers.resize(static_cast<size_t>(a.n_layers));
  const std::vector<std::unique_ptr<Rotation>> rotations = site_rotations(a, templates);
  if (rotates)
    for (std::vector<ChannelBalance>& layers : templates.balances) layers.resize(static_cast<size_t>(a.n_layers));
  for (const SpikeCourse& course : found.courses) {
    TemplateSet set;
    set.course = course;
    set.tokens = static_cast<int64_t>(course.tokens.size());
    set.evidence = found.blocks[static_cast<size_t>(course.birth)];
    templates.sets.push_back(std::move(set));
  }

  std::vector<uint8_t> spikes(batch.ids.size());
  for (const TemplateSet& set : templates.sets)
    for (const int64_t token : set.course.tokens) spikes[static_cast<size_t>(token)] = 1;
  std::vector<int64_t>& prefix = templates.prefix.ids;
  prefix = settings.prefix ? *settings.prefix : choose_prefix(batch, spikes);
  const TokenBatch prefixed = with_prefix(batch, prefix);
  if (!settings.prefix && !fits_context(prefixed, a)) prefix.clear();
  const int passes = 2 + rotates + !prefix.empty();

  const CalibrationProgress second = progress_of_pass(progress, 1, passes);
  Collector collector(weights, templates, rotations, spikes, second);
  Hooks hooks;
  collector.attach(hooks);
  run_model(weights, batch, hooks, collector);
  collector.finish();
  add_sink_biases(weights, templates);
  if (rotates) {
    const CalibrationProgress third = progress_of_pass(progress, 2, passes);
    BalancedRanges balanced(a, spikes, templates, rotations, third);
    Hooks observers;
    balanced.attach(observers);
    run_model(weights, batch, observers, balanced);
  }
  if (prefix.empty()) return templates;

  const CalibrationProgress last = progress_of_pass(progress, passes - 1, passes);
  PrefixCollector behind(a, prefixed, templates, last);
  Hooks observers;
  behind.attach(observers);
  run_model(weights, prefixed, observers, behind);
  behind.finish();
  return templates;
}

}  // namespace spikescope
