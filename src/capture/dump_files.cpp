#include "capture/dump_files.h"

#include <algorithm>

#include "base/fail.h"
#include "capture/dump_layout.h"
#include "io/float16.h"
#include "io/posix_file.h"

namespace spikescope {
namespace {

using Shape = std::vector<int64_t>;

// What HDF5 and h5py can hold as a string: U+FFFD for bytes that are not UTF-8 and for NUL. Vocabularies of damaged
// checkpoints have both.
std::string as_utf8(const std::string& text) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<signed char>(c) > 0; })) return text;
  std::string clean = Json::parse(dump_layout::to_text(text)).get<std::string>();
  for (size_t at = 0; (at = clean.find('\0', at)) != clean.npos;) clean.replace(at, 1, "\uFFFD");
  return clean;
}

Shape flat(const std::vector<TokenPosition>& tokens) {
  Shape values;
  for (const auto& [prompt, token] : tokens) values.insert(values.end(), {prompt, token});
  return values;
}

void rename_finished(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::rename(path, std::filesystem::path(path).replace_extension(), error);
  if (error) fail_with_errno(path, "rename", error.value());
}

}  // namespace

// The whole block, or the point itself outside blocks.
std::string DumpFiles::object_of(const HookPoint& point) {
  return point.kind().per_block ? dump_layout::block_group(point.layer) : point.dataset();
}

void DumpFiles::adopt(int64_t layer, const std::string& object) {
  const auto path = folder_ / dump_layout::layer_file(layer);
  if (!std::filesystem::is_regular_file(path))
    fail("{}: is missing, although a later layer was reached; run without --resume to begin anew", path.string());
  finished_[layer].insert(object);
}

DumpFiles::LayerFile& DumpFiles::layer(int64_t layer) {
  const auto found = open_.find(layer);
  if (found != open_.end()) return found->second;
  auto path = folder_ / dump_layout::layer_file(layer);
  path += dump_layout::kUnfinished;
  return open_.emplace(layer, LayerFile{H5File::create(path), path, {}}).first->second;
}

void DumpFiles::declare(const HookPoint& point, int64_t prompt, std::span<const int64_t> shape) {
  LayerFile& target = layer(point.layer);
  target.file.declare(dump_layout::dataset(point, prompt), shape, storage_);
  target.objects.insert(object_of(point));
}

void DumpFiles::write(const HookPoint& point, int64_t prompt, int64_t first, int64_t count,
                      std::span<const float> values) {
  if (storage_.half) {
    if (const auto beyond = first_beyond_float16(values)) {
      const int64_t row = first + *beyond / (static_cast<int64_t>(values.size()) / count);
      fail(
          "{}, {} {}: the value {} is beyond float16, which ends at 65504; store the dump in float32 (--storage "
          "float32)",
          point.name(), dump_layout::is_square(point) ? fmt::format("prompt {}, head", prompt) : "row", row,
          values[static_cast<size_t>(*beyond)]);
    }
  }
  layer(point.layer).file.write_rows(dump_layout::dataset(point, prompt), first, count, values);
}

void DumpFiles::write_sinks(int64_t block, const SinkStatistics& sinks, const DumpTokens& tokens) {
  LayerFile& target = layer(block);
  const std::string group = dump_layout::sinks_group(block);
  const auto kept = static_cast<int64_t>(sinks.tokens.size());
  const auto put = [&](std::string_view name, const Shape& shape, const std::vector<float>& values) {
    target.file.write<float>(fmt::format("{}/{}", group, name), shape, values, {.half = false, .gzip = storage_.gzip});
  };
  put("column_sums", {sinks.heads, tokens.size()}, sinks.column_sums);
  put("late_column_sums", {sinks.heads, tokens.size()}, sinks.late_column_sums);
  put("entropy", {sinks.heads, tokens.n_prompts()}, sinks.entropy);
  put("values", {kept, sinks.kv_heads, sinks.head_dim}, sinks.values);
  Shape column_offsets = {0};
  std::vector<float> columns;
  for (const auto& column : sinks.columns) {
    columns.insert(columns.end(), column.begin(), column.end());
    column_offsets.push_back(static_cast<int64_t>(columns.size()) / sinks.heads);
  }
  put("columns", {column_offsets.back(), sinks.heads}, columns);
  target.file.write(group + "/column_offsets", column_offsets);
  target.file.write<int64_t>(group + "/tokens", Shape{kept, 2}, flat(sinks.tokens));
  target.objects.insert(group);
}

void DumpFiles::write_writers(int64_t block, const WriterRows& rows) {
  LayerFile& target = layer(block);
  const std::string group = dump_layout::writers_group(block);
  const auto kept = static_cast<int64_t>(rows.tokens.size());
  const auto put = [&](std::string_view name, int64_t width, const std::vector<float>& values) {
    target.file.write<float>(fmt::format("{}/{}", group, name), Shape{kept, width}, values,
                             {.half = false, .gzip = storage_.gzip});
  };
  target.file.write<int64_t>(group + "/tokens", Shape{kept, 2}, flat(rows.tokens));
  put("attention", rows.d_model, rows.attention);
  put("mlp", rows.d_model, rows.mlp);
  if (rows.width > 0) put("mlp_post", rows.width, rows.mlp_post);
  target.objects.insert(group);
}

void DumpFiles::finish_layer(int64_t number) {
  const auto found = open_.find(number);
  if (found == open_.end()) return;
  found->second.file.close();
  rename_finished(found->second.path);
  finished_[number] = std::move(found->second.objects);
  open_.erase(found);
}

void DumpFiles::finish(const DumpInfo& info, const DumpTokens& tokens, const std::vector<float>& losses) {
  while (!open_.empty()) finish_layer(open_.begin()->first);
  auto path = folder_ / dump_layout::kIndex;
  path += dump_layout::kUnfinished;
  H5File index = H5File::create(path);
  index.set_attribute("/", "format", dump_layout::kFormat);
  index.set_attribute("/", "version", dump_layout::kVersion);
  for (const auto& field : dump_layout::kInfoFields) index.set_attribute("/", field.name, as_utf8(info.*field.member));
  index.set_attribute("/", "config", dump_layout::to_text(info.config));
  index.write("/tokens/ids", tokens.ids);
  index.write("/tokens/offsets", tokens.offsets);
  std::vector<std::string> strings, prompts;
  for (const std::string& piece : tokens.strings) strings.push_back(as_utf8(piece));
  for (const Json& prompt : tokens.prompts) prompts.push_back(dump_layout::to_text(prompt));
  index.write("/tokens/strings", strings);
  index.write("/prompts", prompts);
  if (!losses.empty()) index.write("/losses/nll", losses);
  for (const auto& [number, objects] : finished_) {
    for (const std::string& object : objects) index.link_external(object, dump_layout::layer_file(number), object);
  }
  index.close();
  rename_finished(path);
}

}  // namespace spikescope
