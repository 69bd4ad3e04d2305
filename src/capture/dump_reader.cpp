#include <algorithm>

#include "base/fail.h"
#include "capture/dump.h"
#include "capture/dump_folders.h"
#include "capture/dump_layout.h"
#include "io/hdf5.h"
#include "io/printable.h"

namespace spikescope {
namespace {

using Shape = std::vector<int64_t>;

constexpr std::string_view kRemedy = "the dump is damaged: capture again";

// Opens the index, putting back first what a dying run may have moved away.
H5File open_index(const std::filesystem::path& out) {
  recover_dump(out);
  const auto index = dump_layout::folder(out) / dump_layout::kIndex;
  std::error_code ignored;
  if (!std::filesystem::exists(index, ignored))
    fail("{}: no such dump; make one with spikescope capture --out {}", index.string(), out.string());
  return H5File::open(index);
}

}  // namespace

struct DumpReader::Impl {
  explicit Impl(const std::filesystem::path& the_out)
      : out(the_out), index_path((dump_layout::folder(out) / dump_layout::kIndex).string()), index(open_index(out)) {
    read_info();
    read_tokens();
  }

  void read_info() {
    if (!index.has_attribute("/", "format") || index.string_attribute("/", "format") != dump_layout::kFormat) {
      fail("{}: is no dump of this program (its attribute \"format\" is not {})", index_path, dump_layout::kFormat);
    }
    if (const int64_t version = index.int_attribute("/", "version"); version != dump_layout::kVersion) {
      fail("{}: has version {} of the dump format, this program reads {}; capture again", index_path, version,
           dump_layout::kVersion);
    }
    if (index.has_attribute("/", dump_layout::kTowers))
      fail("{}: shows the dumps of two towers as one; work on one of them, e.g. {}", index_path,
           (out / "vision").string());
    for (const auto& field : dump_layout::kInfoFields) info.*field.member = index.string_attribute("/", field.name);
    if (info.storage != "float32" && info.storage != "float16") {
      fail("{}: attribute \"storage\" is \"{}\", expected float32 or float16; {}", index_path,
           printable(info.storage, 40), kRemedy);
    }
    const std::string what = index_path + ", attribute \"config\"";
    info.config = parse_json(index.string_attribute("/", "config"), what);
    n_layers = json_get<int64_t>(info.config, "n_layers", what);
    d_model = json_get<int64_t>(info.config, "d_model", what);
    if (n_layers < 1 || n_layers > dump_layout::kMostLayers || d_model < 1 || d_model > dump_layout::kWidestModel) {
      fail("{}: {} layers of width {} are no model; {}", what, n_layers, d_model, kRemedy);
    }
  }

  void read_tokens() {
    tokens.ids = read_index<int64_t>("/tokens/ids", -1);
    tokens.offsets = read_index<int64_t>("/tokens/offsets", -1);
    const bool framed =
        tokens.offsets.size() >= 2 && tokens.offsets.front() == 0 && tokens.offsets.back() == tokens.size();
    if (!framed || std::adjacent_find(tokens.offsets.begin(), tokens.offsets.end(), std::greater_equal<>()) !=
                       tokens.offsets.end()) {
      fail("{}: /tokens/offsets does not rise from 0 to the {} tokens; {}", index_path, tokens.size(), kRemedy);
    }
    tokens.strings = read_index<std::string>("/tokens/strings", tokens.size());
    for (const std::string& prompt : read_index<std::string>("/prompts", tokens.n_prompts())) {
      tokens.prompts.push_back(
          parse_json(prompt, fmt::format("{}, /prompts, string {}", index_path, tokens.prompts.size())));
    }
    split_random_first();
  }

