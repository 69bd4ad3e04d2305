#include "quant/template_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>

#include "base/fail.h"
#include "io/hdf5.h"
#include "io/output_file.h"
#include "io/printable.h"
#include "io/safetensors.h"
#include "io/tensor_layout.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

constexpr const char* kFormat = "spikescope-templates";
constexpr int64_t kVersion = 1;
constexpr const char* kDocument = "templates";  ///< the metadata's key, and the attribute's name
constexpr int64_t kMostLayers = 100'000, kMostWidth = 10'000'000;

bool is_hdf5(const fs::path& path) { return path.extension() == ".h5" || path.extension() == ".hdf5"; }

Json number_json(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json evidence_json(const BirthEvidence& evidence) {
  return {{"median", number_json(evidence.median)},
          {"largest", number_json(evidence.largest)},
          {"above", evidence.above},
          {"least_above", number_json(evidence.least_above)},
          {"largest_below", number_json(evidence.largest_below)},
          {"born", evidence.born}};
}

struct Tensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};

std::string set_name(size_t set, std::string_view tensor) { return fmt::format("sets.{}.{}", set, tensor); }
std::string range_name(Population population, Site site) {
  return fmt::format("ranges.{}.{}", population_name(population), site_kinds()[static_cast<size_t>(site)].name);
}

std::string channels_name(std::string_view what, Site site) {
  return fmt::format("channels.{}.{}", what, site_kinds()[static_cast<size_t>(site)].name);
}
constexpr std::string_view kWeights = "weights";

/// Channels of a site in all blocks: `values` [n_layers][width], NaN where a block has none.
void add_channels(std::vector<float>& to, const std::vector<float>& values, int64_t width) {
  if (values.empty())
    to.insert(to.end(), static_cast<size_t>(width), std::numeric_limits<float>::quiet_NaN());
  else
    to.insert(to.end(), values.begin(), values.end());
}

int64_t channels_of(const SpikeTemplates& templates, Site site) {
  size_t width = 0;
  for (const ChannelRange& range : templates.channels[0][static_cast<size_t>(site)])
    width = std::max(width, range.highest.size());
  return static_cast<int64_t>(width);
}

std::vector<Tensor> channel_tensors(const SpikeTemplates& templates, Site site) {
  const int64_t width = channels_of(templates, site), layers = templates.n_layers;
  if (width == 0) return {};
  std::vector<Tensor> tensors;
  for (size_t population = 0; population < kChannelPopulations; ++population) {
    Tensor& tensor = tensors.emplace_back(
        Tensor{channels_name(population_name(populations()[population]), site), {layers, 2, width}, {}});
    for (const ChannelRange& range : templates.channels[population][static_cast<size_t>(site)]) {
      add_channels(tensor.values, range.lowest, width);
      add_channels(tensor.values, range.highest, width);
    }
  }
  Tensor& weights = tensors.emplace_back(Tensor{channels_name(kWeights, site), {layers, width}, {}});
  for (int layer = 0; layer < layers; ++layer) {
    const auto at = static_cast<size_t>(layer);
    const bool there = !templates.channels[0][static_cast<size_t>(site)][at].highest.empty();
    add_channels(weights.values, there ? templates.weight_maxima[static_cast<size_t>(site)][at] : std::vector<float>(),
                 width);
  }
  return tensors;
}

std::string balance_name(const char* what, Site site) {
  return fmt::format("balance.{}.{}", what, site_kinds()[static_cast<size_t>(site)].name);
}

/// Channels of a site; 0: no block has a balance there.
int64_t balance_width(const SpikeTemplates& templates, Site site) {
  size_t width = 0;
  for (const ChannelBalance& balance : templates.balances[static_cast<size_t>(site)])
    width = std::max(width, balance.factors.size());
  return static_cast<int64_t>(width);
}

