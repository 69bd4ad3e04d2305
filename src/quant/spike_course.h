// Where spikes that a block's last MLP matrix writes are born, which blocks cancel them and how far they live: found
// from what a pass shows of each token, with no knowledge of the model.
#pragma once

#include <cstdint>
#include <vector>

namespace spikescope {

/// The value of a row with the largest magnitude.
struct Peak {
  float value = 0.0f;
  int32_t dim = 0;
};

/// What a pass shows, a block each [layers][tokens].
struct PassPeaks {
  std::vector<std::vector<float>> down;   ///< largest |x| of what the MLP's last matrix reads; empty: has none
  std::vector<std::vector<Peak>> update;  ///< of what the MLP adds to the residual stream
  std::vector<std::vector<Peak>> state;   ///< of the residual stream after the block
};

/// A token's spike is born where down_in exceeds the median over tokens by this factor (`eta`, the default) ...
inline constexpr double kBirthFactor = 64.0;
/// ... and no token is near the threshold: the least one above is so many times the largest one below, at least, ...
inline constexpr double kLeastGap = 2.0;
/// ... no more than this share of the tokens is above, ...
inline constexpr double kMostSpikes = 0.1;
/// ... and the MLP has written that share of the largest value that such tokens have after the block.
inline constexpr double kWrittenByMlp = 0.5;
/// An MLP cancels (or adds to) a spike where it changes its height at birth by this share.
inline constexpr double kCancelled = 0.05;
/// A spike is gone where less than this share of its height is left.
inline constexpr double kLeft = 0.1;

/// What a block shows of a birth, or of there being none.
struct BirthEvidence {
  double median = 0.0;         ///< over tokens, of the largest |down_in|; NaN: the block has no down_in
  double largest = 0.0;        ///< over tokens
  int64_t above = 0;           ///< tokens above eta x median whose spike is not born already
  double least_above = 0.0;    ///< of these; NaN: none
  double largest_below = 0.0;  ///< of the others but those born already; NaN: none
  bool born = false;           ///< whether the rule finds a birth here
};

/// Spikes that are born in one block.
struct SpikeCourse {
  int birth = 0;
  double threshold = 0.0;       ///< theta: on the largest |down_in| of block `birth`
  std::vector<int64_t> tokens;  ///< S, ascending
  std::vector<int64_t> dims;    ///< spike dimensions, the most frequent first
  double height = 0.0;          ///< mean |h| of the spikes after `birth`
  std::vector<int> cancelling;  ///< blocks after `birth` whose MLP changes the spikes
  int last = 0;                 ///< block that leaves them gone; the last one where they reach the end
  bool reaches_end = false;
};

struct SpikeCourses {
  std::vector<BirthEvidence> blocks;  ///< [layers]
  std::vector<SpikeCourse> courses;   ///< by birth
};

/// Goes through the blocks: tokens with the largest |down_in| above eta x median are born there where all conditions
/// above hold; tokens whose spike lives are left out of further births. Medians are lower medians over all tokens.
SpikeCourses find_spike_courses(const PassPeaks& peaks, double eta = kBirthFactor);

}  // namespace spikescope
