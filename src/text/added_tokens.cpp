#include "text/added_tokens.h"

#include <algorithm>

#include "base/fail.h"
#include "base/utf8.h"
#include "io/printable.h"
#include "text/characters.h"

namespace spikescope {
namespace {

constexpr size_t kLongestContent = 1024;  // bytes

size_t leading_whitespace(std::string_view text) {
  size_t end = 0;
  for (size_t offset = 0; offset < text.size();) {
    if (!is_whitespace(next_character(text, offset))) break;
    end = offset;
  }
  return end;
}

// Bytes of white space at the end of `text`.
size_t trailing_whitespace(std::string_view text) {
  size_t count = 0;
  while (count < text.size()) {
    const std::string_view rest = text.substr(0, text.size() - count);
    const char32_t last = last_character(rest);
    if (!is_whitespace(last)) break;
    count += last < 0x80 ? 1 : last < 0x800 ? 2 : 3;  // no white space lies above U+FFFF
  }
  return count;
}

bool touches_word(std::string_view before, std::string_view after) {
  size_t offset = 0;
  return (!before.empty() && is_word(last_character(before))) ||
         (!after.empty() && is_word(next_character(after, offset)));
}

}  // namespace

void check_added_token(const AddedToken& token, const std::string& where) {
  if (token.content.size() <= kLongestContent) return;
  fail("{}: the added token \"{}\" has {} bytes, expected at most {}; correct the file or fetch it again", where,
       printable(token.content), token.content.size(), kLongestContent);
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens,
                         const std::function<std::string(const std::string&)>& normalize) {
  for (AddedToken& token : tokens) {
    const auto [entry, is_new] = by_content_.try_emplace(token.content, tokens_.size());
    if (is_new) {
      tokens_.push_back(std::move(token));
    } else {
      tokens_[entry->second] = std::move(token);
    }
  }
  std::vector<std::string> raw, normalized;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    AddedToken& token = tokens_[i];
    by_id_.emplace(token.id, i);
    (token.normalized ? normalized_ : raw_).tokens.push_back(i);
    token.spelling = token.normalized ? normalize(token.content) : token.content;
    (token.normalized ? normalized : raw).push_back(token.spelling);
  }
  raw_.patterns = MultiPattern(raw);
  normalized_.patterns = MultiPattern(normalized);
}

const AddedToken* AddedTokens::find(int64_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

bool AddedTokens::is_special(std::string_view content) const {
  const AddedToken* token = find(content);
  return token && token->special;
}

void AddedTokens::split(const Group& group, std::string_view text, const Visitor& visit) const {
  size_t done = 0;
  const auto plain_until = [&](size_t end) {
    if (end > done) visit({nullptr, text.substr(done, end - done)});
  };
  for (const MultiPattern::Match& match : group.patterns.find_all(text)) {
    const AddedToken& token = tokens_[group.tokens[match.pattern]];
    if (token.single_word && touches_word(text.substr(0, match.begin), text.substr(match.end))) continue;
    // White space that a token before took along is not looked at again.
    const std::string_view before = text.substr(done, std::max(match.begin, done) - done);
    const size_t begin = token.lstrip ? done + before.size() - trailing_whitespace(before) : match.begin;
    const size_t behind = std::max(match.end, done);
    const size_t end = token.rstrip ? behind + leading_whitespace(text.substr(behind)) : match.end;
    plain_until(begin);
    // A token of white space counts even where the token before it took that white space along, unless it wants that
    // too.
    if (begin < end) visit({&token, {}});
    done = end;
  }
  plain_until(text.size());
}

}  // namespace spikescope