/// Means and factors, NaN in blocks that have none; no tensors where no block has.
std::vector<Tensor> balance_tensors(const SpikeTemplates& templates, Site site) {
  const int64_t width = balance_width(templates, site);
  if (width == 0) return {};
  const std::vector<float> none(static_cast<size_t>(width), std::numeric_limits<float>::quiet_NaN());
  std::vector<Tensor> tensors(2);
  tensors[0] = {balance_name("means", site), {templates.n_layers, width}, {}};
  tensors[1] = {balance_name("factors", site), {templates.n_layers, width}, {}};
  for (const ChannelBalance& balance : templates.balances[static_cast<size_t>(site)])
    for (const bool factors : {false, true}) {
      const std::vector<float>& values = balance.empty() ? none : factors ? balance.factors : balance.means;
      tensors[factors].values.insert(tensors[factors].values.end(), values.begin(), values.end());
    }
  return tensors;
}

/// What a file holds beside the document; absent vectors are left out.
std::vector<Tensor> tensors_of(const SpikeTemplates& templates) {
  std::vector<Tensor> tensors;
  const int64_t d = templates.d_model;
  const auto add = [&](std::string name, const std::vector<float>& values, std::vector<int64_t> shape) {
    if (!values.empty()) tensors.push_back({std::move(name), std::move(shape), values});
  };
  // A row for each of the blocks of a set, as many as there are values for.
  const auto add_rows = [&](std::string name, const std::vector<float>& values, std::vector<int64_t> row) {
    int64_t size = 1;
    for (const int64_t count : row) size *= count;
    row.insert(row.begin(), size > 0 ? static_cast<int64_t>(values.size()) / size : 0);
    add(std::move(name), values, std::move(row));
  };
  for (size_t i = 0; i < templates.sets.size(); ++i) {
    const TemplateSet& set = templates.sets[i];
    add_rows(set_name(i, "attn_in"), set.attn_in, {d});
    add_rows(set_name(i, "mlp_in"), set.mlp_in, {d});
    add_rows(set_name(i, "attn_k"), set.attn_k, {templates.kv_heads, templates.head_dim});
    add_rows(set_name(i, "attn_v"), set.attn_v, {templates.kv_heads, templates.v_dim});
    add(set_name(i, "residual"), set.residual, {d});
    add(set_name(i, "final"), set.final_out, {d});
  }
  for (const Population population : populations())
    for (const SiteKind& kind : site_kinds()) {
      Tensor tensor{range_name(population, kind.site), {templates.n_layers, static_cast<int64_t>(kRangeKeys)}, {}};
      for (int layer = 0; layer < templates.n_layers; ++layer) {
        const SiteRange& range = templates.range(population, kind.site, layer);
        tensor.values.insert(tensor.values.end(), range.values.begin(), range.values.end());
      }
      tensors.push_back(std::move(tensor));
    }
  for (const SiteKind& kind : site_kinds())
    for (Tensor& tensor : balance_tensors(templates, kind.site)) tensors.push_back(std::move(tensor));
  for (const SiteKind& kind : site_kinds())
    for (Tensor& tensor : channel_tensors(templates, kind.site)) tensors.push_back(std::move(tensor));
  return tensors;
}

std::string dataset_of(const std::string& tensor) {
  std::string path = "/" + tensor;
  std::replace(path.begin(), path.end(), '.', '/');
  return path;
}

void write_hdf5(const fs::path& path, const std::string& document, const std::vector<Tensor>& tensors) {
  OutputFile output(path);
  H5File file = H5File::create(output.temporary());
  file.set_attribute("/", "format", std::string_view(kFormat));
  file.set_attribute("/", "version", kVersion);
  file.write<std::string>(dataset_of(kDocument), {document});
  for (const Tensor& tensor : tensors) file.write<float>(dataset_of(tensor.name), tensor.shape, tensor.values);
  file.close();
  output.commit();
}

void write_safetensors_file(const fs::path& path, const std::string& document, const std::vector<Tensor>& tensors) {
  std::vector<TensorToWrite> out;
  for (const Tensor& tensor : tensors)
    out.push_back({tensor.name, tensor.shape, "F32", std::as_bytes(std::span(tensor.values))});
  write_safetensors(path, out, {{"format", kFormat}, {"version", std::to_string(kVersion)}, {kDocument, document}});
}