  void split_random_first() {
    const auto is_random = [](const Json& prompt) { return prompt.is_object() && prompt.contains(kRandomFirst); };
    const auto first = std::find_if(tokens.prompts.begin(), tokens.prompts.end(), is_random);
    const int64_t proper = first - tokens.prompts.begin();
    random_first = tokens.n_prompts() - proper;
    if (proper == 0 || !std::all_of(first, tokens.prompts.end(), is_random) ||
        tokens.size() - tokens.offsets[static_cast<size_t>(proper)] != random_first)
      fail("{}: random first tokens in /prompts are to be prompts of one token behind all others; {}", index_path,
           kRemedy);
    prompts = tokens;
    const auto rows = static_cast<size_t>(tokens.offsets[static_cast<size_t>(proper)]);
    prompts.ids.resize(rows);
    prompts.strings.resize(rows);
    prompts.offsets.resize(static_cast<size_t>(proper + 1));
    prompts.prompts.resize(static_cast<size_t>(proper));
  }

  /// [first, columns] of [first, all]: the leading columns of each row.
  static std::vector<float> leading_columns(const std::vector<float>& values, int64_t all, int64_t columns) {
    std::vector<float> result;
    for (auto row = values.begin(); row != values.end(); row += all) result.insert(result.end(), row, row + columns);
    return result;
  }
  /// How many of the kept tokens, which are in order, are of the prompts that tokens() has.
  int64_t proper_tokens(const std::vector<TokenPosition>& kept) const {
    return std::count_if(kept.begin(), kept.end(), [&](const auto& at) { return at.first < prompts.n_prompts(); });
  }

  /// A one-dimensional dataset of the index; `size` -1 for any.
  template <class T>
  std::vector<T> read_index(std::string_view dataset, int64_t size) const {
    const Shape shape = index.shape(dataset);
    if (shape.size() != 1) fail("{}: {} has {} dimensions, expected 1; {}", index_path, dataset, shape.size(), kRemedy);
    if (size >= 0) expect_shape(dataset, {size});
    return index.read<T>(dataset);
  }

  void expect_shape(std::string_view dataset, const Shape& expected) const {
    if (const Shape shape = index.shape(dataset); shape != expected) {
      fail("{}: {} has the shape [{}], expected [{}]; {}", index_path, dataset, fmt::join(shape, ", "),
           fmt::join(expected, ", "), kRemedy);
    }
  }

  std::vector<float> read_floats(const std::string& dataset, const Shape& expected) const {
    expect_shape(dataset, expected);
    return index.read<float>(dataset);
  }

  /// Shape of a dataset whose first dimensions are known; there are `rank` in all, and none of the others is 0.
  Shape shape_of(const std::string& dataset, const Shape& first, size_t rank) const {
    const Shape shape = index.shape(dataset);
    const bool good = shape.size() == rank && std::equal(first.begin(), first.end(), shape.begin()) &&
                      std::all_of(shape.begin() + static_cast<std::ptrdiff_t>(first.size()), shape.end(),
                                  [](int64_t size) { return size > 0; });
    if (!good) {
      fail("{}: {} has the shape [{}], expected {} dimensions that begin with [{}]; {}", index_path, dataset,
           fmt::join(shape, ", "), rank, fmt::join(first, ", "), kRemedy);
    }
    return shape;
  }

  void expect_captured(const HookPoint& point) const {
    if (!index.has(point.dataset())) {
      fail("{}: {} was not captured; capture again with --points '{}' added", index_path, point.name(), point.name());
    }
  }

  void expect_prompt(int64_t prompt) const {
    if (prompt < 0 || prompt >= tokens.n_prompts())
      fail_usage("{}: has prompts 0 to {}, not {}", index_path, tokens.n_prompts() - 1, prompt);
  }

  /// [N, row shape...] of a point with rows; checks it against what the tokens and the model say.
  Shape shape_of_rows(const HookPoint& point) const {
    const Shape shape = index.shape(point.dataset());
    const bool known_width = point.kind().shape == PointShape::model;
    const int64_t rows = dump_layout::rows_of(point, tokens);
    const bool good =
        shape.size() >= 2 && shape[0] == rows && (!known_width || (shape.size() == 2 && shape[1] == d_model));
    if (!good) {
      fail("{}: {} has the shape [{}], expected [{}, {}]; {}", index_path, point.dataset(), fmt::join(shape, ", "),
           rows, known_width ? std::to_string(d_model) : "...", kRemedy);
    }
    return shape;
  }

