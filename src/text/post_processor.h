// What a tokenizer puts around the ids of a text: BOS, EOS, [CLS], [SEP].
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "io/json.h"

namespace spikescope {

struct SpecialTokens {
  std::vector<int64_t> before, after;
  bool empty() const { return before.empty() && after.empty(); }
};

/// From tokenizer.json's "post_processor" (null: nothing is added). `known` says whether an id is in the vocabulary.
/// Throws Error, naming `where`, for what is not supported and for ids outside the vocabulary.
SpecialTokens special_tokens_from_json(const Json& json, const std::function<bool(int64_t)>& known,
                                       const std::string& where);

}  // namespace spikescope