/// A file's document, and its tensors by name: empty for one that is not there, with the shape that it has to have.
struct Source {
  std::string format, version, document;
  std::function<bool(const std::string& name)> has;
  std::function<std::vector<float>(const std::string& name, const std::vector<int64_t>& shape)> read;
};

[[noreturn]] void fail_shape(const std::string& file, const std::string& name, const std::vector<int64_t>& found,
                             const std::vector<int64_t>& expected) {
  fail("{}: \"{}\" has the shape {}, its document makes it {}; make the file anew with: spikescope templates", file,
       name, shape_text(found), shape_text(expected));
}

Source open_hdf5(const fs::path& path) {
  const auto file = std::make_shared<H5File>(H5File::open(path));
  Source source;
  if (file->has_attribute("/", "format")) source.format = file->string_attribute("/", "format");
  if (file->has_attribute("/", "version")) source.version = std::to_string(file->int_attribute("/", "version"));
  if (file->has(dataset_of(kDocument))) {
    const std::vector<std::string> document = file->read<std::string>(dataset_of(kDocument));
    if (document.size() == 1) source.document = document.front();
  }
  source.has = [file](const std::string& name) { return file->has(dataset_of(name)); };
  source.read = [file, path](const std::string& name, const std::vector<int64_t>& shape) {
    if (const auto found = file->shape(dataset_of(name)); found != shape) fail_shape(path.string(), name, found, shape);
    return file->read<float>(dataset_of(name));
  };
  return source;
}

Source open_safetensors(const fs::path& path) {
  const auto file = std::make_shared<SafetensorsFile>(read_safetensors(path));
  Source source;
  const auto text = [&](const char* key) {
    const auto found = file->metadata.find(key);
    return found == file->metadata.end() ? std::string() : found->second;
  };
  source.format = text("format");
  source.version = text("version");
  source.document = text(kDocument);
  source.has = [file](const std::string& name) { return file->tensors.find(name) != nullptr; };
  source.read = [file, path](const std::string& name, const std::vector<int64_t>& shape) {
    const TensorInfo& tensor = file->tensors.require(name);
    if (tensor.shape != shape) fail_shape(path.string(), name, tensor.shape, shape);
    if (tensor.format->name != std::string_view("F32"))
      fail("{}: \"{}\" is {}, expected F32", path.string(), name, tensor.format->name);
    std::vector<float> values(tensor.bytes.size() / sizeof(float));
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  };
  return source;
}

class Reader {
 public:
  Reader(const fs::path& path, Source source) : file_(path.string()), source_(std::move(source)) {}

  SpikeTemplates operator()() {
    if (source_.format != kFormat)
      fail("{}: is no template file (its format is \"{}\", expected \"{}\"); make one with: spikescope templates",
           file_, printable(source_.format, 40), kFormat);
    if (source_.version != std::to_string(kVersion))
      fail("{}: is of version {} of the template format, this program reads {}; make the file anew", file_,
           source_.version.empty() ? "?" : printable(source_.version, 40), kVersion);
    const Json document = parse_json(source_.document, file_ + ": its document");
    read_info(document);
    const Json& blocks = array(document, "blocks");
    if (static_cast<int64_t>(blocks.size()) != templates_.n_layers)
      fail("{}: \"blocks\" should have {} entries, one a block", file_, templates_.n_layers);
    for (const Json& block : blocks) templates_.blocks.push_back(evidence(block));
    const Json& sets = array(document, "sets");
    if (static_cast<int64_t>(sets.size()) > templates_.n_layers)
      fail("{}: \"sets\" should have at most {} entries", file_, templates_.n_layers);
    for (size_t i = 0; i < sets.size(); ++i) templates_.sets.push_back(read_set(i, sets[i]));
    read_ranges();
    if (document.contains("balance_widths")) read_balances(wholes(document, "balance_widths", 0, kMostWidth));
    if (document.contains("site_widths")) read_channels(wholes(document, "site_widths", 0, kMostWidth));
    if (document.contains("prefix")) read_prefix(document.at("prefix"));
    return std::move(templates_);
  }

