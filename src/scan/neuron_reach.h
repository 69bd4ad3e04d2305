// How far a neuron of an MLP can go on any input that its norm lets through, from the weights alone.
#pragma once

#include <cstdint>
#include <vector>

#include "model/weights.h"

namespace spikescope {

/// The rows of an MLP's first matrices, with what the norm in front of them does.
struct MlpInput {
  std::vector<float> gate, up;            ///< [width, d]; `gate` is empty where the MLP has none
  std::vector<float> gate_bias, up_bias;  ///< [width], or empty
  std::vector<float> gain, shift;         ///< [d] of the norm; an empty gain: 1, an empty shift: 0
  bool centered = false;                  ///< a layer norm: the input's values, before gain and shift, have the mean 0
  Activator activation = Activator::silu;
  int64_t d = 0;
};

/// Bounds of a neuron's activation (the input of W_down): -down <= activation <= up, for every normed input.
struct NeuronReach {
  double up = 0.0, down = 0.0;  ///< both >= 0

  double largest() const { return up > down ? up : down; }
  /// Which way it can go further: 1 upward alone, -1 downward alone, 0 both alike.
  double lean() const { return largest() > 0.0 ? (up - down) / (up + down) : 0.0; }
};

/// [width]. A norm makes its input a vector n of length sqrt(d) at most, gate and up see g.n + g0 and u.n + u0 (gain,
/// shift and bias folded in). Over all such n the product has the extremes ((g.u) +- |g||u|) d / 2; with the constants,
///   up   <= (|g||u| + g.u) d / 2 + sqrt(d) |g0 u + u0 g| + g0 u0,
/// `down` with -u in place of u; a gate below zero lets no more through than its activation's dip. Reached, but for
/// what the activation keeps back, by n along g/|g| + u/|u| (`up`), g/|g| - u/|u| (`down`). Without a gate: the largest
/// u.n + u0, and the dip.
std::vector<NeuronReach> neuron_reaches(const MlpInput& input);

}  // namespace spikescope
