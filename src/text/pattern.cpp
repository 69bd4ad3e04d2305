#include "text/pattern.h"

#include "base/fail.h"
#include "io/printable.h"

namespace spikescope {

Pattern Pattern::from_json(const Json& json, const std::string& where) {
  if (json.is_object() && json.contains("String")) {
    std::string literal = json_get<std::string>(json, "String", where);
    if (literal.empty()) fail("{}: the pattern is an empty string; it needs at least one character", where);
    return Pattern(std::move(literal));
  }
  if (json.is_object() && json.contains("Regex")) {
    return Pattern(Regex(json_get<std::string>(json, "Regex", where), where));
  }
  fail("{}: expected a pattern, {{\"String\": ...}} or {{\"Regex\": ...}}", where);
}

void Pattern::for_each_part(std::string_view text, const Visitor& visit) const {
  size_t end = 0;
  const auto matched = [&](Regex::Match match) {
    if (match.begin > end) visit(text.substr(end, match.begin - end), false);
    visit(text.substr(match.begin, match.end - match.begin), true);
    end = match.end;
  };
  if (const auto* literal = std::get_if<std::string>(&value_)) {
    for (size_t at; (at = text.find(*literal, end)) != text.npos;) matched({at, at + literal->size()});
  } else {
    Regex::Scanner scanner(std::get<Regex>(value_), text);
    for (Regex::Match match; scanner.next(match);) matched(match);
  }
  if (end < text.size()) visit(text.substr(end), false);
}

std::string Pattern::replace(std::string_view text, std::string_view replacement, size_t most) const {
  std::string result;
  result.reserve(text.size());
  for_each_part(text, [&](std::string_view part, bool is_match) {
    if (result.size() <= most) result += is_match ? replacement : part;
  });
  return result;
}

SplitBehavior split_behavior_from_json(const Json& json, const std::string& where) {
  static constexpr std::pair<std::string_view, SplitBehavior> kNames[] = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  };
  const std::string name = json_get<std::string>(json, "behavior", where);
  for (const auto& [known, behavior] : kNames) {
    if (name == known) return behavior;
  }
  fail("{}: unknown behavior \"{}\"; known are Removed, Isolated, MergedWithPrevious, MergedWithNext and Contiguous",
       where, printable(name));
}

void PieceJoiner::add(std::string_view part, bool is_match) {
  bool joins = false;
  switch (behavior_) {
    case SplitBehavior::kRemoved:
      if (!is_match && !part.empty()) sink_(part);
      return;
    case SplitBehavior::kIsolated:
      break;
    case SplitBehavior::kMergedWithPrevious:
      joins = is_match && !previous_match_;
      break;
    case SplitBehavior::kMergedWithNext:
      joins = !is_match && previous_match_;
      break;
    case SplitBehavior::kContiguous:
      joins = is_match == previous_match_;
      break;
  }
  previous_match_ = is_match;
  if (holds_ && joins) {
    held_ = {held_.data(), held_.size() + part.size()};
    return;
  }
  finish();
  held_ = part;
  holds_ = true;
}

void PieceJoiner::finish() {
  if (holds_ && !held_.empty()) sink_(held_);
  holds_ = false;
}

}  // namespace spikescope
