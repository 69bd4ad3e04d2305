// What the papers show, exhibit by exhibit, and what shows it here: the registry behind `spikescope reproduce`.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "analyses/run.h"
#include "analyses/verdict.h"

namespace spikescope {

/// Results and dump of a run, for the functions that judge.
class Evidence {
 public:
  Evidence(std::span<const AnalysisResult> results, const DumpReader& dump) : results_(results), dump_(dump) {}
  /// Results of an analysis or experiment that the exhibit declares among its `needs`. Throws Error where missing() has
  /// something to say of it.
  const Json& operator[](std::string_view name) const;
  /// Why there are no results of that name to judge by; empty where there are.
  std::string missing(std::string_view name) const;
  const DumpReader& dump() const { return dump_; }

 private:
  std::span<const AnalysisResult> results_;
  const DumpReader& dump_;
};

/// One exhibit of a paper. Named by its number where that has been checked, else by its subject.
struct Exhibit {
  std::string_view id;     ///< "magnitudes": letters, digits and '-'
  std::string_view name;   ///< "Figure 1: magnitudes over token and dimension"
  std::string_view claim;  ///< a whole clause
  /// Ids of the figures and tables that show it, globs where they depend on the model, all of `needs`.
  std::vector<std::string_view> shows{};
  std::vector<std::string_view> needs{};  ///< analyses and experiments whose results decide
  /// The verdict, but for its claim; nullptr where the exhibit cannot be made.
  Verdict (*judge)(const Evidence& evidence) = nullptr;
  std::string_view why_not{};  ///< why it cannot be made
};

struct Paper {
  std::string_view id;  ///< on arXiv: "2402.17762"
  std::string_view title, authors;
  std::vector<Exhibit> exhibits;  ///< in the paper's order
};

std::span<const Paper> papers();
/// nullptr for another; "arXiv:" in front and a version behind ("v2") are allowed.
const Paper* find_paper(std::string_view id);
/// Names of the analyses and experiments that a paper's exhibits need.
std::vector<std::string_view> needs_of(const Paper& paper);

}  // namespace spikescope
