#include "analyses/block_inputs.h"

#include <fmt/format.h>

#include <memory>
#include <vector>

#include "analyses/residual_scan.h"
#include "base/error.h"
#include "model/norm.h"
#include "model/rows.h"
#include "model/weights.h"

namespace spikescope {
namespace {

using Rows = std::vector<float>;
using ReadRows = std::function<Rows(int64_t first, int64_t count)>;

MatrixView view(Rows& rows, int64_t d) { return {rows.data(), static_cast<int64_t>(rows.size()) / d, d, d}; }

void norm_rows(const Norm& norm, Rows& rows) {
  const MatrixView all = view(rows, norm.size());
  norm(all.data, all.rows, all.stride, all.data, all.stride);
}

ReadRows normed(ReadRows rows, std::shared_ptr<const Norm> norm) {
  return [rows = std::move(rows), norm = std::move(norm)](int64_t first, int64_t count) {
    Rows values = rows(first, count);
    norm_rows(*norm, values);
    return values;
  };
}

std::shared_ptr<const Norm> load_norm(const ModelWeights& weights, int64_t block, Role gain, Role bias) {
  const auto norm = std::make_shared<Norm>();
  norm->load(weights, static_cast<int>(block), gain, bias);
  return norm;
}

/// The residual stream between attention and MLP.
ReadRows after_attention(const DumpReader& dump, const ModelWeights& weights, int64_t block) {
  const Architecture& a = weights.architecture();
  const auto post = std::make_shared<Norm>();
  if (a.norms_of_branch()) post->load_rms(weights, static_cast<int>(block), Role::ln1_post);
  const Rows scale = weights.read(Role::ln1_scale, static_cast<int>(block)).values;
  return [&dump, &a, block, post, scale](int64_t first, int64_t count) {
    Rows rows = dump.read(residual_point(block), first, count),
         update = dump.read({Point::attn_out, static_cast<int>(block)}, first, count);
    if (a.norms_of_branch()) norm_rows(*post, update);
    if (a.layer_scale) scale_rows(scale.data(), view(update, a.d_model));
    add(update.data(), static_cast<int64_t>(update.size()), rows.data());
    return rows;
  };
}

}  // namespace

std::string why_no_weights(const AnalysisInput& input) {
  try {
    const Architecture& a = input.weights().architecture();
    if (a.d_model != input.dump.d_model() || a.n_layers != input.dump.n_layers())
      return fmt::format("the checkpoint has {} blocks of width {}, the dump {} of width {}", a.n_layers, a.d_model,
                         input.dump.n_layers(), input.dump.d_model());
  } catch (const Error& error) {
    return std::string("it needs the checkpoint's weights: ") + error.what();
  }
  return {};
}

BlockInputs::BlockInputs(const AnalysisInput& input)
    : dump_(input.dump),
      places_(json_get_or<std::string>(dump_.info().config, "norm_places", "before", "config of the dump")) {
  bool attention = true, mlp = true;
  for (int64_t block = 0; block < dump_.n_layers(); ++block) {
    attention &= dump_.has(attention_point(block));
    mlp &= places_ == "branch" || dump_.has(mlp_point(block));
  }
  if (attention && mlp) return;
  const std::string why = why_no_weights(input);
  if (why.empty())
    weights_ = &input.weights();
  else if (!attention)
    missing_ = fmt::format("the dump does not hold what attention reads, and to make it {}", why);
}

HookPoint BlockInputs::attention_point(int64_t block) const {
  if (places_ == "branch" || places_ == "after") return residual_point(block);
  return {Point::ln1_out, static_cast<int>(block)};
}

HookPoint BlockInputs::mlp_point(int64_t block) const {
  return {places_ == "after" ? Point::ln1_out : Point::ln2_out, static_cast<int>(block)};
}

VectorSource BlockInputs::attention(int64_t block) const {
  const HookPoint point = attention_point(block);
  const VectorSource residual = dumped(dump_, residual_point(block));
  if (dump_.has(point)) return dumped(dump_, point);
  return {point, normed(residual.read, load_norm(*weights_, block, Role::ln1, Role::ln1_bias))};
}

std::optional<VectorSource> BlockInputs::mlp(int64_t block) const {
  const HookPoint point = mlp_point(block);
  if (places_ == "branch") return std::nullopt;
  if (dump_.has(point)) return dumped(dump_, point);
  if (!weights_ || !weights_->architecture().has_ln2()) return std::nullopt;
  const bool parallel = weights_->architecture().parallel, after = places_ == "after";
  if (!parallel && !dump_.has({Point::attn_out, static_cast<int>(block)})) return std::nullopt;
  return VectorSource{point, normed(parallel ? dumped(dump_, residual_point(block)).read
                                             : after_attention(dump_, *weights_, block),
                                    after ? load_norm(*weights_, block, Role::ln1, Role::ln1_bias)
                                          : load_norm(*weights_, block, Role::ln2, Role::ln2_bias))};
}

}  // namespace spikescope
