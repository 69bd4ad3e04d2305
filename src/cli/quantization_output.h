// Where a table of quantizations goes: the terminal, files, the page.
#pragma once

#include <span>

#include "cli/command.h"
#include "quant/quantization_rows.h"

namespace spikescope {

/// What --out names: one file, the folder of a run, or nothing.
struct TableOutput {
  std::filesystem::path given;

  /// ".json", ".csv" or ".md" of a file; else empty.
  std::string extension() const;
  bool is_folder() const { return !given.empty() && extension().empty(); }
  /// Throws UsageError for what cannot be written: a table where nothing is measured (`any_rows` false), or a folder
  /// where a file is.
  void check(bool any_rows) const;
  /// The results of a folder.
  std::filesystem::path results() const { return given / "results" / "quantize.json"; }
};

/// Writes it: `json` is the document (docs/results.md, quantize.json) of `rows`. Returns the page of a folder.
std::filesystem::path write_table(const TableOutput& out, const Json& json, std::span<const MeasuredRow> rows,
                                  const Session& session);

/// On standard output: names of columns; a row; what --save has left (`saved` of the document).
void print_row_heading(bool with_answers);
void print_row(const Json& row);
void print_saved_model(const Json& saved);

}  // namespace spikescope
