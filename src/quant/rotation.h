// Orthogonal matrices that spread a few large values over many: what QuaRot (arXiv 2404.00456) turns activations by
// before they are rounded.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor_view.h"
#include "model/product.h"

namespace spikescope {

enum class RotationKind : uint8_t {
  none,
  hadamard,  ///< R (x) H: a Hadamard matrix of the largest power of two, a random orthogonal one of what is left
  random,    ///< random orthogonal (Haar measure); size^2 multiplications a row
};
/// One row of the table of kinds.
struct RotationName {
  RotationKind kind;
  std::string_view name;     ///< "hadamard"
  std::string_view meaning;  ///< for --help
};
/// All kinds, indexed by RotationKind.
std::span<const RotationName> rotation_names();
/// Throws Error, naming `what`, where there is none of that name.
RotationKind find_rotation(std::string_view name, const std::string& what);

/// A rotation Q = (R (x) H) diag(s) of vectors of `size` values. H: Hadamard of order `block`, a power of two, over
/// sqrt(block); R: random orthogonal of order size / block; s: random signs. The same seed gives the same matrix.
class Rotation {
 public:
  /// Throws UsageError for sizes whose random part would be larger than kMostRandom.
  Rotation(RotationKind kind, int64_t size, uint64_t seed);

  int64_t size() const { return size_; }
  /// x := Q x for every row, in float32, on all threads.
  void apply(const TensorView& rows) const;
  /// x := Q^T x.
  void undo(const TensorView& rows) const;

  static constexpr int64_t kMostRandom = 8192;

 private:
  void mix(const float* matrix, float* row, float* scratch) const;
  void multiply(const Panels& matrix, const TensorView& rows) const;

  int64_t size_, block_;
  std::vector<float> signs_;          // [size], over sqrt(block)
  std::vector<float> forth_, back_;   // [odd, odd] R and R^T; empty: dense_ has it
  std::unique_ptr<Panels> dense_[2];  // R^T and R as right sides of products
};

}  // namespace spikescope