 private:
  double number(const Json& object, const char* key) const {
    return json_get_or<double>(object, key, std::numeric_limits<double>::quiet_NaN(), file_);
  }
  int64_t whole(const Json& object, const char* key, int64_t least, int64_t most) const {
    const auto value = json_get<int64_t>(object, key, file_);
    if (value < least || value > most) fail("{}: \"{}\" is {}; expected {} to {}", file_, key, value, least, most);
    return value;
  }
  const Json& array(const Json& object, const char* key) const {
    const auto found = object.is_object() ? object.find(key) : object.end();
    if (!object.is_object() || found == object.end() || !found->is_array())
      fail("{}: \"{}\" should be an array", file_, key);
    return *found;
  }
  std::vector<int64_t> wholes(const Json& object, const char* key, int64_t least, int64_t most) const {
    const Json& all = array(object, key);
    std::vector<int64_t> values;
    for (const Json& value : all) {
      if (!value.is_number_integer() || value.get<int64_t>() < least || value.get<int64_t>() > most)
        fail("{}: \"{}\" should have whole numbers from {} to {}", file_, key, least, most);
      values.push_back(value.get<int64_t>());
    }
    return values;
  }

  void read_info(const Json& document) {
    CalibrationInfo& info = templates_.info;
    for (const auto& [key, to] :
         std::initializer_list<std::pair<const char*, std::string*>>{{"model", &info.model},
                                                                     {"model_name", &info.model_name},
                                                                     {"model_sha256", &info.model_sha256},
                                                                     {"family", &info.family},
                                                                     {"text", &info.text},
                                                                     {"text_sha256", &info.text_sha256},
                                                                     {"bos", &info.bos},
                                                                     {"dtype", &info.dtype},
                                                                     {"command", &info.command},
                                                                     {"program_version", &info.version}})
      *to = json_get<std::string>(document, key, file_);
    info.windows = json_get<int64_t>(document, "windows", file_);
    info.length = json_get<int64_t>(document, "length", file_);
    info.tokens = json_get<int64_t>(document, "tokens", file_);
    templates_.n_layers = whole(document, "n_layers", 1, kMostLayers);
    templates_.d_model = whole(document, "d_model", 1, kMostWidth);
    // A model can have none, and files made before there were any do not mention them.
    if (document.contains("kv_heads") && whole(document, "kv_heads", 0, kMostWidth) > 0) {
      templates_.kv_heads = whole(document, "kv_heads", 1, kMostWidth);
      templates_.head_dim = whole(document, "head_dim", 1, kMostWidth);
      templates_.v_dim = whole(document, "v_dim", 1, kMostWidth);
    }
    templates_.eta = json_get<double>(document, "eta", file_);
    templates_.rotation = find_rotation(json_get<std::string>(document, "rotation", file_), file_);
    templates_.rotation_seed = static_cast<uint64_t>(json_get<int64_t>(document, "rotation_seed", file_));
  }

  BirthEvidence evidence(const Json& block) const {
    return {number(block, "median"),      number(block, "largest"),       whole(block, "above", 0, INT64_MAX),
            number(block, "least_above"), number(block, "largest_below"), json_get<bool>(block, "born", file_)};
  }

