// Rounding values to a grid of a few bits and back: what a quantized product reads, in floating point.
#pragma once

#include <cstdint>

#include "base/tensor_view.h"

namespace spikescope {

/// Bits that a quantizer can have.
inline constexpr int kFewestBits = 2, kMostBits = 16;

/// A uniform grid: the values (q - zero) * scale for whole q in [lowest, highest].
///   symmetric:  q in [-2^(bits-1), 2^(bits-1) - 1], zero = 0: all 2^bits values, as weights have them
///   asymmetric: q in [0, 2^bits - 1], zero so that 0 is on the grid
/// A value goes to the nearest point, ties to the even q, and to the ends where it is outside.
struct Quantizer {
  float scale = 1.0f;  ///< > 0
  float zero = 0.0f;   ///< whole
  float lowest = 0.0f, highest = 0.0f;

  /// The grid of scale = clip / (2^(bits-1) - 1/2): it ends half a step behind -clip and half a step before clip, so
  /// that no value up to the clip is further from it than half a step. A clip of 0 (a site that is always 0) gives a
  /// grid that leaves 0 as it is. Throws Error for bits outside [kFewestBits, kMostBits] and a clip that is negative or
  /// not finite.
  static Quantizer symmetric(int bits, double clip);
  /// The grid that covers [low, high] and 0. Throws Error as above, and for low > high.
  static Quantizer asymmetric(int bits, double low, double high);

  float operator()(float value) const;
  /// All values in place; vectorized.
  void apply(float* values, int64_t count) const;
};

/// Every row of the view through `quantizer`, on all threads.
void quantize_rows(const TensorView& rows, const Quantizer& quantizer);
/// Every row by the grid of its own largest magnitude (asymmetric: of its own range): dynamic, per token.
void quantize_rows_dynamic(const TensorView& rows, int bits, bool asymmetric);
/// The same for every run of the last dimension: rows [heads, head_dim] by a grid a head.
void quantize_heads_dynamic(const TensorView& rows, int bits, bool asymmetric);

/// Largest |x| of a row; NaN is left out.
float largest_magnitude(const float* values, int64_t count);

}  // namespace spikescope
