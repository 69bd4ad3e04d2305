#include "report/reproduction.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/version.h"
#include "hooks/hook_point.h"

namespace spikescope {
namespace {

using Holds = Verdict::Holds;
constexpr Holds kAllHolds[] = {Holds::confirmed, Holds::partly, Holds::no, Holds::not_applicable};

/// Figures and tables of all results by id.
struct Shown {
  std::map<std::string_view, const Figure*> figures;
  std::map<std::string_view, const Table*> tables;

  explicit Shown(std::span<const AnalysisResult> results) {
    for (const AnalysisResult& result : results) {
      for (const Figure& figure : result.section.figures) figures.emplace(figure.id, &figure);
      for (const Table& table : result.section.tables) tables.emplace(table.id, &table);
    }
  }
  /// Ids of an exhibit, in its order.
  std::vector<std::string> of(const Exhibit& exhibit) const {
    std::vector<std::string> ids;
    for (const std::string_view glob : exhibit.shows) {
      const auto add = [&](const auto& by_id) {
        for (const auto& [id, shown] : by_id)
          if (glob_matches(glob, id)) ids.emplace_back(id);
      };
      add(figures);
      add(tables);
    }
    return ids;
  }
};

size_t count(const std::vector<JudgedExhibit>& exhibits, Holds holds) {
  return static_cast<size_t>(std::count_if(
      exhibits.begin(), exhibits.end(), [&](const JudgedExhibit& exhibit) { return exhibit.verdict.holds == holds; }));
}

Verdict judge_one(const Exhibit& exhibit, const Evidence& evidence) {
  Verdict verdict;
  if (!exhibit.judge) {
    verdict.why = exhibit.why_not;
  } else {
    const auto missing = std::find_if(exhibit.needs.begin(), exhibit.needs.end(),
                                      [&](std::string_view name) { return !evidence.missing(name).empty(); });
    if (missing != exhibit.needs.end())
      verdict.why = evidence.missing(*missing);
    else
      verdict = exhibit.judge(evidence);
  }
  verdict.claim = exhibit.claim;
  return verdict;
}

Table verdicts_table(const std::vector<JudgedExhibit>& exhibits) {
  Table table{"verdicts", "What of the paper holds here", "", {"exhibit", "here", "because"}, {}};
  for (const JudgedExhibit& one : exhibits) {
    std::string here = holds_text(one.verdict.holds);
    here.resize(here.size() - std::string_view(" here").size());
    table.rows.push_back({std::string(one.exhibit->name), here, one.verdict.why});
  }
  return table;
}

}  // namespace

std::vector<JudgedExhibit> judge_paper(const Paper& paper, std::span<const AnalysisResult> results,
                                       const DumpReader& dump) {
  const Evidence evidence(results, dump);
  const Shown shown(results);
  std::vector<JudgedExhibit> judged;
  for (const Exhibit& exhibit : paper.exhibits) {
    JudgedExhibit& one = judged.emplace_back(JudgedExhibit{&exhibit, judge_one(exhibit, evidence), {}});
    if (one.verdict.holds != Holds::not_applicable) one.figures = shown.of(exhibit);
  }
  return judged;
}

ReportPage reproduction_page(const Paper& paper, const std::vector<JudgedExhibit>& exhibits,
                             std::span<const AnalysisResult> results, const std::string& model) {
  ReportPage page;
  page.title = fmt::format("{}: {}", paper.title, model);
  page.summary = fmt::format(
      "The exhibits of arXiv {} ({}) as {} shows them: {} confirmed, {} partly so, {} not so, "
      "{} not applicable.",
      paper.id, paper.authors, model, count(exhibits, Holds::confirmed), count(exhibits, Holds::partly),
      count(exhibits, Holds::no), count(exhibits, Holds::not_applicable));
  for (const Holds holds : kAllHolds) {
    std::string label = holds_text(holds);
    page.findings.push_back({label, fmt::format("{} of {}", count(exhibits, holds), exhibits.size()), ""});
  }
  page.sections.push_back({"verdicts", "Verdicts", {"", {verdicts_table(exhibits)}, {}}});
  const Shown shown(results);
  std::map<std::string, std::string_view> stands;  // a figure's or table's id, and the exhibit it stands with
  for (const JudgedExhibit& one : exhibits) {
    ReportSection section{std::string(one.exhibit->id), std::string(one.exhibit->name), {}};
    section.content.summary = verdict_text(to_json(one.verdict));
    std::set<std::string_view> elsewhere;
    for (const std::string& id : one.figures) {
      const auto [at, fresh] = stands.emplace(id, one.exhibit->name);
      if (!fresh)
        elsewhere.insert(at->second);
      else if (const auto figure = shown.figures.find(id); figure != shown.figures.end())
        section.content.figures.push_back(*figure->second);
      else
        section.content.tables.push_back(*shown.tables.at(id));
    }
    for (const std::string_view name : elsewhere)
      section.content.summary += fmt::format(" What shows it stands with \"{}\".", name);
    page.sections.push_back(std::move(section));
  }
  return page;
}

Json registry_json(const Paper& paper) {
  Json exhibits = Json::array();
  for (const Exhibit& exhibit : paper.exhibits)
    exhibits.push_back({{"id", exhibit.id},
                        {"name", exhibit.name},
                        {"claim", exhibit.claim},
                        {"figures", exhibit.shows},
                        {"needs", exhibit.needs},
                        {"why_not", exhibit.judge ? Json(nullptr) : Json(exhibit.why_not)}});
  return {{"paper", paper.id}, {"title", paper.title}, {"authors", paper.authors}, {"exhibits", std::move(exhibits)}};
}

Json reproduction_json(const Paper& paper, const std::vector<JudgedExhibit>& exhibits, const std::string& model) {
  Json rows = Json::array();
  for (const JudgedExhibit& one : exhibits) {
    Json row = {{"id", one.exhibit->id}, {"name", one.exhibit->name}, {"figures", one.figures}};
    row.update(to_json(one.verdict));
    rows.push_back(std::move(row));
  }
  return {{"format", "spikescope-reproduction"},
          {"version", version()},
          {"paper", paper.id},
          {"title", paper.title},
          {"model", model},
          {"exhibits", std::move(rows)}};
}

}  // namespace spikescope
