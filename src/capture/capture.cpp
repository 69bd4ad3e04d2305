#include "capture/capture.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/fail.h"
#include "base/text.h"
#include "capture/images.h"
#include "capture/spike_tracker.h"
#include "model/product.h"
#include "model/runner.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

/// Rows of one point for the group of prompts that is in work, put together from its pieces.
class GroupRows {
 public:
  void take(const Activation& activation) {
    const TensorView& values = activation.values;
    if (rows_ == 0) first_row_ = activation.first_row;
    size_ = values.row_size();
    values_.resize(static_cast<size_t>((rows_ + values.rows()) * size_));
    for (int64_t row = 0; row < values.rows(); ++row)
      std::memcpy(values_.data() + (rows_ + row) * size_, values.row(row), static_cast<size_t>(size_) * sizeof(float));
    rows_ += values.rows();
  }
  void append_row(int64_t row, std::vector<float>& out) const {
    const float* from = values_.data() + (row - first_row_) * size_;
    out.insert(out.end(), from, from + size_);
  }
  void clear() { rows_ = 0; }
  int64_t row_size() const { return size_; }

 private:
  int64_t first_row_ = 0, rows_ = 0, size_ = 0;
  std::vector<float> values_;
};

/// The pass's observer: hands hook points, sink statistics and writer rows to the dump.
class CaptureObserver : public PassObserver {
 public:
  CaptureObserver(const Architecture& architecture, const DumpTokens& tokens, const CaptureRequest& request,
                  DumpWriter& writer, const std::function<void(double)>& progress)
      : architecture_(architecture),
        tokens_(tokens),
        request_(request),
        writer_(writer),
        progress_(progress),
        tracker_(tokens.offsets) {}

  void attach(Hooks& hooks, const std::vector<HookPoint>& points) {
    for (const HookPoint& point : points)
      hooks.observe(point.name(), [this](const Activation& a) {
        writer_.write(a.point, a.first_row, a.values.data, a.values.rows(), a.values.row_size(), a.values.row_stride);
      });
    if (!request_.writers) return;
    for (int layer = 0; layer < architecture_.n_layers; ++layer) {
      const auto gather = [&](std::initializer_list<Point> in_order, GroupRows& rows) {
        // The update as added: the last of these that the architecture has.
        HookPoint last{*in_order.begin(), layer};
        for (const Point point : in_order)
          if (has_point(architecture_, {point, layer})) last.point = point;
        if (has_point(architecture_, last)) hooks.observe(last.name(), [&rows](const Activation& a) { rows.take(a); });
      };
      gather({Point::attn_out, Point::ln1_post_out, Point::attn_scaled}, attention_);
      gather({Point::mlp_out, Point::ln2_post_out, Point::mlp_scaled}, mlp_);
      gather({Point::mlp_post}, mlp_post_);
      hooks.observe(HookPoint{Point::resid_post, layer}.name(), [this](const Activation& a) { keep_writers(a); });
    }
  }

  bool wants_sinks() const override { return request_.sinks; }

  std::vector<TokenPosition> kept_tokens(int layer, const TensorView& resid_pre) override {
    tracker_.look(resid_pre, 0);
    return tracker_.tokens();
  }

  void sinks(int layer, SinkStatistics statistics) override { writer_.write_sinks(layer, std::move(statistics)); }

  void block_done(int layer, const TensorView& residual) override {
    if (request_.writers) {
      writers_.d_model = architecture_.d_model;
      writers_.width = mlp_post_.row_size();
      writer_.write_writers(layer, std::move(writers_));
      writers_ = {};
    }
    writer_.finish_block(layer);
    const Clock::time_point now = Clock::now();
    stopping_ = request_.stop && request_.stop() && layer + 1 < architecture_.n_layers;
    if (layer + 1 >= architecture_.n_layers ||
        (!stopping_ && now - saved_ < std::chrono::duration<double>(request_.state_seconds)))
      return;
    saved_ = now;
    next_layer_ = layer + 1;
    writer_.save_state({next_layer_, tracker_.tokens(),
                        std::vector<float>(residual.data, residual.data + residual.rows() * residual.row_size())});
  }

  bool wants_stop() const override { return stopping_; }

  void restore(const DumpState& state) {
    tracker_.restore(state.tracked);
    for (int64_t layer = 0; layer < state.next_layer; ++layer) writer_.adopt(layer, request_.sinks, request_.writers);
  }
  /// Of the last state saved.
  int64_t next_layer() const { return next_layer_; }

  void progress(double fraction) override {
    if (progress_) progress_(fraction);
  }

 private:
  using Clock = std::chrono::steady_clock;
  /// At the end of a group's block: rows of the tokens tracked, those that became spikes in this block included.
  void keep_writers(const Activation& resid_post) {
    tracker_.look(resid_post.values, resid_post.first_row);
    const int64_t end = resid_post.first_row + resid_post.values.rows();
    for (const TokenPosition& position : tracker_.tokens()) {
      const int64_t row = tokens_.offsets[static_cast<size_t>(position.first)] + position.second;
      if (row < resid_post.first_row || row >= end) continue;
      writers_.tokens.push_back(position);
      attention_.append_row(row, writers_.attention);
      mlp_.append_row(row, writers_.mlp);
      if (mlp_post_.row_size() > 0) mlp_post_.append_row(row, writers_.mlp_post);
    }
    for (GroupRows* rows : {&attention_, &mlp_, &mlp_post_}) rows->clear();
  }

  const Architecture& architecture_;
  const DumpTokens& tokens_;
  const CaptureRequest& request_;
  DumpWriter& writer_;
  const std::function<void(double)>& progress_;
  SpikeTracker tracker_;
  GroupRows attention_, mlp_, mlp_post_;
  WriterRows writers_;
  Clock::time_point saved_ = Clock::now();
  int64_t next_layer_ = 0;
  bool stopping_ = false;
};

