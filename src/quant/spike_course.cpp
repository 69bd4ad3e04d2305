#include "quant/spike_course.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "stats/quantile.h"

namespace spikescope {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// Share of the tokens whose largest value after the block is, in most part, what the MLP wrote.
double written_share(const PassPeaks& peaks, size_t layer, const std::vector<int64_t>& tokens) {
  int64_t written = 0;
  for (const int64_t token : tokens) {
    const Peak update = peaks.update[layer][static_cast<size_t>(token)];
    const Peak state = peaks.state[layer][static_cast<size_t>(token)];
    written += update.dim == state.dim && update.value / state.value >= kWrittenByMlp;
  }
  return static_cast<double>(written) / static_cast<double>(tokens.size());
}

/// Mean over the course's tokens of what `peaks` has in the dimension of each one's spike, times the spike's sign; 0
/// where the largest value lies in another dimension.
double along_spike(const std::vector<Peak>& peaks, const std::vector<Peak>& born, const std::vector<int64_t>& tokens) {
  double sum = 0.0;
  for (const int64_t token : tokens) {
    const Peak at_birth = born[static_cast<size_t>(token)], here = peaks[static_cast<size_t>(token)];
    if (here.dim == at_birth.dim) sum += at_birth.value < 0.0f ? -here.value : here.value;
  }
  return sum / static_cast<double>(tokens.size());
}

std::vector<int64_t> dims_of(const std::vector<Peak>& born, const std::vector<int64_t>& tokens) {
  std::map<int64_t, int64_t> counts;
  for (const int64_t token : tokens) ++counts[born[static_cast<size_t>(token)].dim];
  std::vector<int64_t> dims;
  for (const auto& [dim, count] : counts) dims.push_back(dim);
  std::stable_sort(dims.begin(), dims.end(), [&](int64_t a, int64_t b) { return counts.at(a) > counts.at(b); });
  return dims;
}

SpikeCourse follow(const PassPeaks& peaks, int birth, double threshold, std::vector<int64_t> tokens) {
  const std::vector<Peak>& born = peaks.state[static_cast<size_t>(birth)];
  SpikeCourse course;
  course.birth = birth;
  course.threshold = threshold;
  course.tokens = std::move(tokens);
  course.dims = dims_of(born, course.tokens);
  course.height = along_spike(born, born, course.tokens);
  const int layers = static_cast<int>(peaks.state.size());
  course.last = layers - 1;
  course.reaches_end = true;
  for (int layer = birth + 1; layer < layers; ++layer) {
    const auto at = static_cast<size_t>(layer);
    const double change = along_spike(peaks.update[at], born, course.tokens);
    if (std::abs(change) >= kCancelled * course.height) course.cancelling.push_back(layer);
    if (along_spike(peaks.state[at], born, course.tokens) >= kLeft * course.height) continue;
    course.last = layer;
    course.reaches_end = false;
    break;
  }
  return course;
}

}  // namespace

SpikeCourses find_spike_courses(const PassPeaks& peaks, double eta) {
  SpikeCourses found;
  const size_t layers = peaks.state.size(), tokens = layers > 0 ? peaks.state[0].size() : 0;
  std::vector<int> lives_until(tokens, -1);
  for (size_t layer = 0; layer < layers; ++layer) {
    const std::vector<float>& down = peaks.down[layer];
    BirthEvidence evidence{kNone, kNone, 0, kNone, kNone, false};
    std::vector<int64_t> above;
    if (!down.empty()) {
      evidence.median = lower_median({down.begin(), down.end()});
      evidence.largest = *std::max_element(down.begin(), down.end());
    }
    const double threshold = eta * evidence.median;
    for (size_t token = 0; token < down.size(); ++token) {
      if (lives_until[token] >= static_cast<int>(layer)) continue;
      if (down[token] > threshold) {
        above.push_back(static_cast<int64_t>(token));
        evidence.least_above = std::fmin(evidence.least_above, down[token]);
      } else {
        evidence.largest_below = std::fmax(evidence.largest_below, down[token]);
      }
    }
    evidence.above = static_cast<int64_t>(above.size());
    evidence.born = !above.empty() && threshold > 0.0 &&
                    static_cast<double>(above.size()) <= kMostSpikes * static_cast<double>(tokens) &&
                    !(evidence.least_above < kLeastGap * evidence.largest_below) &&
                    written_share(peaks, layer, above) > 0.5;
    found.blocks.push_back(evidence);
    if (!evidence.born) continue;
    found.courses.push_back(follow(peaks, static_cast<int>(layer), threshold, std::move(above)));
    for (const int64_t token : found.courses.back().tokens)
      lives_until[static_cast<size_t>(token)] = found.courses.back().last;
  }
  return found;
}

}  // namespace spikescope
