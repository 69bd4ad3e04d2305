#include "intervene/edit.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "base/fail.h"
#include "base/nearest.h"

namespace spikescope {
namespace {

// Indexed by Change.
constexpr std::array kChanges = {
    ChangeKind{Change::zero, "zero", "set to 0", false, [](float, float) { return 0.0f; }},
    ChangeKind{Change::mean, "mean",
               "set to the mean over these tokens of all windows, layer by layer; first tokens and others apart", false,
               [](float, float mean) { return mean; }},
    ChangeKind{Change::scale, "scale", "multiplied by value", true, [](float old, float value) { return old * value; }},
    ChangeKind{Change::clamp, "clamp", "cut to [-value, value]", true,
               [](float old, float value) { return std::clamp(old, -value, value); }},
    ChangeKind{Change::set, "set", "set to value", true, [](float, float value) { return value; }},
};
static_assert(kChanges.size() == static_cast<size_t>(Change::set) + 1);

constexpr std::array<std::string_view, 4> kTokenNames = {"spikes", "ordinary", "all", ""};

const ChangeKind& kind_of(const Edit& edit) { return kChanges[static_cast<size_t>(edit.change)]; }
std::string_view point_name(Point point) { return point_kinds()[static_cast<size_t>(point)].name; }
bool has_row_a_token(const PointKind& kind) {
  return kind.per_block && kind.shape != PointShape::square && kind.point != Point::router_indices;
}

/// Reads one edit; its messages begin with the text.
class EditParser {
 public:
  EditParser(std::string_view text, const Architecture& architecture) : text_(text), architecture_(architecture) {}

  Edit parse() {
    const size_t colon = text_.find(':');
    edit_.change = kChanges[choose(text_.substr(0, colon), "intervention", names_of_changes())].change;
    std::string_view rest = colon == std::string_view::npos ? "" : text_.substr(colon + 1);
    while (!rest.empty()) {
      const size_t comma = rest.find(',');
      read_key(rest.substr(0, comma));
      rest = comma == std::string_view::npos ? "" : rest.substr(comma + 1);
    }
    check();
    return std::move(edit_);
  }

 private:
  template <class... Args>
  [[noreturn]] void fail_here(fmt::format_string<Args...> format, Args&&... args) const {
    fail_usage("'{}': {}", text_, fmt::format(format, std::forward<Args>(args)...));
  }

  static std::vector<std::string> names_of_changes() {
    std::vector<std::string> names;
    for (const ChangeKind& kind : kChanges) names.emplace_back(kind.name);
    return names;
  }

  /// Index of `name` among `names`.
  size_t choose(std::string_view name, const char* what, const std::vector<std::string>& names) const {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found != names.end()) return static_cast<size_t>(found - names.begin());
    const std::string nearest = nearest_name(name, names);
    fail_here("there is no {} '{}'; {}", what, name,
              nearest.empty() ? fmt::format("there are: {}", fmt::join(names, ", "))
                              : fmt::format("did you mean '{}'?", nearest));
  }

  void read_key(std::string_view pair) {
    static const std::vector<std::string> keys = {"layer", "dims", "tokens", "point", "value"};
    const size_t equals = pair.find('=');
    const std::string_view value = equals == std::string_view::npos ? "" : pair.substr(equals + 1);
    switch (choose(pair.substr(0, equals), "key", keys)) {
      case 0:
        return read_layers(value);
      case 1:
        has_dims_ = true;
        if (value != "all") edit_.dims = read_list(value, "dims");
        return;
      case 2:
        return read_tokens(value);
      case 3:
        return read_point(value);
      default:
        value_ = read_number<double>(value, "value");
    }
  }

  template <class T>
  T read_number(std::string_view text, const char* key) const {
    T number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    bool good = error == std::errc() && end == text.data() + text.size() && !text.empty();
    if constexpr (std::is_floating_point_v<T>)
      good = good && std::abs(number) <= std::numeric_limits<float>::max();
    else
      good = good && number >= 0;
    if (!good) fail_here("{}={} is no {}", key, text, std::is_floating_point_v<T> ? "number" : "number from 0 on");
    return number;
  }

