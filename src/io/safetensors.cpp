// The format: a u64 length of the header, the header as JSON {name: {dtype, shape, data_offsets: [begin, end]}}, then
// the data, which the tensors cover without gaps. An index (*.safetensors.index.json) has {"weight_map": {tensor:
// shard}}.
#include "io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/fail.h"
#include "io/json.h"
#include "io/mapped_file.h"
#include "io/printable.h"
#include "io/safetensors_writer.h"
#include "io/tensor_layout.h"

namespace spikescope {
namespace {

constexpr uint64_t kLongestHeader = 100'000'000;  // the format's own bound
constexpr size_t kMostDimensions = 32;
constexpr std::string_view kMetadata = "__metadata__";
constexpr std::string_view kIndexSuffix = ".index.json";

const Json& member(const Json& entry, std::string_view key, const std::string& what) {
  const auto found = entry.is_object() ? entry.find(key) : entry.end();
  if (!entry.is_object() || found == entry.end()) {
    fail(
        "{}: should be an object with dtype, shape and data_offsets, \"{}\" is missing; the file is damaged, fetch it "
        "again",
        what, key);
  }
  return *found;
}

std::vector<int64_t> whole_numbers(const Json& array, std::string_view key, size_t most, const std::string& what) {
  std::vector<int64_t> numbers;
  bool good = array.is_array() && array.size() <= most;
  for (size_t i = 0; good && i < array.size(); ++i) {
    good = array[i].is_number_unsigned() && array[i].get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
    if (good) numbers.push_back(array[i].get<int64_t>());
  }
  if (!good) {
    fail(
        "{}: \"{}\" should be an array of at most {} whole numbers, none negative; the file is damaged, fetch it again",
        what, key, most);
  }
  return numbers;
}

TensorInfo read_entry(const std::string& name, const Json& entry, std::span<const std::byte> data,
                      const std::string& file, ByteRange& range) {
  const std::string what = fmt::format("{}: tensor \"{}\"", file, printable(name));
  TensorInfo info;
  info.name = name;
  info.file = file;
  const Json& dtype = member(entry, "dtype", what);
  if (!dtype.is_string()) fail("{}: its dtype should be a string; the file is damaged, fetch it again", what);
  info.format = find_safetensors_format(dtype.get_ref<const std::string&>());
  if (!info.format) {
    fail("{}: has the unknown dtype \"{}\"; convert the checkpoint to F32, F16 or BF16", what,
         printable(dtype.get_ref<const std::string&>(), 40));
  }
  info.shape = whole_numbers(member(entry, "shape", what), "shape", kMostDimensions, what);
  const auto offsets = whole_numbers(member(entry, "data_offsets", what), "data_offsets", 2, what);
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    fail("{}: data_offsets should be [begin, end] with begin <= end, found {}; the file is damaged, fetch it again",
         what, shape_text(offsets));
  }
  const auto begin = static_cast<uint64_t>(offsets[0]), end = static_cast<uint64_t>(offsets[1]);
  if (end > data.size()) {
    fail("{}: lies at bytes [{}, {}) of the data, which has {}; the file is incomplete, fetch it again", what, begin,
         end, data.size());
  }
  const auto bytes = checked_bytes(info.shape, *info.format);
  if (!bytes || static_cast<uint64_t>(*bytes) != end - begin) {
    fail("{}: {} {} takes {} bytes, data_offsets give it {}; the file is damaged, fetch it again", what,
         info.format->name, shape_text(info.shape), bytes ? std::to_string(*bytes) : "too many", end - begin);
  }
  info.bytes = data.subspan(begin, end - begin);
  range = {begin, end, {}};
  return info;
}

// The format wants every byte of the data to belong to a tensor.
void check_cover(std::vector<ByteRange>& ranges, uint64_t size, const std::string& file) {
  check_no_overlap(ranges, file);
  uint64_t covered = 0;
  const auto check = [&](uint64_t next) {
    if (next > covered) {
      fail("{}: bytes [{}, {}) of the data belong to no tensor; the file is damaged, fetch it again", file, covered,
           next);
    }
  };
  for (const ByteRange& range : ranges) {
    check(range.begin);
    covered = std::max(covered, range.end);
  }
  check(size);
}

std::map<std::string, std::string> read_metadata(const Json& object, const std::string& file) {
  std::map<std::string, std::string> metadata;
  bool good = object.is_object();
  for (auto item = object.begin(); good && item != object.end(); ++item) {
    good = item->is_string();
    if (good) metadata.emplace(item.key(), item->get<std::string>());
  }
  if (!good) fail("{}: {} should be an object of strings; the file is damaged, fetch it again", file, kMetadata);
  return metadata;
}

struct Shard {
  std::shared_ptr<const MappedFile> file;
  std::vector<TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
};

Shard read_shard(const std::filesystem::path& path) {
  Shard shard;
  shard.file = std::make_shared<const MappedFile>(path);
  const std::span<const std::byte> bytes = shard.file->bytes();
  const std::string file = path.string();
  uint64_t length = 0;
  if (bytes.size() < sizeof length) {
    fail("{}: has {} bytes, a safetensors file begins with 8 bytes of header length. {}", file, bytes.size(),
         foreign_file_hint(bytes));
  }
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length < 2 || length > kLongestHeader) {
    fail("{}: is not a safetensors file: its first 8 bytes give a header of {} bytes, expected 2 to {}. {}", file,
         length, kLongestHeader, foreign_file_hint(bytes));
  }
  if (length > bytes.size() - sizeof length) {
    fail("{}: its header should have {} bytes, {} are left in the file. {}", file, length, bytes.size() - sizeof length,
         foreign_file_hint(bytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof length, length);
  const Json header = parse_json(text, file + ": header");
  if (!header.is_object()) fail("{}: its header should be a JSON object; the file is damaged, fetch it again", file);

  const std::span<const std::byte> data = bytes.subspan(sizeof length + length);
  std::vector<ByteRange> ranges;
  for (auto item = header.begin(); item != header.end(); ++item) {
    if (item.key() == kMetadata) {
      shard.metadata = read_metadata(*item, file);
      continue;
    }
    ByteRange range;
    shard.tensors.push_back(read_entry(item.key(), *item, data, file, range));
    range.name = item.key();
    ranges.push_back(range);
  }
  check_cover(ranges, data.size(), file);
  return shard;
}

// Tensor name -> shard's file name, from an index file.
std::map<std::string, std::string> read_weight_map(const std::filesystem::path& path) {
  const std::string file = path.string();
  const Json index = read_json_file(path);
  const auto found = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || found == index.end() || !found->is_object() || found->empty()) {
    fail("{}: should be an object whose \"weight_map\" gives each tensor its shard; correct it or fetch it again",
         file);
  }
  std::map<std::string, std::string> map;
  for (auto item = found->begin(); item != found->end(); ++item) {
    const std::string shard = item->is_string() ? item->get<std::string>() : "";
    if (shard.empty() || shard == "." || shard == ".." ||
        shard.find_first_of(std::string_view("/\\\0", 3)) != shard.npos) {
      fail(
          "{}: the shard of tensor \"{}\" should be the name of a file beside it, found {}; correct it or fetch it "
          "again",
          file, printable(item.key()), item->is_string() ? fmt::format("\"{}\"", printable(shard)) : "no string");
    }
    map.emplace(item.key(), shard);
  }
  return map;
}

SafetensorsFile read_sharded(const std::filesystem::path& path) {
  const auto map = read_weight_map(path);
  std::set<std::string> names;
  for (const auto& [tensor, shard] : map) names.insert(shard);

  SafetensorsFile result;
  for (const std::string& name : names) {
    const std::filesystem::path shard_path = path.parent_path() / name;
    if (!std::filesystem::exists(shard_path)) {
      fail("{}: is missing; {} names it as a shard, fetch it", shard_path.string(), path.string());
    }
    Shard shard = read_shard(shard_path);
    for (TensorInfo& tensor : shard.tensors) {
      const auto place = map.find(tensor.name);
      if (place == map.end() || place->second != name) {
        fail("{}: has the tensor \"{}\", which {} {}; index and shards do not belong together, fetch them again",
             shard_path.string(), printable(tensor.name), path.string(),
             place == map.end() ? "does not list" : fmt::format("places in {}", printable(place->second)));
      }
      result.tensors.add(std::move(tensor));
    }
    if (result.parts.empty()) result.metadata = std::move(shard.metadata);
    result.tensors.keep(std::move(shard.file));
    result.parts.push_back(shard_path);
  }
  for (const auto& [tensor, shard] : map) {
    if (!result.tensors.find(tensor)) {
      fail(
          "{}: has no tensor \"{}\", though {} places it there; index and shards do not belong together, fetch them "
          "again",
          (path.parent_path() / shard).string(), printable(tensor), path.string());
    }
  }
  return result;
}

}  // namespace

SafetensorsFile read_safetensors(const std::filesystem::path& path) {
  if (path.filename().string().ends_with(kIndexSuffix)) return read_sharded(path);
  Shard shard = read_shard(path);
  SafetensorsFile result;
  for (TensorInfo& tensor : shard.tensors) result.tensors.add(std::move(tensor));
  result.tensors.keep(std::move(shard.file));
  result.metadata = std::move(shard.metadata);
  result.parts.push_back(path);
  return result;
}

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<TensorPlan> plan;
  for (const TensorToWrite& tensor : tensors) plan.push_back({tensor.name, tensor.shape, tensor.dtype});
  SafetensorsWriter writer(path, std::move(plan), metadata);
  for (const TensorToWrite& tensor : tensors) writer.write(tensor.name, tensor.bytes);
  writer.finish();
}

}  // namespace spikescope