  /// Tokens kept, [kept, 2] as pairs of prompt and token.
  std::vector<TokenPosition> positions(const std::string& dataset) const {
    const Shape shape = index.shape(dataset);
    if (shape.size() != 2 || shape[1] != 2) {
      fail("{}: {} has the shape [{}], expected [kept tokens, 2]; {}", index_path, dataset, fmt::join(shape, ", "),
           kRemedy);
    }
    const auto values = index.read<int64_t>(dataset);
    std::vector<TokenPosition> result;
    for (size_t i = 0; i < values.size(); i += 2) {
      const int64_t prompt = values[i], token = values[i + 1];
      if (prompt < 0 || prompt >= tokens.n_prompts() || token < 0 || token >= tokens.length(prompt)) {
        fail("{}: {}, row {} names token {} of prompt {}, which is not there; {}", index_path, dataset, i / 2, token,
             prompt, kRemedy);
      }
      result.emplace_back(prompt, token);
    }
    return result;
  }

  void expect_group(const std::string& group, std::string_view flag) const {
    if (!index.has(group)) fail("{}: {} was not captured; capture again with {}", index_path, group, flag);
  }

  std::filesystem::path out;
  std::string index_path;
  H5File index;
  DumpInfo info;
  DumpTokens tokens;   // of all prompts
  DumpTokens prompts;  // without the random first tokens
  int64_t random_first = 0;
  int64_t n_layers = 0, d_model = 0;
};

DumpReader::DumpReader(const std::filesystem::path& out) : impl_(std::make_unique<Impl>(out)) {}
DumpReader::~DumpReader() = default;
DumpReader::DumpReader(DumpReader&&) noexcept = default;

const std::filesystem::path& DumpReader::out() const { return impl_->out; }
const DumpInfo& DumpReader::info() const { return impl_->info; }
const DumpTokens& DumpReader::tokens() const { return impl_->prompts; }
int64_t DumpReader::random_first() const { return impl_->random_first; }
int64_t DumpReader::n_layers() const { return impl_->n_layers; }
int64_t DumpReader::d_model() const { return impl_->d_model; }

bool DumpReader::has(const HookPoint& point) const { return impl_->index.has(point.dataset()); }
bool DumpReader::has_sinks() const { return impl_->index.has("/sinks"); }
bool DumpReader::has_writers() const { return impl_->index.has("/writers"); }

std::vector<int64_t> DumpReader::row_shape(const HookPoint& point) const {
  impl_->expect_captured(point);
  if (dump_layout::is_square(point)) {
    const int64_t length = impl_->tokens.length(0);
    const Shape shape = impl_->index.shape(dump_layout::dataset(point, 0));
    if (shape.size() != 3 || shape[1] != length || shape[2] != length)
      impl_->expect_shape(dump_layout::dataset(point, 0), {1, length, length});
    return {shape[0]};
  }
  Shape shape = impl_->shape_of_rows(point);
  shape.erase(shape.begin());
  return shape;
}

std::vector<float> DumpReader::read(const HookPoint& point, int64_t first, int64_t count) const {
  const Impl& impl = *impl_;
  impl.expect_captured(point);
  if (!dump_layout::is_square(point)) {
    impl.shape_of_rows(point);
    return impl.index.read_rows(point.dataset(), first, count);
  }
  if (count != 1) fail_usage("{}: {} is read one prompt at a time, not {}", impl.index_path, point.name(), count);
  impl.expect_prompt(first);
  const int64_t length = impl.tokens.length(first);
  const std::string dataset = dump_layout::dataset(point, first);
  return impl.read_floats(dataset, {row_shape(point)[0], length, length});
}

std::vector<float> DumpReader::residual(int64_t layer, int64_t prompt) const {
  if (layer < 0 || layer > n_layers())
    fail_usage("{}: has residual states 0 to {}, not {}", impl_->index_path, n_layers(), layer);
  impl_->expect_prompt(prompt);
  const HookPoint point =
      layer == 0 ? HookPoint{Point::resid_pre, 0} : HookPoint{Point::resid_post, static_cast<int>(layer - 1)};
  return read(point, impl_->tokens.offsets[static_cast<size_t>(prompt)], impl_->tokens.length(prompt));
}

SinkStatistics DumpReader::sinks(int64_t block) const {
  const Impl& impl = *impl_;
  const std::string group = dump_layout::sinks_group(block);
  impl.expect_group(group, "--sinks");
  SinkStatistics sinks;
  const int64_t n = impl.tokens.size();
  sinks.tokens = impl.positions(group + "/tokens");
  const auto kept = static_cast<int64_t>(sinks.tokens.size());
  const Shape sums = impl.index.shape(group + "/column_sums");
  if (sums.size() != 2 || sums[0] < 1) impl.expect_shape(group + "/column_sums", {1, n});
  sinks.heads = sums[0];
  sinks.column_sums = impl.read_floats(group + "/column_sums", {sinks.heads, n});
  sinks.late_column_sums = impl.read_floats(group + "/late_column_sums", {sinks.heads, n});
  sinks.entropy = impl.read_floats(group + "/entropy", {sinks.heads, impl.tokens.n_prompts()});
  const Shape values = impl.shape_of(group + "/values", {kept}, 3);
  sinks.kv_heads = values[1];
  sinks.head_dim = values[2];
  sinks.values = impl.read_floats(group + "/values", values);

  Shape offsets = {0};
  for (const auto& [prompt, token] : sinks.tokens) offsets.push_back(offsets.back() + impl.tokens.length(prompt));
  if (impl.read_index<int64_t>(group + "/column_offsets", kept + 1) != offsets) {
    fail("{}: {}/column_offsets does not fit the lengths of the prompts; {}", impl.index_path, group, kRemedy);
  }
  const auto columns = impl.read_floats(group + "/columns", {offsets.back(), sinks.heads});
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    sinks.columns.emplace_back(columns.begin() + offsets[i] * sinks.heads,
                               columns.begin() + offsets[i + 1] * sinks.heads);
  }
  if (impl.random_first > 0) {
    const int64_t proper = impl.proper_tokens(sinks.tokens), prompts = impl.prompts.n_prompts();
    sinks.column_sums = Impl::leading_columns(sinks.column_sums, n, impl.prompts.size());
    sinks.late_column_sums = Impl::leading_columns(sinks.late_column_sums, n, impl.prompts.size());
    sinks.entropy = Impl::leading_columns(sinks.entropy, impl.tokens.n_prompts(), prompts);
    sinks.tokens.resize(static_cast<size_t>(proper));
    sinks.columns.resize(static_cast<size_t>(proper));
    sinks.values.resize(static_cast<size_t>(proper * sinks.kv_heads * sinks.head_dim));
  }
  return sinks;
}

