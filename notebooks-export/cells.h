// Sources of notebook cells: plain Python in notebooks-export/cells, in the percent format that editors and jupytext
// know.
//
//     # %% [markdown]
//     # Text, each line a comment.
//
//     # %%
//     code
//
//     # %% figure="spikes-surface-* spikes-magnitude"
//     code that draws these figures of the report
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spikescope {

struct Cell {
  enum class Kind { markdown, code };
  Kind kind = Kind::code;
  std::string source;                     ///< without the marker, the comment signs of markdown, and blank lines around
  std::vector<std::string> figures = {};  ///< globs of the ids of the figures that a code cell draws
};

/// The cells of a source; `name` names it in messages. Throws Error for text before the first marker, a marker that is
/// none of the three above, and a markdown line that is no comment.
std::vector<Cell> parse_cells(std::string_view text, std::string_view name);

/// A file of notebooks-export/cells as the program carries it.
struct CellSource {
  std::string_view name;  ///< "spikes" of spikes.py: an analysis, or "opening"
  std::string_view text;
};
/// All of them, by name.
std::span<const CellSource> cell_sources();
/// The cells of the source of that name; none where there is no such source.
std::vector<Cell> cells_of(std::string_view name);

}  // namespace spikescope
