// The format: docs/gguf.md of ggml. Everything is little-endian:
//   "GGUF", u32 version, u64 tensors, u64 pairs
//   pairs:    string key, u32 type, value
//   tensors:  string name, u32 dimensions, u64 each (innermost first), u32 type, u64 offset from the start of the data
//   padding to the alignment (general.alignment, 32 by default), data
// A string is a u64 length and its bytes; an array is a u32 type of elements, a u64 count and the elements.
#include "io/gguf_header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_set>

#include "base/fail.h"
#include "io/printable.h"
#include "io/tensor_layout.h"

namespace spikescope {
namespace {

// Real checkpoints have tens of pairs, under 10^5 tensors and under 10^7 array elements. The bounds keep what a hostile
// file makes us allocate within a small multiple of its own size.
constexpr uint64_t kMostPairs = uint64_t{1} << 16;
constexpr uint64_t kMostTensors = uint64_t{1} << 20;
constexpr uint64_t kMostElements = uint64_t{1} << 24;
constexpr int kDeepestArray = 4;
constexpr uint32_t kMostDimensions = 4;
constexpr uint64_t kLargestAlignment = uint64_t{1} << 20;

constexpr uint64_t kSmallestPair = 8 + 1 + 4 + 1;
constexpr uint64_t kSmallestTensor = 8 + 1 + 4 + 4 + 8;

// Reads the header from front to back; every read is checked against what is left.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return bytes_.size() - position_; }
  const std::string& file() const { return file_; }

  template <class T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof value, what), sizeof value);
    return value;
  }

  std::string_view string(std::string_view what) {
    const auto length = number<uint64_t>(what);
    if (length > left()) {
      fail(
          "{}: {} at byte {} claims {} bytes, {} are left in the file; the file is damaged or incomplete, fetch it "
          "again",
          file_, what, position_, length, left());
    }
    return {reinterpret_cast<const char*>(take(length, what)), length};
  }

  // Fails where `count` things of at least `smallest` bytes cannot all be there.
  void require_room(uint64_t count, uint64_t smallest, uint64_t most, std::string_view what) const {
    if (count > left() / smallest) {
      fail(
          "{}: claims {} {} at byte {}, but only {} bytes are left in the file; the file is damaged or incomplete, "
          "fetch it again",
          file_, count, what, position_, left());
    }
    if (count > most) {
      fail("{}: has {} {}, more than the {} that this program reads; no checkpoint needs so many, check the file",
           file_, count, what, most);
    }
  }

 private:
  const std::byte* take(uint64_t count, std::string_view what) {
    if (count > left()) {
      fail("{}: ends at byte {} within {}; the file is incomplete, fetch it again", file_, bytes_.size(), what);
    }
    const std::byte* data = bytes_.data() + position_;
    position_ += count;
    return data;
  }

  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
  const std::string& file_;
};

// Reads the value of one key.
class ValueReader {
 public:
  explicit ValueReader(Cursor& cursor) : cursor_(cursor) {}

  Json read(const std::string& key) {
    what_ = fmt::format("the value of \"{}\"", printable(key));
    return value(kind_of(cursor_.number<uint32_t>(what_)), 0);
  }

 private:
  // A row for each type number of a value.
  struct Kind {
    uint64_t smallest;  // bytes that a value takes at least
    Json (ValueReader::*read)(int depth);
  };

  const Kind& kind_of(uint32_t type) const {
    static constexpr Kind kKinds[] = {
        {1, &ValueReader::plain<uint8_t>}, {1, &ValueReader::plain<int8_t>},   {2, &ValueReader::plain<uint16_t>},
        {2, &ValueReader::plain<int16_t>}, {4, &ValueReader::plain<uint32_t>}, {4, &ValueReader::plain<int32_t>},
        {4, &ValueReader::plain<float>},   {1, &ValueReader::boolean},         {8, &ValueReader::text},
        {12, &ValueReader::array},         {8, &ValueReader::plain<uint64_t>}, {8, &ValueReader::plain<int64_t>},
        {8, &ValueReader::plain<double>},
    };
    if (type >= std::size(kKinds)) {
      fail("{}: {} has type {} at byte {}, expected 0 to {}; the file is damaged or newer than this program",
           cursor_.file(), what_, type, cursor_.position() - 4, std::size(kKinds) - 1);
    }
    return kKinds[type];
  }

