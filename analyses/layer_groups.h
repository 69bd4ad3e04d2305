// The layers of an analysis' results by plateau, for its words and figures.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "figure/figure.h"
#include "io/json.h"

namespace spikescope {

/// Layers that a plateau's spikes enter, or those between plateaus.
struct LayerGroup {
  int64_t first = 0, last = 0;  ///< rows of `layers`, both included
  bool plateau = false;
};

/// All rows of `layers` in order, by `plateaus` (each with `first` and `last`). A plateau may reach r_L, which no block
/// reads and `layers` may not have.
std::vector<LayerGroup> layer_groups(const Json& results);
/// The plateaus among them as shaded ranges of x.
std::vector<Band> plateau_bands(const Json& results);

/// Mean of what `value` gives of each row of a group; NaN is left out, and is the mean of nothing.
double group_mean(const Json& results, const LayerGroup& group, const std::function<double(const Json& layer)>& value);
/// The same of a key; null is left out.
double group_mean(const Json& results, const LayerGroup& group, const char* key);
/// "0.991 ± 0.002": the mean of a key and of its standard errors `<key>_se`. Layers are measured on the same windows, so
/// that the error of their mean is about the mean of their errors, and at most that.
std::string group_text(const Json& results, const LayerGroup& group, const std::string& key);

/// A key of `layers` as a curve over the layers, with `<key>_se` as its errors.
Series layer_series(const Json& results, const std::string& name, const std::string& key, bool dashed = false);

}  // namespace spikescope
