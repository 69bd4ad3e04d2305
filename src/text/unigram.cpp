#include "text/unigram.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "base/utf8.h"
#include "io/printable.h"
#include "text/component.h"

namespace spikescope {
namespace {

constexpr uint32_t kUnreached = UINT32_MAX;
constexpr double kUnknownPenalty =
    10.0;  // SentencePiece's: an unknown character scores this much below the worst piece

}  // namespace

Unigram::Unigram(std::shared_ptr<const Vocabulary> vocabulary, std::vector<double> scores, UnigramOptions options,
                 const std::string& where)
    : vocabulary_(std::move(vocabulary)),
      scores_(std::move(scores)),
      options_(options),
      where_(where),
      pieces_(*vocabulary_),
      bytes_(*vocabulary_) {
  double worst = std::numeric_limits<double>::infinity();
  for (const auto& [piece, id] : vocabulary_->entries()) {
    const double score = scores_[static_cast<size_t>(id)];
    if (!std::isfinite(score)) {
      fail("{}: the score of piece {} (\"{}\") is {}, expected a finite number; correct the file or fetch it again",
           where, id, printable(piece), score);
    }
    worst = std::min(worst, score);
  }
  unknown_score_ = worst - kUnknownPenalty;
  if (options_.unk_id && !vocabulary_->piece(*options_.unk_id)) {
    fail("{}: unk_id is {}, which no piece has; correct the file or fetch it again", where, *options_.unk_id);
  }
}

// The best way to reach every boundary of characters from the word's beginning. Of equal ways the one whose last piece
// begins further left stays, as in the `tokenizers` library.
void Unigram::find_best_path(std::string_view word, std::vector<PathNode>& path) const {
  path.assign(word.size() + 1, {0.0, kUnreached, -1});
  const auto offer = [&](size_t end, double score, size_t begin, int32_t id) {
    PathNode& node = path[end];
    if (node.begin == kUnreached || score > node.score) node = {score, static_cast<uint32_t>(begin), id};
  };
  for (size_t begin = 0, length; begin < word.size(); begin += length) {
    length = utf8_length(word[begin]);
    const double score = path[begin].score;
    bool has_character = false;
    uint32_t node = PrefixTrie::kRoot;
    for (size_t end = begin; end < word.size();) {
      node = pieces_.step(node, word[end++]);
      if (node == PrefixTrie::kNone) break;
      const int32_t id = pieces_.value(node);
      if (id < 0) continue;
      offer(end, score + scores_[static_cast<size_t>(id)], begin, id);
      has_character = has_character || end == begin + length;
    }
    if (has_character) continue;
    if (!options_.unk_id) {
      fail("{}: the text has \"{}\", which no piece has, and the tokenizer has no unk_id for it; use another tokenizer",
           where_, printable(word.substr(begin, length)));
    }
    offer(begin + length, score + unknown_score_, begin, static_cast<int32_t>(*options_.unk_id));
  }
}

// A run of unknown characters may be a piece as a whole: of one that its score kept from the path.
void Unigram::append_unknown(std::string_view run, std::vector<int64_t>& ids) const {
  if (const int64_t id = vocabulary_->find(run); id >= 0) return ids.push_back(id);
  if (!options_.byte_fallback || !bytes_.covers(run)) return ids.push_back(*options_.unk_id);
  for (const char byte : run) ids.push_back(bytes_.id(byte));
}

void Unigram::cut(std::string_view word, Workspace& workspace, std::vector<int64_t>& ids) const {
  std::vector<PathNode>& path = workspace.path;
  find_best_path(word, path);
  std::vector<uint32_t>& ends = workspace.ends;
  ends.clear();
  for (auto end = static_cast<uint32_t>(word.size()); end > 0; end = path[end].begin) ends.push_back(end);
  size_t known = 0;  // what lies before it has its ids
  for (auto end = ends.rbegin(); end != ends.rend(); ++end) {
    const PathNode& node = path[*end];
    if (node.id == options_.unk_id) continue;
    if (known < node.begin) append_unknown(word.substr(known, node.begin - known), ids);
    ids.push_back(node.id);
    known = *end;
  }
  if (known < word.size()) append_unknown(word.substr(known), ids);
}

void Unigram::encode(std::string_view word, Workspace& workspace, std::vector<int64_t>& ids) const {
  workspace.cache.encode(word, ids, [&] { cut(word, workspace, ids); });
}

std::string Unigram::description() const { return fmt::format("Unigram, {} pieces", vocabulary_->entries().size()); }

std::shared_ptr<const Vocabulary> unigram_vocabulary_from_json(const Json& json, const std::string& where) {
  const Json& list = json_array(json, "vocab", where);
  auto vocabulary = std::make_shared<Vocabulary>(list.size(), where + ".vocab");
  for (size_t id = 0; id < list.size(); ++id) {
    const Json& entry = list[id];
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      fail("{}.vocab[{}]: expected [\"piece\", score]; correct the file or fetch it again", where, id);
    }
    vocabulary->add(entry[0].get<std::string>(), static_cast<int64_t>(id));
  }
  return vocabulary;
}

std::unique_ptr<const Model> unigram_from_json(const Json& json, std::shared_ptr<const Vocabulary> vocabulary,
                                               const std::string& where) {
  UnigramOptions options;
  if (json_optional(json, "unk_id")) options.unk_id = json_get<int64_t>(json, "unk_id", where);
  options.byte_fallback = json_get_or<bool>(json, "byte_fallback", false, where);
  std::vector<double> scores;
  for (const Json& entry : json_array(json, "vocab", where)) scores.push_back(entry[1].get<double>());
  return std::make_unique<Unigram>(std::move(vocabulary), std::move(scores), options, where);
}

}  // namespace spikescope
