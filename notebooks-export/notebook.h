// A Jupyter notebook that opens a run's dump and results with h5py and draws the figures of its report again.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "analyses/run.h"
#include "io/json.h"

namespace spikescope {

/// A notebook (nbformat 4.5, without outputs) of these results: cells that open the dump, then for each analysis its
/// summary and, for each of its figures, title and caption as the report has them and the code that draws it. An
/// analysis without figures (not applicable, say) has its summary alone. `run` is the path of OUT as the notebook is to
/// open it. The same arguments make the same notebook. Throws Error for a path that is not UTF-8.
Json make_notebook(const DumpInfo& dump, std::span<const AnalysisResult> results, const std::filesystem::path& run);

/// Ids of the report's figures of these results that no cell draws. The notebook has their captions, and says where
/// their numbers are.
std::vector<std::string> undrawn_figures(std::span<const AnalysisResult> results);

/// Text of a model or a prompt as a line of markdown that shows it as it is: no markup, formula or link of its own.
std::string markdown_text(std::string_view text);

}  // namespace spikescope