  std::vector<int64_t> read_list(std::string_view text, const char* key) const {
    std::vector<int64_t> numbers;
    while (true) {
      const size_t plus = text.find('+');
      numbers.push_back(read_number<int64_t>(text.substr(0, plus), key));
      if (plus == std::string_view::npos) break;
      text.remove_prefix(plus + 1);
    }
    std::sort(numbers.begin(), numbers.end());
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    return numbers;
  }

  void read_layers(std::string_view value) {
    const size_t dash = value.find('-');
    edit_.first = edit_.last = read_number<int64_t>(value.substr(0, dash), "layer");
    if (dash != std::string_view::npos) edit_.last = read_number<int64_t>(value.substr(dash + 1), "layer");
    has_layers_ = true;
  }

  void read_tokens(std::string_view value) {
    for (const EditTokens tokens : {EditTokens::spikes, EditTokens::ordinary, EditTokens::all})
      if (value == kTokenNames[static_cast<size_t>(tokens)]) {
        edit_.tokens = tokens;
        return;
      }
    if (value.empty() || value[0] < '0' || value[0] > '9')
      fail_here("tokens={} is not spikes, ordinary, all, or positions such as 0+50", value);
    edit_.tokens = EditTokens::listed;
    edit_.positions = read_list(value, "tokens");
  }

  void read_point(std::string_view value) {
    std::vector<std::string> names;
    std::vector<Point> points;
    for (const PointKind& kind : point_kinds()) {
      if (!has_row_a_token(kind)) continue;
      names.emplace_back(kind.name);
      points.push_back(kind.point);
    }
    edit_.point = points[choose(value, "point", names)];
  }

  void check() {
    const ChangeKind& kind = kind_of(edit_);
    if (!has_layers_) fail_here("it needs a layer, such as layer=12 or layer=3-9");
    if (!has_dims_) fail_here("it needs dims, such as dims=507 or dims=all");
    if (kind.has_value && !value_) fail_here("{} needs a value, such as value=100", kind.name);
    if (!kind.has_value && value_) fail_here("{} takes no value", kind.name);
    edit_.value = value_.value_or(0.0);
    if (edit_.change == Change::clamp && edit_.value < 0) fail_here("clamp needs a value of at least 0");
    if (edit_.first > edit_.last || edit_.last >= architecture_.n_layers)
      fail_here("layer={}-{} is not within the model's layers 0 to {}", edit_.first, edit_.last,
                architecture_.n_layers - 1);
    for (int64_t layer = edit_.first; layer <= edit_.last; ++layer) {
      const HookPoint point{edit_.point, static_cast<int>(layer)};
      if (!has_point(architecture_, point)) fail_here("this model has no {}", point.name());
      int64_t size = 1;
      for (const int64_t extent : row_shape(architecture_, point)) size *= extent;
      if (!edit_.dims.empty() && edit_.dims.back() >= size)
        fail_here("dimension {} is outside the {} of {}", edit_.dims.back(), size, point.name());
    }
  }

  const std::string_view text_;
  const Architecture& architecture_;
  Edit edit_;
  std::optional<double> value_;
  bool has_layers_ = false, has_dims_ = false;
};

std::string to_text(const Edit& edit) {
  std::string text = fmt::format("{}:", kind_of(edit).name);
  if (edit.point != Point::resid_pre) text += fmt::format("point={},", point_name(edit.point));
  text += fmt::format("layer={}", edit.first);
  if (edit.last != edit.first) text += fmt::format("-{}", edit.last);
  text += edit.dims.empty() ? ",dims=all" : fmt::format(",dims={}", fmt::join(edit.dims, "+"));
  text += edit.tokens == EditTokens::listed ? fmt::format(",tokens={}", fmt::join(edit.positions, "+"))
                                            : fmt::format(",tokens={}", kTokenNames[static_cast<size_t>(edit.tokens)]);
  if (kind_of(edit).has_value) text += fmt::format(",value={}", edit.value);
  return text;
}

/// Calls visit(row, its values) for the rows of the list that the activation holds.
template <class Visit>
void for_rows(const std::vector<EditRow>& rows, const Activation& activation, const Visit& visit) {
  const int64_t end = activation.first_row + activation.values.rows();
  for (auto at = std::ranges::lower_bound(rows, activation.first_row, {}, &EditRow::row);
       at != rows.end() && at->row < end; ++at)
    visit(*at, activation.values.row(at->row - activation.first_row));
}

/// Calls visit(dim, k) for the edit's dimensions; k counts them.
template <class Visit>
void for_dims(const Edit& edit, int64_t row_size, const Visit& visit) {
  const int64_t count = edit.dims.empty() ? row_size : static_cast<int64_t>(edit.dims.size());
  for (int64_t k = 0; k < count; ++k) visit(edit.dims.empty() ? k : edit.dims[static_cast<size_t>(k)], k);
}

}  // namespace