  TemplateSet read_set(size_t index, const Json& json) {
    const int64_t layers = templates_.n_layers, d = templates_.d_model;
    TemplateSet set;
    SpikeCourse& course = set.course;
    course.birth = static_cast<int>(whole(json, "birth", 0, layers - 1));
    course.last = static_cast<int>(whole(json, "last", course.birth, layers - 1));
    course.reaches_end = json_get<bool>(json, "reaches_end", file_);
    course.threshold = json_get<double>(json, "threshold", file_);
    if (!std::isfinite(course.threshold) || course.threshold <= 0.0)
      fail("{}: the threshold of set {} is {}; expected a number above 0", file_, index, course.threshold);
    course.height = json_get<double>(json, "height", file_);
    course.dims = wholes(json, "dims", 0, d - 1);
    for (const int64_t block : wholes(json, "cancelling", course.birth + 1, course.last))
      course.cancelling.push_back(static_cast<int>(block));
    set.tokens = whole(json, "tokens", 1, INT64_MAX);
    set.deviation = number(json, "deviation");
    set.evidence = templates_.blocks[static_cast<size_t>(course.birth)];
    const int64_t blocks = course.last - course.birth;
    set.attn_in = vectors(set_name(index, "attn_in"), {blocks, d}, blocks > 0);
    set.mlp_in = vectors(set_name(index, "mlp_in"), {blocks, d}, false);
    if (const int64_t heads = templates_.kv_heads; heads > 0) {
      set.attn_k = vectors(set_name(index, "attn_k"), {blocks, heads, templates_.head_dim}, blocks > 0);
      set.attn_v = vectors(set_name(index, "attn_v"), {blocks, heads, templates_.v_dim}, blocks > 0);
    }
    set.residual = vectors(set_name(index, "residual"), {d}, true);
    set.final_out = vectors(set_name(index, "final"), {d}, false);
    if (!course.reaches_end && !set.final_out.empty())
      fail("{}: set {} ends in block {} and has a template of the final norm", file_, index, course.last);
    return set;
  }

  std::vector<float> vectors(const std::string& name, const std::vector<int64_t>& shape, bool needed) const {
    if (!needed && !source_.has(name)) return {};
    std::vector<float> values = source_.read(name, shape);
    for (size_t i = 0; i < values.size(); ++i)
      if (!std::isfinite(values[i])) fail("{}: \"{}\" has a value that is not finite at {}", file_, name, i);
    return values;
  }

  void read_ranges() {
    for (const Population population : populations())
      for (const SiteKind& kind : site_kinds()) {
        const std::string name = range_name(population, kind.site);
        const bool later = is_balanced(population) || population == Population::prefixed;
        if (later && !source_.has(name)) {  // files of before there were such ranges
          templates_.ranges[static_cast<size_t>(population)][static_cast<size_t>(kind.site)].resize(
              static_cast<size_t>(templates_.n_layers));
          continue;
        }
        const std::vector<float> values = source_.read(name, {templates_.n_layers, static_cast<int64_t>(kRangeKeys)});
        auto& ranges = templates_.ranges[static_cast<size_t>(population)][static_cast<size_t>(kind.site)];
        ranges.resize(static_cast<size_t>(templates_.n_layers));
        for (size_t layer = 0; layer < ranges.size(); ++layer)
          std::copy_n(values.begin() + static_cast<int64_t>(layer * kRangeKeys), kRangeKeys,
                      ranges[layer].values.begin());
      }
  }

  void read_balances(const std::vector<int64_t>& widths) {
    if (widths.size() != kSites) fail("{}: \"balance_widths\" should have {} entries, one a site", file_, kSites);
    const int64_t layers = templates_.n_layers;
    for (size_t site = 0; site < kSites; ++site) {
      std::vector<ChannelBalance>& balances = templates_.balances[site];
      balances.resize(static_cast<size_t>(layers));
      const int64_t width = widths[site];
      if (width == 0) continue;
      const std::string names[] = {balance_name("means", static_cast<Site>(site)),
                                   balance_name("factors", static_cast<Site>(site))};
      const std::vector<float> means = source_.read(names[0], {layers, width}),
                               factors = source_.read(names[1], {layers, width});
      for (int64_t layer = 0; layer < layers; ++layer) {
        const auto begin = layer * width;
        if (std::isnan(factors[static_cast<size_t>(begin)])) continue;
        ChannelBalance& balance = balances[static_cast<size_t>(layer)];
        balance.means.assign(means.begin() + begin, means.begin() + begin + width);
        balance.factors.assign(factors.begin() + begin, factors.begin() + begin + width);
        for (const float mean : balance.means)
          if (!std::isfinite(mean)) fail("{}: \"{}\" has a value that is not finite in row {}", file_, names[0], layer);
        for (const float factor : balance.factors)
          if (!std::isfinite(factor) || !(factor > 0.0f))
            fail("{}: \"{}\" has {} in row {}; expected numbers above 0", file_, names[1], factor, layer);
      }
    }
  }

