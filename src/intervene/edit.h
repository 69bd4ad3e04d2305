// An edit is data: which values of the pass become what. Edits are written as text ("zero:layer=12,dims=507"), placed
// on the tokens of a dump, and attached to a pass as interventions (hooks/hooks.h).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hooks/hooks.h"
#include "model/architecture.h"

namespace spikescope {

/// What becomes of a value.
enum class Change : uint8_t { zero, mean, scale, clamp, set };

/// One row of the table of changes.
struct ChangeKind {
  Change change;
  std::string_view name;     ///< "zero"
  std::string_view meaning;  ///< for --help
  bool has_value;            ///< whether Edit::value counts
  /// The new value. `value` is Edit::value, or for Change::mean the mean of the baseline.
  float (*apply)(float old, float value);
};
/// All changes, indexed by Change.
std::span<const ChangeKind> change_kinds();

/// Whose values are changed. Spike tokens are those of the baseline, window by window: at blocks.l.* the ones that the
/// spikes analysis finds in r_l, which enters the block (at resid_post those of r_(l+1)).
enum class EditTokens : uint8_t {
  spikes,
  ordinary,  ///< as many tokens of each window as it has spike tokens, drawn from those that are never spikes
  all,
  listed,  ///< Edit::positions
};

struct Edit {
  Change change = Change::zero;
  double value = 0.0;              ///< of scale (the factor), clamp (the largest |h|), set
  Point point = Point::resid_pre;  ///< one with a row a token
  int64_t first = 0, last = 0;     ///< layers of the point, both included
  EditTokens tokens = EditTokens::spikes;
  std::vector<int64_t> positions{};  ///< within a window; windows that are shorter stay as they are
  std::vector<int64_t> dims{};       ///< indices into a row of the point; empty: all
};

/// The grammar of parse_edits, a line each, for --help.
std::string edit_grammar();

/// Reads edits, separated by spaces: KIND:KEY=VALUE,... as edit_grammar() says. Throws UsageError, naming the text and
/// what is wrong with it: an unknown kind or key (with the nearest one), a missing layer or value, a layer, hook point
/// or dimension that the model does not have.
std::vector<Edit> parse_edits(std::string_view text, const Architecture& architecture);
/// The edits as parse_edits reads them.
std::string to_text(std::span<const Edit> edits);

/// A token's row in the pass.
struct EditRow {
  int64_t row = 0;      ///< among the tokens of all windows
  bool inside = false;  ///< inside the text; else it is a window's first token
};

/// An edit with its tokens found.
struct PlacedEdit {
  Edit edit;
  std::vector<std::vector<EditRow>> rows;  ///< [layers first..last], ascending
  /// Change::mean: [layers first..last][first tokens, tokens inside the text][dims, or the whole row] mean over the
  /// rows of that kind in the baseline; empty where there are none. All other changes leave it empty.
  std::vector<std::array<std::vector<float>, 2>> means{};

  bool has_rows() const;
  /// Changes the values during a pass; has to live as long as the hooks.
  void attach(Hooks& hooks) const;
};

/// Takes, during a pass, the means that an edit needs. Both have to live as long as the hooks.
class MeanCollector {
 public:
  explicit MeanCollector(PlacedEdit& edit) : edit_(edit), sums_(edit.rows.size()) {}
  void attach(Hooks& hooks);
  /// After the pass: fills in PlacedEdit::means.
  void finish();

 private:
  struct Sum {
    int64_t rows = 0;
    std::vector<double> values;
  };
  PlacedEdit& edit_;
  std::vector<std::array<Sum, 2>> sums_;  // as PlacedEdit::means
};

}  // namespace spikescope