  Json value(const Kind& kind, int depth) { return (this->*kind.read)(depth); }

  template <class T>
  Json plain(int) {
    return cursor_.number<T>(what_);
  }

  Json boolean(int) {
    const auto byte = cursor_.number<uint8_t>(what_);
    if (byte > 1) {
      fail("{}: {} is a truth value of {} at byte {}, expected 0 or 1; the file is damaged, fetch it again",
           cursor_.file(), what_, byte, cursor_.position() - 1);
    }
    return byte == 1;
  }

  Json text(int) { return cursor_.string(what_); }

  Json array(int depth) {
    if (depth == kDeepestArray) {
      fail("{}: {} has arrays nested deeper than {} at byte {}; no checkpoint needs that, check the file",
           cursor_.file(), what_, kDeepestArray, cursor_.position());
    }
    const Kind& kind = kind_of(cursor_.number<uint32_t>(what_));
    const auto count = cursor_.number<uint64_t>(what_);
    cursor_.require_room(count, kind.smallest, kMostElements, "array elements");
    if (count > kMostElements - elements_) {
      fail("{}: {} brings the metadata to more than {} array elements; no checkpoint needs so many, check the file",
           cursor_.file(), what_, kMostElements);
    }
    elements_ += count;
    Json result = Json::array();
    auto& values = result.get_ref<Json::array_t&>();
    values.reserve(count);
    for (uint64_t i = 0; i < count; ++i) values.push_back(value(kind, depth + 1));
    return result;
  }

  Cursor& cursor_;
  std::string what_;
  uint64_t elements_ = 0;  // of all arrays so far
};

uint64_t alignment_of(const Json& metadata, const std::string& file) {
  const int64_t alignment = json_get_or<int64_t>(metadata, "general.alignment", 32, file);
  if (alignment <= 0 || !std::has_single_bit(static_cast<uint64_t>(alignment)) ||
      static_cast<uint64_t>(alignment) > kLargestAlignment) {
    fail("{}: general.alignment is {}, expected a power of two up to {}; the file is damaged, fetch it again", file,
         alignment, kLargestAlignment);
  }
  return static_cast<uint64_t>(alignment);
}

void read_pairs(Cursor& cursor, uint64_t count, Json& metadata) {
  ValueReader reader(cursor);
  // Not looked up in the object itself: that takes time linear in its size.
  std::unordered_set<std::string> seen;
  auto& pairs = metadata.get_ref<Json::object_t&>();
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t at = cursor.position();
    std::string key(cursor.string(fmt::format("the key of metadata pair {}", i)));
    if (key.empty()) {
      fail("{}: the key of metadata pair {} at byte {} is empty; the file is damaged, fetch it again", cursor.file(), i,
           at);
    }
    if (!seen.insert(key).second) {
      fail("{}: the key \"{}\" occurs twice, again at byte {}; the file is damaged, fetch or convert it again",
           cursor.file(), printable(key), at);
    }
    Json value = reader.read(key);
    pairs.emplace_back(std::move(key), std::move(value));
  }
}

// A tensor as the header describes it; its bytes are set once the start of the data is known.
struct Entry {
  TensorInfo info;
  uint64_t offset = 0, bytes = 0;
};

Entry read_entry(Cursor& cursor, uint64_t index) {
  const std::string& file = cursor.file();
  Entry entry;
  TensorInfo& info = entry.info;
  info.name = cursor.string(fmt::format("the name of tensor {}", index));
  info.file = file;
  if (info.name.empty()) {
    fail("{}: the name of tensor {} before byte {} is empty; the file is damaged, fetch it again", file, index,
         cursor.position());
  }
  const std::string what = fmt::format("the entry of tensor \"{}\"", printable(info.name));

  const auto dimensions = cursor.number<uint32_t>(what);
  if (dimensions > kMostDimensions) {
    fail("{}: {} has {} dimensions at byte {}, expected at most {}; the file is damaged, fetch it again", file, what,
         dimensions, cursor.position() - 4, kMostDimensions);
  }
  for (uint32_t d = 0; d < dimensions; ++d) {
    const auto size = cursor.number<uint64_t>(what);
    if (size == 0 || size > static_cast<uint64_t>(INT64_MAX)) {
      fail("{}: {} has a dimension of {} at byte {}, expected 1 or more; the file is damaged, fetch it again", file,
           what, size, cursor.position() - 8);
    }
    info.shape.push_back(static_cast<int64_t>(size));
  }
  std::reverse(info.shape.begin(), info.shape.end());

  const auto type = cursor.number<uint32_t>(what);
  info.format = type > INT32_MAX ? nullptr : find_gguf_format(static_cast<int>(type));
  if (!info.format) {
    fail(
        "{}: {} has the unknown type {} at byte {}; the file is damaged or newer than this program, use one with types "
        "among {}",
        file, what, type, cursor.position() - 4, readable_formats());
  }
  const int64_t row = info.shape.empty() ? 1 : info.shape.back();
  if (row % info.format->block_values != 0) {
    fail(
        "{}: {} has rows of {} values, which are not whole {} blocks of {}; the file is damaged, fetch or convert it "
        "again",
        file, what, row, info.format->name, info.format->block_values);
  }
  const auto bytes = checked_bytes(info.shape, *info.format);
  if (!bytes)
    fail("{}: {} has the shape {}, larger than any file; the file is damaged, fetch it again", file, what,
         shape_text(info.shape));
  entry.bytes = static_cast<uint64_t>(*bytes);
  entry.offset = cursor.number<uint64_t>(what);
  return entry;
}