void check_space(const fs::path& out, int64_t needed) {
  fs::path existing = fs::absolute(out);
  while (!fs::exists(existing) && existing.has_parent_path() && existing != existing.parent_path())
    existing = existing.parent_path();
  std::error_code error;
  const fs::space_info space = fs::space(existing, error);
  if (!error && static_cast<uint64_t>(needed) > space.available)
    fail(
        "{}: the dump will take {}, but the disk has {} left; capture fewer points (--points), fewer tokens, or use "
        "--storage float16 or --gzip 4",
        out.string(), format_bytes(needed), format_bytes(static_cast<int64_t>(space.available)));
}

/// What makes a capture another one, besides what the dump records anyway.
Json settings_to_resume(const Checkpoint& checkpoint, const CaptureRequest& request,
                        const std::vector<HookPoint>& points) {
  Json settings = {{"sinks", request.sinks},     {"writers", request.writers}, {"losses", request.losses},
                   {"kernel", product_kernel()}, {"points", Json::array()},    {"files", Json::array()}};
  for (const HookPoint& point : points) settings["points"].push_back(point.name());
  for (const fs::path& file : checkpoint.files())
    settings["files"].push_back(
        {file.string(), fs::file_size(file), fs::last_write_time(file).time_since_epoch().count()});
  return settings;
}

double mean_of_finite(const std::vector<float>& values) {
  double sum = 0.0;
  int64_t count = 0;
  for (const float value : values)
    if (std::isfinite(value)) {
      sum += value;
      ++count;
    }
  return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

std::vector<HookPoint> select_points(const Architecture& architecture, const std::vector<std::string>& names,
                                     const std::vector<std::string>& if_any) {
  const std::vector<HookPoint> all = hook_points(architecture);
  std::vector<bool> chosen(all.size());
  const auto choose = [&](const std::string& name) {
    bool found = false;
    for (size_t i = 0; i < all.size(); ++i)
      if (glob_matches(name, all[i].name())) chosen[i] = found = true;
    return found;
  };
  for (const std::string& name : if_any) choose(name);
  for (const std::string& name : names) {
    if (choose(name)) continue;
    if (name.find_first_of("*?[") != std::string::npos)
      fail_usage("--points '{}' matches no hook point of this model; 'spikescope inspect MODEL --points' lists them",
                 name);
    const HookPoint point = parse_hook_point(name);
    if (point.layer >= architecture.n_layers)
      fail_usage("--points '{}': the model has {} layers, 0 to {}", name, architecture.n_layers,
                 architecture.n_layers - 1);
    fail_usage("--points '{}': the {} family has no such hook point", name, architecture.family);
  }
  std::vector<HookPoint> points;
  for (size_t i = 0; i < all.size(); ++i)
    if (chosen[i]) points.push_back(all[i]);
  return points;
}

CaptureSummary capture(const Checkpoint& checkpoint, const DumpTokens& tokens, DumpInfo info,
                       const CaptureRequest& request, const fs::path& out,
                       const std::function<void(double)>& progress) {
  const auto began = std::chrono::steady_clock::now();
  const Architecture& architecture = checkpoint.architecture();
  const TokenBatch batch{tokens.ids, tokens.offsets, request.pixels};
  check_prompts(batch, architecture);
  if (request.losses && !(architecture.head && architecture.causal))
    fail_usage("--losses: {} models do not predict the next token", architecture.family);
  const std::vector<HookPoint> points = select_points(architecture, request.points, request.points_if_any);
  std::vector<std::pair<HookPoint, std::vector<int64_t>>> declared;
  for (const HookPoint& point : points) declared.emplace_back(point, row_shape(architecture, point));

  CaptureSummary summary;
  summary.tokens = tokens.size();
  summary.prompts = tokens.n_prompts();
  summary.dump_bytes = dump_bytes(tokens, declared, request.storage);
  for (const HookPoint& point : points) summary.points.push_back(point.name());
  if (request.storage.gzip == 0) check_space(out, summary.dump_bytes);

  info.family = architecture.family;
  info.config = to_json(checkpoint);
  info.storage = request.storage.storage;
  WeightStream stream(checkpoint.weights(), true);
  DumpOptions storage = request.storage;
  storage.settings = settings_to_resume(checkpoint, request, points);
  if (request.pixels.images > 0) storage.settings["pixels_sha256"] = pixels_fingerprint(request.pixels);
  DumpWriter writer(out, std::move(info), tokens, storage);
  for (const auto& [point, shape] : declared) writer.declare(point, shape);
  CaptureObserver observer(architecture, tokens, request, writer, progress);
  Hooks hooks;
  observer.attach(hooks, points);
  RunOptions options;
  options.losses = request.losses;
  options.stream = &stream;
  if (const std::optional<DumpState>& state = writer.resumed()) {
    observer.restore(*state);
    options.first_layer = static_cast<int>(state->next_layer);
    options.residual = state->residual;
    summary.resumed_layer = state->next_layer;
  }
  const RunResult result = run_model(checkpoint.weights(), batch, hooks, observer, options);
  if (result.stopped) {
    writer.stop();
    summary.stopped_layer = observer.next_layer();
    return summary;
  }
  if (request.losses) writer.write_losses(result.losses);
  writer.finish(stream.sha256());

  summary.weight_bytes = stream.bytes_read();
  summary.weight_seconds = result.weight_seconds;
  summary.mean_loss = mean_of_finite(result.losses);
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return summary;
}

}  // namespace spikescope
