// What a Replace or Split looks for, and how a Split cuts text at it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <variant>

#include "io/json.h"
#include "text/regex.h"

namespace spikescope {

/// A literal string or a regular expression.
class Pattern {
 public:
  explicit Pattern(std::string literal) : value_(std::move(literal)) {}
  explicit Pattern(Regex regex) : value_(std::move(regex)) {}
  /// From {"String": "..."} or {"Regex": "..."}. Throws Error, naming `where`, for anything else and for an empty
  /// literal.
  static Pattern from_json(const Json& json, const std::string& where);

  using Visitor = std::function<void(std::string_view part, bool is_match)>;
  /// Calls `visit` for the matches and for the text between them, in order; parts of no length between matches are left
  /// out, matches of no length are not.
  void for_each_part(std::string_view text, const Visitor& visit) const;
  /// `text` with every match replaced. A result of more than `most` bytes is not made to its end.
  std::string replace(std::string_view text, std::string_view replacement, size_t most = std::string::npos) const;

 private:
  std::variant<std::string, Regex> value_;
};

/// What becomes of the delimiters when text is cut at them.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
/// From "Removed", "Isolated", ...; throws Error, naming `where`.
SplitBehavior split_behavior_from_json(const Json& json, const std::string& where);

/// Joins matches and the text between them into pieces, as the behavior wants it. Parts must come in order and touch.
class PieceJoiner {
 public:
  using Sink = std::function<void(std::string_view piece)>;
  PieceJoiner(SplitBehavior behavior, Sink sink) : behavior_(behavior), sink_(std::move(sink)) {}
  void add(std::string_view part, bool is_match);
  /// Hands out what is held back. Call once, after the last part.
  void finish();

 private:
  SplitBehavior behavior_;
  Sink sink_;
  std::string_view held_;
  bool holds_ = false;
  bool previous_match_ = false;
};

}  // namespace spikescope
