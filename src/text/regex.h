// Regular expressions over UTF-8 text: PCRE2 with its compiler, behind an owner.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace spikescope {

/// A compiled expression. Classes follow Unicode; ^ and $ match at line breaks, as in Oniguruma. Usable from several
/// threads at once.
class Regex {
 public:
  /// `pattern` in Oniguruma's syntax (see to_pcre2_syntax). Throws Error, naming `where`, when it does not compile.
  Regex(std::string_view pattern, const std::string& where);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  struct Match {
    size_t begin, end;  ///< bytes
  };

  /// The matches in a text, from left to right, without overlap. An empty match right behind the one before is left
  /// out.
  class Scanner {
   public:
    /// `text` must be well-formed UTF-8 and outlive the scanner, as must `regex`.
    Scanner(const Regex& regex, std::string_view text);
    /// The next match; false when there is none. Throws Error when matching takes more steps than a sane expression
    /// needs.
    bool next(Match& match);

   private:
    const Regex& regex_;
    std::string_view text_;
    size_t from_ = 0;
    size_t last_end_ = std::string_view::npos;
  };

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace spikescope