  void read_channels(const std::vector<int64_t>& widths) {
    if (widths.size() != kSites) fail("{}: \"site_widths\" should have {} entries, one a site", file_, kSites);
    const int64_t layers = templates_.n_layers;
    for (size_t site = 0; site < kSites; ++site) {
      const int64_t width = widths[site];
      for (auto& population : templates_.channels) population[site].resize(static_cast<size_t>(layers));
      templates_.weight_maxima[site].resize(static_cast<size_t>(layers));
      if (width == 0) continue;
      const auto kind = static_cast<Site>(site);
      for (size_t population = 0; population < kChannelPopulations; ++population) {
        const std::string name = channels_name(population_name(populations()[population]), kind);
        const std::vector<float> values = source_.read(name, {layers, 2, width});
        for (int64_t layer = 0; layer < layers; ++layer) {
          ChannelRange& range = templates_.channels[population][site][static_cast<size_t>(layer)];
          range.lowest = channels(name, values, 2 * layer, width);
          range.highest = channels(name, values, 2 * layer + 1, width);
          if (range.lowest.empty() != range.highest.empty())
            fail("{}: \"{}\" has but one of two rows for block {}", file_, name, layer);
        }
      }
      const std::string name = channels_name(kWeights, kind);
      const std::vector<float> values = source_.read(name, {layers, width});
      for (int64_t layer = 0; layer < layers; ++layer)
        templates_.weight_maxima[site][static_cast<size_t>(layer)] = channels(name, values, layer, width);
    }
  }

  /// A row of `values`; empty where it is NaN, which a block without the site has.
  std::vector<float> channels(const std::string& name, const std::vector<float>& values, int64_t row,
                              int64_t width) const {
    const auto begin = values.begin() + row * width, end = begin + width;
    if (std::all_of(begin, end, [](float value) { return std::isnan(value); })) return {};
    if (!std::all_of(begin, end, [](float value) { return std::isfinite(value); }))
      fail("{}: \"{}\" has a value that is not finite in row {}", file_, name, row);
    return {begin, end};
  }

  void read_prefix(const Json& json) {
    SpikePrefix& prefix = templates_.prefix;
    prefix.ids = wholes(json, "ids", 0, kMostWidth);
    prefix.text = json_get<std::string>(json, "text", file_);
    prefix.spikes = whole(json, "spikes", 0, INT64_MAX);
  }

  const std::string file_;
  const Source source_;
  SpikeTemplates templates_;
};

Json set_json(const TemplateSet& set) {
  const SpikeCourse& course = set.course;
  return {{"birth", course.birth},
          {"threshold", course.threshold},
          {"tokens", set.tokens},
          {"dims", course.dims},
          {"height", course.height},
          {"cancelling", course.cancelling},
          {"last", course.last},
          {"reaches_end", course.reaches_end},
          {"end", set.final_out.empty() ? "residual" : "final"},
          {"deviation", number_json(set.deviation)}};
}

}  // namespace

