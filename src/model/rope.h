// Rotary position embedding (arXiv 2104.09864).
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "model/architecture.h"

namespace spikescope {

/// Frequencies theta^(-2i/dims), i = 0 .. dims/2 - 1, in radians a position.
std::vector<double> rope_frequencies(double theta, int64_t dims);
/// Position interpolation (arXiv 2306.15595): all frequencies divided by `factor`.
void scale_linear(Rope& rope, double factor);
/// LLaMA 3.1's scaling: low frequencies divided by `factor`, high ones kept, a ramp between.
void scale_llama3(Rope& rope, double factor, double low_freq_factor, double high_freq_factor, double original_context);
/// YaRN (arXiv 2309.00071). `attention_factor` <= 0: 0.1 ln(factor) + 1.
struct Yarn {
  double factor = 1.0, original_context = 0.0, beta_fast = 32.0, beta_slow = 1.0, attention_factor = 0.0;
};
void scale_yarn(Rope& rope, const Yarn& yarn);
/// LongRoPE (arXiv 2402.13753): pair i's frequency divided by short_factors[i] in prompts of up to `original_context`
/// tokens and by long_factors[i] in longer ones. `attention_factor` <= 0: sqrt(1 + ln(factor) / ln(original_context)).
void scale_longrope(Rope& rope, const std::vector<double>& short_factors, const std::vector<double>& long_factors,
                    double factor, int64_t original_context, double attention_factor);

/// The frequencies that turn prompts of up to `positions` tokens.
const std::vector<double>& rope_frequencies(const Rope& rope, int64_t positions);
/// The channels of a head that pair i turns: the first becomes first cos - second sin.
std::pair<int64_t, int64_t> rope_channels(const Rope& rope, int64_t i);

/// Cosines and sines of all positions below a length, the longest prompt's.
class RopeTable {
 public:
  RopeTable(const Rope& rope, int64_t positions);
  /// Turns the rotated channels of each of `heads` heads in `rows` rows, in place; row r stands at position
  /// `position + r`.
  void rotate(float* data, int64_t rows, int64_t row_stride, int64_t heads, int64_t head_dim, int64_t position) const;

 private:
  int64_t first_, half_;
  bool interleaved_;
  std::vector<float> cosines_, sines_;  // [positions, half]
};

}  // namespace spikescope
