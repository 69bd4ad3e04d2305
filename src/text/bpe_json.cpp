#include "base/fail.h"
#include "io/printable.h"
#include "text/bpe.h"
#include "text/component.h"

namespace spikescope {
namespace {

std::vector<MergePair> pairs_from_json(const Json& list, const std::string& where) {
  std::vector<MergePair> pairs;
  pairs.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& merge = list[i];
    if (merge.is_string()) {
      const auto& text = merge.get_ref<const std::string&>();
      if (text.starts_with("#version")) continue;  // the first line of the merges.txt that some files were made from
      pairs.push_back(split_merge(text, i, where));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      pairs.push_back({merge[0].get<std::string>(), merge[1].get<std::string>()});
    } else {
      fail("{}: merge {} should be \"left right\" or [\"left\", \"right\"]; correct the file or fetch it again", where,
           i);
    }
  }
  return pairs;
}

}  // namespace

MergePair split_merge(std::string_view merge, size_t index, const std::string& where) {
  const size_t space = merge.find(' ');
  if (space == merge.npos || merge.find(' ', space + 1) != merge.npos) {
    fail("{}: merge {} is \"{}\", expected two pieces with one space between them; correct the file or fetch it again",
         where, index, printable(merge));
  }
  return {std::string(merge.substr(0, space)), std::string(merge.substr(space + 1))};
}

std::vector<MergeRule> rules_of_merges(const std::vector<MergePair>& merges, const Vocabulary& vocabulary,
                                       size_t prefix, const std::string& where) {
  std::vector<MergeRule> rules;
  rules.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string &left = merges[i].left, &right = merges[i].right;
    const auto id_of = [&](const std::string& piece) {
      const int64_t id = vocabulary.find(piece);
      if (id < 0) {
        fail(
            "{}: merge {} (\"{}\" and \"{}\") needs the piece \"{}\", which is not in the vocabulary; correct the file "
            "or fetch it again",
            where, i, printable(left), printable(right), printable(piece));
      }
      return static_cast<int32_t>(id);
    };
    const int32_t left_id = id_of(left), right_id = id_of(right);
    const int32_t result = id_of(left + right.substr(std::min(prefix, right.size())));
    rules.push_back({left_id, right_id, static_cast<uint32_t>(i), result});
  }
  return rules;
}

std::unique_ptr<const Model> bpe_from_json(const Json& json, std::shared_ptr<const Vocabulary> vocabulary,
                                           bool spell_bytes, const std::string& where) {
  BpeOptions options;
  if (json_get_or<double>(json, "dropout", 0.0, where) != 0.0) {
    fail("{}: dropout is set, which makes ids random and is not supported; set it to null", where);
  }
  if (json_optional(json, "unk_token")) options.unk_token = json_get<std::string>(json, "unk_token", where);
  options.fuse_unk = json_get_or<bool>(json, "fuse_unk", false, where);
  options.byte_fallback = json_get_or<bool>(json, "byte_fallback", false, where);
  options.ignore_merges = json_get_or<bool>(json, "ignore_merges", false, where);
  options.continuing_subword_prefix = json_get_or<std::string>(json, "continuing_subword_prefix", "", where);
  options.end_of_word_suffix = json_get_or<std::string>(json, "end_of_word_suffix", "", where);
  options.spell_bytes = spell_bytes;
  const std::vector<MergeRule> rules = rules_of_merges(pairs_from_json(json_array(json, "merges", where), where),
                                                       *vocabulary, options.continuing_subword_prefix.size(), where);
  return std::make_unique<Bpe>(std::move(vocabulary), rules, std::move(options), where);
}

}  // namespace spikescope