// Gives the entries their bytes, from the start of the data on.
void place(std::vector<Entry>& entries, std::span<const std::byte> bytes, uint64_t data_start, uint64_t alignment,
           const std::string& file) {
  std::vector<ByteRange> ranges;
  ranges.reserve(entries.size());
  for (Entry& entry : entries) {
    const std::string name = printable(entry.info.name);
    if (entry.offset % alignment != 0) {
      fail(
          "{}: tensor \"{}\" has the offset {}, which is no multiple of the alignment {}; the file is damaged, fetch "
          "it again",
          file, name, entry.offset, alignment);
    }
    const uint64_t room = bytes.size() > data_start ? bytes.size() - data_start : 0;
    if (entry.offset > room || entry.bytes > room - entry.offset) {
      fail(
          "{}: tensor \"{}\" ({} {}) needs {} bytes at offset {} of the data, which begins at byte {}, but the file "
          "has {} bytes; the file is incomplete, fetch it again",
          file, name, entry.info.format->name, shape_text(entry.info.shape), entry.bytes, entry.offset, data_start,
          bytes.size());
    }
    entry.info.bytes = bytes.subspan(data_start + entry.offset, entry.bytes);
    ranges.push_back({data_start + entry.offset, data_start + entry.offset + entry.bytes, entry.info.name});
  }
  check_no_overlap(ranges, file);
}

}  // namespace

GgufHeader parse_gguf_header(std::span<const std::byte> bytes, const std::string& file) {
  Cursor cursor(bytes, file);
  if (bytes.size() < 4 || std::memcmp(bytes.data(), "GGUF", 4) != 0) {
    fail("{}: is not a GGUF file: it does not begin with \"GGUF\". {}", file, foreign_file_hint(bytes));
  }
  cursor.number<uint32_t>("the magic");
  const auto version = cursor.number<uint32_t>("the version");
  if (version != 0 && (version & 0xffff) == 0) {
    fail(
        "{}: is a big-endian GGUF file, only little-endian ones can be read; convert it with llama.cpp's "
        "gguf_convert_endian.py",
        file);
  }
  if (version != 2 && version != 3) {
    fail("{}: has GGUF version {}, expected 2 or 3; convert the original checkpoint with a current llama.cpp", file,
         version);
  }

  GgufHeader header;
  header.version = static_cast<int>(version);
  const auto tensors = cursor.number<uint64_t>("the number of tensors");
  const auto pairs = cursor.number<uint64_t>("the number of metadata pairs");
  cursor.require_room(pairs, kSmallestPair, kMostPairs, "metadata pairs");
  cursor.require_room(tensors, kSmallestTensor, kMostTensors, "tensors");
  read_pairs(cursor, pairs, header.metadata);

  cursor.require_room(tensors, kSmallestTensor, kMostTensors, "tensors");
  std::vector<Entry> entries;
  for (uint64_t i = 0; i < tensors; ++i) entries.push_back(read_entry(cursor, i));
  const uint64_t alignment = alignment_of(header.metadata, file);
  place(entries, bytes, (cursor.position() + alignment - 1) / alignment * alignment, alignment, file);
  for (Entry& entry : entries) header.tensors.push_back(std::move(entry.info));
  return header;
}

}  // namespace spikescope
