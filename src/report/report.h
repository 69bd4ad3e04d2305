// The report: one HTML file that opens anywhere, and the figures as files for papers.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "analyses/analysis.h"

namespace spikescope {

/// One headline result, shown as a card.
struct Finding {
  std::string label;  ///< "largest activation"
  std::string value;  ///< "23,147"
  std::string note;   ///< "token 0, dimension 507, residual states 12 to 28"; may be empty
};

struct ReportSection {
  std::string name;   ///< of the analysis, "spikes": letters, digits, '-' and '_'
  std::string title;  ///< "Massive activation spikes"
  Section content;
};

/// A licence text that has to go with the report.
struct Notice {
  std::string name, text;
};

struct ReportPage {
  std::string title;    ///< e.g. the model's name
  std::string summary;  ///< one paragraph: what was found
  std::vector<std::pair<std::string, std::string>>
      facts;  ///< model, file, sha256, prompts, BOS, dtype, machine, date, ...
  std::vector<Finding> findings;
  std::vector<Figure> lead;  ///< figures that stand before the contents: what the page says at a glance
  std::vector<ReportSection> sections;
  std::vector<Notice> notices;  ///< third parties; that of plotly.js is added where it is inlined
  /// With plotly.js inlined. Otherwise a page without JavaScript that shows the SVG files beside it.
  bool interactive = true;
};

/// All figures of the page, in its order.
std::vector<const Figure*> figures_of(const ReportPage& page);

/// Writes `folder`/index.html and `folder`/figures/ID.{svg,pdf,png,csv}. The page is one file: style, scripts,
/// plotly.js (read from `plotly_js`), figures, SVG, PDF and CSV (up to 2 MiB each) are inside, and its content security
/// policy forbids it the network. Strings may come from anyone: they are escaped, and no script but the page's own can
/// run.
///
/// For tests, the page sets on <html>: data-figures="drawn/all" and data-errors (count of script errors, console.error
/// calls and policy violations); index.html#all draws all figures at once instead of those in sight.
///
/// Throws Error when `plotly_js` cannot be read (not needed without `interactive`), and as render_files does.
void write_report(const ReportPage& page, const std::filesystem::path& folder, const std::filesystem::path& plotly_js);

}  // namespace spikescope
