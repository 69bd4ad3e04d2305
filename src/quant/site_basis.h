// The basis in which a site's values are rounded: as they are, turned by a rotation, or balanced and turned.
#pragma once

#include <vector>

#include "base/tensor_view.h"
#include "quant/balance.h"
#include "quant/rotation.h"

namespace spikescope {

/// x' = Q F (x - m): Q of a Rotation, F and m of a ChannelBalance, any of which may be missing. A matrix that reads x'
/// in the place of x has rows w' = Q F^-1 w, so that w' . x' = w . (x - m). All in place, in float32, on all threads.
class SiteBasis {
 public:
  SiteBasis() = default;
  /// Both may be null, and have to live as long as this.
  SiteBasis(const Rotation* rotation, const ChannelBalance* balance)
      : rotation_(rotation), balance_(balance && !balance->empty() ? balance : nullptr) {}

  /// Whether it is another one than that of the values as they are.
  bool changes() const { return rotation_ || balance_; }

  /// Rows of values: to the basis, and from it.
  void to(const TensorView& rows) const;
  void from(const TensorView& rows) const;
  /// Rows of values without taking the means off: what the rows of weights_to() are multiplied with where nothing else
  /// makes up for the means.
  void to_with_means(const TensorView& rows) const;
  /// Rows of a matrix that reads the site, and back.
  void weights_to(const TensorView& rows) const;
  void weights_from(const TensorView& rows) const;

 private:
  const Rotation* rotation_ = nullptr;
  const ChannelBalance* balance_ = nullptr;
};

}  // namespace spikescope
