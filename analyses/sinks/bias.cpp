#include "analyses/sinks/bias.h"

#include <algorithm>
#include <cmath>

namespace spikescope {
namespace {

/// W_O^h v of every head, [heads, d]; `values` [kv heads, head_dim].
std::vector<float> head_outputs(const SinkStatistics& sinks, const Weight& w_o, const float* values) {
  const int64_t group = sinks.heads / sinks.kv_heads, head_dim = sinks.head_dim;
  std::vector<float> outputs(static_cast<size_t>(sinks.heads * w_o.rows));
  for (int64_t head = 0; head < sinks.heads; ++head) {
    const float* value = values + head / group * head_dim;
    for (int64_t row = 0; row < w_o.rows; ++row) {
      const float* weights = w_o.values.data() + row * w_o.columns + head * head_dim;
      double sum = 0.0;
      for (int64_t i = 0; i < head_dim; ++i) sum += static_cast<double>(weights[i]) * value[i];
      outputs[static_cast<size_t>(head * w_o.rows + row)] = static_cast<float>(sum);
    }
  }
  return outputs;
}

template <class A, class B>
double dot(const A* a, const B* b, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

}  // namespace

PromptBias::PromptBias(const SinkStatistics& sinks, const Weight& w_o, std::span<const int64_t> spikes, int64_t prompt)
    : heads_(sinks.heads), d_(w_o.rows) {
  for (size_t kept = 0; kept < sinks.tokens.size(); ++kept) {
    const auto& [of_prompt, token] = sinks.tokens[kept];
    if (of_prompt != prompt || !std::binary_search(spikes.begin(), spikes.end(), token)) continue;
    const float* values = sinks.values.data() + static_cast<int64_t>(kept) * sinks.kv_heads * sinks.head_dim;
    sources_.push_back({sinks.columns[kept], head_outputs(sinks, w_o, values)});
  }
}

void PromptBias::add_sum(std::span<double> sum, int64_t first_query) const {
  for (const Source& source : sources_) {
    const int64_t length = static_cast<int64_t>(source.columns.size()) / heads_;
    for (int64_t head = 0; head < heads_; ++head) {
      double attention = 0.0;
      for (int64_t query = first_query; query < length; ++query) {
        attention += source.columns[static_cast<size_t>(query * heads_ + head)];
      }
      const float* output = source.outputs.data() + head * d_;
      for (int64_t i = 0; i < d_; ++i) sum[static_cast<size_t>(i)] += attention * output[i];
    }
  }
}

BiasShare PromptBias::share(std::span<const float> attn_out, std::span<const double> direction,
                            int64_t first_query) const {
  const double direction_norm = std::sqrt(dot(direction.data(), direction.data(), d_));
  BiasShare result;
  std::vector<float> bias(static_cast<size_t>(d_));
  for (int64_t query = first_query; query < static_cast<int64_t>(attn_out.size()) / d_; ++query) {
    std::fill(bias.begin(), bias.end(), 0.0f);
    for (const Source& source : sources_) {
      for (int64_t head = 0; head < heads_; ++head) {
        const float attention = source.columns[static_cast<size_t>(query * heads_ + head)];
        const float* output = source.outputs.data() + head * d_;
        for (int64_t i = 0; i < d_; ++i) bias[static_cast<size_t>(i)] += attention * output[i];
      }
    }
    const float* output = attn_out.data() + query * d_;
    const double bias_norm = std::sqrt(dot(bias.data(), bias.data(), d_));
    const double output_norm = std::sqrt(dot(output, output, d_));
    if (output_norm > 0.0) {
      result.ratio += bias_norm / output_norm;
      ++result.ratio_queries;
    }
    if (bias_norm > 0.0 && direction_norm > 0.0) {
      result.cosine += dot(bias.data(), direction.data(), d_) / (bias_norm * direction_norm);
      ++result.biased_queries;
    }
  }
  return result;
}

}  // namespace spikescope
