#include "io/tensor_layout.h"

#include <algorithm>
#include <tuple>

#include "base/fail.h"
#include "io/printable.h"

namespace spikescope {
namespace {

constexpr int64_t kMost = int64_t{1} << 62;

struct Signature {
  std::string_view start, hint;
};
constexpr Signature kForeign[] = {
    {"version https://git-lfs", "It is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"},
    {"GGUF", "It is a GGUF file: rename it to end in .gguf"},
    {"FUGG", "It is a big-endian GGUF file: convert it to little-endian"},
    {"tjgg", "It is a GGJT file, older than GGUF: convert the original checkpoint with a current llama.cpp"},
    {"lmgg", "It is a GGML file, older than GGUF: convert the original checkpoint with a current llama.cpp"},
    {"PK\x03\x04", "It is a zip archive or a PyTorch checkpoint: convert it to safetensors or GGUF"},
    {"\x80\x02", "It is a Python pickle (an old PyTorch checkpoint): convert it to safetensors or GGUF"},
    {"<!DOCTYPE", "It is a web page, perhaps an error of the download: fetch it again"},
    {"<html", "It is a web page, perhaps an error of the download: fetch it again"},
};

}  // namespace

std::optional<int64_t> checked_bytes(std::span<const int64_t> shape, const ValueFormat& format) {
  int64_t values = 1, padded = 1;
  for (const int64_t dimension : shape) {
    if (dimension < 0 || padded > kMost / std::max<int64_t>(dimension, 1)) return std::nullopt;
    padded *= std::max<int64_t>(dimension, 1);
    values *= dimension;
  }
  if (values % format.block_values != 0) return std::nullopt;
  const int64_t blocks = values / format.block_values;
  if (blocks > kMost / format.block_bytes) return std::nullopt;
  return blocks * format.block_bytes;
}

std::string shape_text(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

void check_no_overlap(std::vector<ByteRange>& ranges, std::string_view file) {
  const auto key = [](const ByteRange& range) { return std::tie(range.begin, range.end); };
  std::sort(ranges.begin(), ranges.end(), [&](const ByteRange& a, const ByteRange& b) { return key(a) < key(b); });
  for (size_t i = 1; i < ranges.size(); ++i) {
    const ByteRange &before = ranges[i - 1], &range = ranges[i];
    if (range.begin < before.end) {
      fail("{}: tensors \"{}\" and \"{}\" overlap at byte {}; the file is damaged, fetch or convert it again", file,
           printable(before.name), printable(range.name), range.begin);
    }
  }
}

std::string_view foreign_file_hint(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const Signature& row : kForeign) {
    if (text.starts_with(row.start)) return row.hint;
  }
  return "Check that it is the right file, or fetch it again";
}

}  // namespace spikescope
