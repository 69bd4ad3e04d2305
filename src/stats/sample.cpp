#include "stats/sample.h"

#include <algorithm>
#include <numeric>
#include <random>

namespace spikescope {

std::vector<int64_t> sample_without_replacement(int64_t size, int64_t count, uint64_t seed, uint32_t stream) {
  std::vector<int64_t> numbers(static_cast<size_t>(size));
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  // The engine's numbers are the standard's; its distributions differ from library to library.
  std::seed_seq words{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), stream};
  std::mt19937_64 random(words);
  count = std::min(size, count);
  for (int64_t i = 0; i < count; ++i) {
    const auto other = i + static_cast<int64_t>(random() % static_cast<uint64_t>(size - i));
    std::swap(numbers[static_cast<size_t>(i)], numbers[static_cast<size_t>(other)]);
  }
  numbers.resize(static_cast<size_t>(count));
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace spikescope
