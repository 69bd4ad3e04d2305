#include "text/spm_merges.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/fail.h"
#include "base/utf8.h"

namespace spikescope {

std::vector<MergeRule> rules_of_scores(const Vocabulary& vocabulary, const std::vector<double>& scores,
                                       const std::vector<bool>& joins, const std::string& where) {
  for (size_t id = 0; id < scores.size(); ++id) {
    if (std::isnan(scores[id])) fail("{}: the score of piece {} is not a number; fetch the file again", where, id);
  }
  vocabulary.check_lengths();  // looking up all cuts takes the square of them
  std::vector<double> ranks(scores);
  std::sort(ranks.begin(), ranks.end(), std::greater<>());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  std::vector<MergeRule> rules;
  for (const auto& [piece, id] : vocabulary.entries()) {
    const auto index = static_cast<size_t>(id);
    if (!joins[index] || piece.empty()) continue;
    const auto rank = std::lower_bound(ranks.begin(), ranks.end(), scores[index], std::greater<>()) - ranks.begin();
    const std::string_view text = piece;
    for (size_t cut = utf8_length(text[0]); cut < text.size(); cut += utf8_length(text[cut])) {
      const int64_t left = vocabulary.find(text.substr(0, cut)), right = vocabulary.find(text.substr(cut));
      if (left < 0 || right < 0) continue;
      rules.push_back({static_cast<int32_t>(left), static_cast<int32_t>(right), static_cast<uint32_t>(rank),
                       static_cast<int32_t>(id)});
    }
  }
  return rules;
}

}  // namespace spikescope
