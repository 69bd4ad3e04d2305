// The report's HTML.
#pragma once

#include <map>
#include <string>

#include "report/report.h"

namespace spikescope {

/// Contents of a figure's files, by which the page embeds them; empty: it links to figures/ID.ENDING instead.
struct FigureFiles {
  std::string svg, pdf, csv;
};

/// The page as text. `files` by figure id. `plotly` is the library's code; `nonce` is a word that nobody who supplied
/// texts can know, which marks the page's own scripts (both unused without page.interactive).
std::string report_html(const ReportPage& page, const std::map<std::string, FigureFiles>& files,
                        const std::string& plotly, const std::string& nonce);

}  // namespace spikescope
