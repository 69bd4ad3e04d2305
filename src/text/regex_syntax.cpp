#include "text/regex_syntax.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <cctype>

#include "base/fail.h"
#include "io/printable.h"

namespace spikescope {
namespace {

// Escapes that mean another set of characters in PCRE2, by what replaces them outside and inside a [class]. An empty
// string: cannot be written there.
struct Escape {
  char letter;
  std::string_view outside, inside;
};
constexpr Escape kEscapes[] = {
    {'s', R"(\p{White_Space})", R"(\p{White_Space})"},
    {'S', R"(\P{White_Space})", R"(\P{White_Space})"},
    // Outside a class, \w has Latin-1's superscripts and fractions too.
    {'w', R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\xB2\xB3\xB9\xBC-\xBE])", R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})"},
    {'W', R"([^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\xB2\xB3\xB9\xBC-\xBE])", ""},
    {'h', "[0-9A-Fa-f]", "0-9A-Fa-f"},
    {'H', "[^0-9A-Fa-f]", ""},
    {'v', R"(\x0B)", R"(\x0B)"},
    {'Q', "Q", "Q"},
    {'E', "E", "E"},
};

// [:name:] inside a class, by what it means in Oniguruma.
constexpr std::pair<std::string_view, std::string_view> kPosixClasses[] = {
    {"[:alpha:]", R"(\p{Alphabetic})"}, {"[:alnum:]", R"(\p{Alphabetic}\p{Nd})"}, {"[:digit:]", R"(\p{Nd})"},
    {"[:lower:]", R"(\p{Lowercase})"},  {"[:upper:]", R"(\p{Uppercase})"},        {"[:space:]", R"(\p{White_Space})"},
};

class Rewriter {
 public:
  Rewriter(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string rewrite() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_member(c);
      } else if (c == '[') {
        open_class();
      } else if (c == '{') {
        interval();
      } else if (c == '(') {
        group();
      } else {
        copy(1);
      }
    }
    return std::move(result_);
  }

 private:
  bool ahead(std::string_view text, size_t skip = 0) const {
    return pattern_.size() > at_ + skip && pattern_.substr(at_ + skip).starts_with(text);
  }
  void copy(size_t count) {
    result_ += pattern_.substr(at_, count);
    at_ += count;
  }
  [[noreturn]] void refuse(std::string_view what) const {
    fail("{}: the regular expression \"{}\" has {} at byte {}, which is not supported", where_,
         printable(pattern_, 200), what, at_);
  }

  void escape() {
    if (ahead("u", 1)) {
      const std::string_view digits = pattern_.substr(std::min(at_ + 2, pattern_.size()), 4);
      if (digits.size() != 4 ||
          !std::all_of(digits.begin(), digits.end(), [](unsigned char d) { return std::isxdigit(d); })) {
        refuse("\\u without four hexadecimal digits");
      }
      result_ += fmt::format("\\x{{{}}}", digits);
      at_ += 6;
      return;
    }
    for (const Escape& row : kEscapes) {
      if (!ahead(std::string_view(&row.letter, 1), 1)) continue;
      if (in_class_ && row.inside.empty()) refuse(fmt::format("\\{} inside a class", row.letter));
      result_ += in_class_ ? row.inside : row.outside;
      at_ += 2;
      return;
    }
    if (ahead("p{", 1) || ahead("P{", 1)) return property();
    // \x{...} must not be taken for a repetition.
    const size_t end = ahead("x{", 1) ? pattern_.find('}', at_) : pattern_.npos;
    copy(end == pattern_.npos ? std::min<size_t>(2, pattern_.size() - at_) : end + 1 - at_);
  }

  // \p{Han}: PCRE2 takes a script's name alone for its script extensions, which is a larger set.
  void property() {
    const size_t end = pattern_.find('}', at_);
    if (end == pattern_.npos) refuse("\\p{ without }");
    const size_t name_at = at_ + (ahead("^", 3) ? 4 : 3);
    const std::string name(pattern_.substr(name_at, end - name_at));
    const bool is_script = name.size() > 2 && u_getPropertyValueEnum(UCHAR_SCRIPT, name.c_str()) != UCHAR_INVALID_CODE;
    result_ += fmt::format("{}{}{}}}", pattern_.substr(at_, name_at - at_), is_script ? "sc:" : "", name);
    at_ = end + 1;
  }

  void open_class() {
    in_class_ = true;
    copy(1);
    if (ahead("^")) copy(1);
    if (ahead("]")) copy(1);  // a bracket in first place is a member
  }

  void skip_inner(int change) {
    inner_classes_ += change;
    at_ += 1;
    // Without its bracket, what stands beside it would become a range.
    if (ahead("-") || result_.ends_with('-')) refuse("a range beside a class inside a class");
  }

  void class_member(char c) {
    if (c == ']') {
      // Of classes inside, the brackets are left out: their members are the outer one's.
      if (inner_classes_ > 0) return skip_inner(-1);
      in_class_ = false;
    } else if (ahead("&&")) {
      refuse("the set operation &&");
    } else if (ahead("[:")) {
      for (const auto& [name, meaning] : kPosixClasses) {
        if (!ahead(name)) continue;
        result_ += meaning;
        at_ += name.size();
        return;
      }
      refuse("an unknown [:class:]");
    } else if (c == '[') {
      if (ahead("^", 1) || ahead("]", 1)) refuse("a negated or empty class inside a class");
      return skip_inner(1);
    }
    copy(1);
  }

  void group() {
    if (ahead("(*")) refuse("a PCRE verb");
    if (ahead("(?")) {
      const size_t end = pattern_.find_first_not_of("imx-", at_ + 2);
      const std::string_view flags = pattern_.substr(at_ + 2, end == pattern_.npos ? pattern_.npos : end - at_ - 2);
      if (flags.find('m') != flags.npos) refuse("the inline option m");
    }
    copy(1);
  }

  // {n,m}: Oniguruma takes {,n} for {0,n}, and a + behind it repeats the whole.
  void interval() {
    const size_t end = pattern_.find('}', at_);
    const std::string_view body = end == pattern_.npos ? "" : pattern_.substr(at_ + 1, end - at_ - 1);
    if (body.empty() || body.find_first_not_of("0123456789,") != body.npos || body.size() > 11) return copy(1);
    const size_t comma = body.find(',');
    const std::string low(body.substr(0, comma));
    const std::string high(comma == body.npos ? body : body.substr(comma + 1));
    if (low.empty() && high.empty()) return copy(1);
    const std::string first = low.empty() ? "0" : low;
    at_ = end;
    if (ahead("}+")) {
      // Repeats of n to m are all counts from n on, when the ranges meet.
      const auto number = [](const std::string& digits) { return digits.empty() ? -1 : std::stol(digits); };
      const bool gapless = high.empty() || (number(first) > 0 && number(high) >= 2 * number(first) - 1);
      if (!gapless) refuse("a repetition of a repetition");
      result_ += fmt::format("{{{},}}", first);
      at_ += 2;
      return;
    }
    result_ += comma == body.npos ? fmt::format("{{{}}}", first) : fmt::format("{{{},{}}}", first, high);
    at_ += 1;
  }

  std::string_view pattern_;
  const std::string& where_;
  size_t at_ = 0;
  bool in_class_ = false;
  int inner_classes_ = 0;
  std::string result_;
};

}  // namespace

std::string to_pcre2_syntax(std::string_view pattern, const std::string& where) {
  return Rewriter(pattern, where).rewrite();
}

}  // namespace spikescope
