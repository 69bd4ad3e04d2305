// Random samples that are the same on every machine.
#pragma once

#include <cstdint>
#include <vector>

namespace spikescope {

/// `count` of the numbers 0 .. size - 1 (all where there are no more), drawn without replacement, ascending. The same
/// seed and stream draw the same numbers with every standard library.
std::vector<int64_t> sample_without_replacement(int64_t size, int64_t count, uint64_t seed, uint32_t stream);

}  // namespace spikescope