Json to_json(const SpikeTemplates& templates) {
  const CalibrationInfo& info = templates.info;
  const std::string why = why_not_applicable(templates);
  Json json = {{"model", info.model},
               {"model_name", info.model_name},
               {"model_sha256", info.model_sha256},
               {"family", info.family},
               {"n_layers", templates.n_layers},
               {"d_model", templates.d_model},
               {"kv_heads", templates.kv_heads},
               {"head_dim", templates.head_dim},
               {"v_dim", templates.v_dim},
               {"text", info.text},
               {"text_sha256", info.text_sha256},
               {"windows", info.windows},
               {"length", info.length},
               {"tokens", info.tokens},
               {"bos", info.bos},
               {"dtype", info.dtype},
               {"command", info.command},
               {"program_version", info.version},
               {"eta", templates.eta},
               {"rotation", rotation_names()[static_cast<size_t>(templates.rotation)].name},
               {"rotation_seed", templates.rotation_seed},
               {"applicable", why.empty()}};
  if (!why.empty()) json["why"] = why;
  json["sets"] = Json::array();
  for (const TemplateSet& set : templates.sets) json["sets"].push_back(set_json(set));
  json["blocks"] = Json::array();
  for (const BirthEvidence& block : templates.blocks) json["blocks"].push_back(evidence_json(block));
  json["sites"] = Json::array();
  for (const SiteKind& kind : site_kinds()) json["sites"].push_back(kind.name);
  json["range_keys"] = range_key_names();
  if (templates.has_balances()) {
    json["balance_widths"] = Json::array();
    for (const SiteKind& kind : site_kinds()) json["balance_widths"].push_back(balance_width(templates, kind.site));
  }
  const SpikePrefix& prefix = templates.prefix;
  json["prefix"] = {{"ids", prefix.ids}, {"text", prefix.text}, {"spikes", prefix.spikes}};
  if (templates.has_channels()) {
    json["site_widths"] = Json::array();
    for (const SiteKind& kind : site_kinds()) json["site_widths"].push_back(channels_of(templates, kind.site));
  }
  return json;
}

Json ranges_json(const SpikeTemplates& templates) {
  Json json = Json::object();
  for (const Population population : populations())
    for (const SiteKind& kind : site_kinds()) {
      Json& rows = json[std::string(population_name(population))][std::string(kind.name)] = Json::array();
      for (int layer = 0; layer < templates.n_layers; ++layer) {
        Json row = {{"block", layer}};
        for (size_t key = 0; key < kRangeKeys; ++key)
          row[std::string(range_key_names()[key])] =
              number_json(templates.range(population, kind.site, layer).values[key]);
        rows.push_back(std::move(row));
      }
    }
  return json;
}

void write_templates(const SpikeTemplates& templates, const fs::path& path) {
  const std::string document = to_json(templates).dump(-1, ' ', false, Json::error_handler_t::replace);
  const std::vector<Tensor> tensors = tensors_of(templates);
  if (is_hdf5(path))
    write_hdf5(path, document, tensors);
  else
    write_safetensors_file(path, document, tensors);
}

SpikeTemplates read_templates(const fs::path& path) {
  return Reader(path, is_hdf5(path) ? open_hdf5(path) : open_safetensors(path))();
}

void check_templates_of(const SpikeTemplates& templates, const fs::path& path, const std::string& model_sha256,
                        const Architecture& a) {
  if (templates.info.model_sha256 != model_sha256)
    fail(
        "{}: these templates are of another model ({}, sha256 {:.12}...; this one's is {:.12}...); calibrate anew "
        "with: "
        "spikescope templates",
        path.string(), printable(templates.info.model_name), printable(templates.info.model_sha256), model_sha256);
  if (templates.n_layers != a.n_layers || templates.d_model != a.d_model)
    fail("{}: these templates are of {} blocks of width {}, the model has {} of width {}", path.string(),
         templates.n_layers, templates.d_model, a.n_layers, a.d_model);
  if (templates.kv_heads > 0 &&
      (templates.kv_heads != a.n_kv_heads || templates.head_dim != a.head_dim || templates.v_dim != a.v_dim()))
    fail("{}: these templates have keys and values of {} heads of {} and {}, the model's are of {} heads of {} and {}",
         path.string(), templates.kv_heads, templates.head_dim, templates.v_dim, a.n_kv_heads, a.head_dim, a.v_dim());
}

}  // namespace spikescope