std::span<const ChangeKind> change_kinds() { return kChanges; }

std::string edit_grammar() {
  std::string text = "  KIND:KEY=VALUE,...; several with spaces between are done together. Kinds:\n";
  for (const ChangeKind& kind : kChanges) text += fmt::format("    {:<8} {}\n", kind.name, kind.meaning);
  return text + R"(  Keys:
    layer=12     block, from 0; layer=3-9: all of these
    dims=507     dimensions (heads laid end to end), or neurons of mlp.post; dims=1229+1487, dims=all
    tokens=      spikes (of the state that enters the block, default), ordinary (as many others, at random), all,
                 or positions such as 0+50
    point=       hook point, as after blocks.12. (default resid_pre, the state that enters the block)
    value=       of scale, clamp and set)";
}

std::vector<Edit> parse_edits(std::string_view text, const Architecture& architecture) {
  std::vector<Edit> edits;
  for (size_t begin = text.find_first_not_of(' '); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    edits.push_back(EditParser(text.substr(begin, end - begin), architecture).parse());
    begin = text.find_first_not_of(' ', end);
  }
  if (edits.empty()) fail_usage("'{}': there is no intervention in it", text);
  return edits;
}

std::string to_text(std::span<const Edit> edits) {
  std::vector<std::string> texts;
  for (const Edit& edit : edits) texts.push_back(to_text(edit));
  return fmt::format("{}", fmt::join(texts, " "));
}

bool PlacedEdit::has_rows() const {
  return std::any_of(rows.begin(), rows.end(), [](const auto& layer) { return !layer.empty(); });
}

void PlacedEdit::attach(Hooks& hooks) const {
  for (size_t layer = 0; layer < rows.size(); ++layer) {
    if (rows[layer].empty()) continue;
    const HookPoint point{edit.point, static_cast<int>(edit.first) + static_cast<int>(layer)};
    hooks.intervene(point.name(), [this, layer](const Activation& a) {
      const auto change = kind_of(edit).apply;
      for_rows(rows[layer], a, [&](const EditRow& at, float* values) {
        for_dims(edit, a.values.row_size(), [&](int64_t dim, int64_t k) {
          const float value =
              means.empty() ? static_cast<float>(edit.value) : means[layer][at.inside][static_cast<size_t>(k)];
          values[dim] = change(values[dim], value);
        });
      });
    });
  }
}

void MeanCollector::attach(Hooks& hooks) {
  for (size_t layer = 0; layer < sums_.size(); ++layer) {
    if (edit_.rows[layer].empty()) continue;
    const HookPoint point{edit_.edit.point, static_cast<int>(edit_.edit.first) + static_cast<int>(layer)};
    hooks.observe(point.name(), [this, layer](const Activation& a) {
      for_rows(edit_.rows[layer], a, [&](const EditRow& at, const float* values) {
        Sum& sum = sums_[layer][at.inside];
        sum.values.resize(edit_.edit.dims.empty() ? static_cast<size_t>(a.values.row_size()) : edit_.edit.dims.size());
        ++sum.rows;
        for_dims(edit_.edit, a.values.row_size(),
                 [&](int64_t dim, int64_t k) { sum.values[static_cast<size_t>(k)] += values[dim]; });
      });
    });
  }
}

void MeanCollector::finish() {
  for (const std::array<Sum, 2>& layer : sums_) {
    auto& means = edit_.means.emplace_back();
    for (size_t kind = 0; kind < layer.size(); ++kind)
      for (const double value : layer[kind].values)
        means[kind].push_back(static_cast<float>(value / static_cast<double>(layer[kind].rows)));
  }
}

}  // namespace spikescope