WriterRows DumpReader::writers(int64_t block) const {
  const Impl& impl = *impl_;
  const std::string group = dump_layout::writers_group(block);
  impl.expect_group(group, "--writers");
  WriterRows rows;
  rows.tokens = impl.positions(group + "/tokens");
  const auto kept = static_cast<int64_t>(rows.tokens.size());
  rows.d_model = impl.d_model;
  rows.attention = impl.read_floats(group + "/attention", {kept, rows.d_model});
  rows.mlp = impl.read_floats(group + "/mlp", {kept, rows.d_model});
  if (impl.index.has(group + "/mlp_post")) {
    const Shape shape = impl.shape_of(group + "/mlp_post", {kept}, 2);
    rows.width = shape[1];
    rows.mlp_post = impl.read_floats(group + "/mlp_post", shape);
  }
  if (impl.random_first > 0) {
    const auto proper = static_cast<size_t>(impl.proper_tokens(rows.tokens));
    rows.tokens.resize(proper);
    rows.attention.resize(proper * static_cast<size_t>(rows.d_model));
    rows.mlp.resize(proper * static_cast<size_t>(rows.d_model));
    rows.mlp_post.resize(proper * static_cast<size_t>(rows.width));
  }
  return rows;
}

std::vector<float> DumpReader::losses() const {
  if (!impl_->index.has("/losses/nll")) return {};
  std::vector<float> losses = impl_->read_floats("/losses/nll", {impl_->tokens.size()});
  losses.resize(static_cast<size_t>(impl_->prompts.size()));
  return losses;
}

}  // namespace spikescope
