// The merges that SentencePiece's scores stand for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/merge_table.h"
#include "text/vocabulary.h"

namespace spikescope {

/// SentencePiece joins the two neighbours whose union is the piece with the highest score, the leftmost of equal ones.
/// So every way to cut a piece into two others is a merge, ranked by the piece's score. `scores` has one number per id;
/// ids with `joins[id]` false (control tokens, bytes) are made by no merge. Throws Error, naming `where`, for a score
/// that is no number and for pieces longer than any SentencePiece model has.
std::vector<MergeRule> rules_of_scores(const Vocabulary& vocabulary, const std::vector<double>& scores,
                                       const std::vector<bool>& joins, const std::string& where);

}  // namespace spikescope
