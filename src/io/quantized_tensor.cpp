#include "io/quantized_tensor.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/fail.h"
#include "io/printable.h"
#include "io/tensor_layout.h"

namespace spikescope {
namespace {

using Scope = WeightFormat::Scope;
constexpr int kWordBits = 32;
constexpr std::array<std::string_view, 3> kScopes = {"tensor", "channel", "group"};

uint32_t load_word(const std::byte* words, int64_t index) {
  uint32_t word;
  std::memcpy(&word, words + index * static_cast<int64_t>(sizeof word), sizeof word);
  return word;
}

/// Of two words, the value that begins at bit `shift` of the first.
int value_at(uint32_t word, uint32_t next, int64_t shift, int bits) {
  const uint64_t both = word | static_cast<uint64_t>(next) << kWordBits;
  return static_cast<int>((both >> shift) & ((1u << bits) - 1)) - (1 << (bits - 1));
}

/// Values one right after the other.
void unpack_dense(const std::byte* words, int64_t first, int64_t count, int bits, int8_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t bit = (first + i) * bits, word = bit / kWordBits, shift = bit % kWordBits;
    const uint32_t next = shift + bits > kWordBits ? load_word(words, word + 1) : 0;
    out[i] = static_cast<int8_t>(value_at(load_word(words, word), next, shift, bits));
  }
}

/// Values whose lanes do not cross words, by the word.
void unpack_words(const std::byte* words, int64_t first, int64_t count, int bits, int lanes, int8_t* out) {
  const uint32_t mask = (1u << bits) - 1;
  const int offset = 1 << (bits - 1);
  for (int64_t i = 0; i < count;) {
    const int64_t in_word = (first + i) % lanes, here = std::min<int64_t>(lanes - in_word, count - i);
    uint32_t word = load_word(words, (first + i) / lanes) >> (in_word * bits);
    for (int64_t j = 0; j < here; ++j, word >>= bits)
      out[i + j] = static_cast<int8_t>(static_cast<int>(word & mask) - offset);
    i += here;
  }
}

[[noreturn]] void fail_shape(const TensorInfo& part, const std::string& expected, const WeightFormat& format,
                             std::span<const int64_t> shape) {
  fail(
      "{}: tensor \"{}\" is {} {}, expected {} for a matrix {} quantized with {}; the checkpoint is damaged, or its "
      "quantization_config is another's",
      part.file, printable(part.name), part.format->name, shape_text(part.shape), expected, shape_text(shape),
      format.text());
}

/// Shapes alike but for dimensions of 1.
bool same_shape(std::vector<int64_t> a, std::vector<int64_t> b) {
  std::erase(a, 1);
  std::erase(b, 1);
  return a == b;
}

bool zero_points_packed(const WeightFormat& format) { return format.packed && format.scope != Scope::tensor; }

}  // namespace

std::string_view scope_name(Scope scope) { return kScopes[static_cast<size_t>(scope)]; }

std::optional<Scope> find_scope(std::string_view name) {
  const auto found = std::find(kScopes.begin(), kScopes.end(), name);
  if (found == kScopes.end()) return std::nullopt;
  return static_cast<Scope>(found - kScopes.begin());
}

std::string WeightFormat::text() const {
  const std::string of = scope == Scope::tensor    ? "one scale a tensor"
                         : scope == Scope::channel ? "one scale a row"
                                                   : fmt::format("groups of {}", group);
  return fmt::format("{} bits, {}, {}", bits, of, symmetric ? "symmetric" : "asymmetric");
}

int64_t packed_words(int64_t count, int bits) { return (count * bits + kWordBits - 1) / kWordBits; }

void pack_bits(std::span<const int8_t> values, int bits, uint32_t* words) {
  uint64_t waiting = 0;
  int filled = 0;
  for (const int8_t value : values) {
    waiting |= static_cast<uint64_t>(value + (1 << (bits - 1))) << filled;
    filled += bits;
    if (filled < kWordBits) continue;
    *words++ = static_cast<uint32_t>(waiting);
    waiting >>= kWordBits;
    filled -= kWordBits;
  }
  if (filled > 0) *words = static_cast<uint32_t>(waiting);
}

QuantizedValues::QuantizedValues(const std::string& name, const QuantizedParts& parts, const WeightFormat& format)
    : format_(format), parts_(parts) {
  const TensorInfo& values = parts.values;
  if (format.bits < 1 || format.bits > 8)
    fail("{}: tensor \"{}\" is quantized with {} bits; 1 to 8 can be read", values.file, printable(name), format.bits);
  if (parts.shape.size() != 2 || parts.shape[0] < 1 || parts.shape[1] < 1 ||
      !checked_bytes(parts.shape, *find_safetensors_format("F32")))
    fail("{}: tensor \"{}\" is quantized with the shape {}; only matrices can be read", values.file, printable(name),
         shape_text(parts.shape));
  rows_ = parts.shape[0];
  columns_ = parts.shape[1];
  if (format.scope == Scope::group && (format.group < 1 || columns_ % format.group != 0))
    fail("{}: tensor \"{}\" has {} columns, which groups of {} do not divide", values.file, printable(name), columns_,
         format.group);

  const auto expect = [&](const TensorInfo& part, std::string_view type, const std::vector<int64_t>& shape) {
    if (part.format->name != type || !same_shape(part.shape, shape))
      fail_shape(part, fmt::format("{} {}", type, shape_text(shape)), format, parts.shape);
  };
  if (format.packed) {
    // Older writers put no value across two words. Where both need as many words, the newer ones are believed.
    const int64_t dense = packed_words(columns_, format.bits), per_word = kWordBits / format.bits;
    const int64_t apart = (columns_ + per_word - 1) / per_word;
    const bool older = dense != apart && same_shape(values.shape, {rows_, apart});
    if (older || kWordBits % format.bits == 0) lanes_ = static_cast<int>(per_word);
    expect(values, "I32", {rows_, older ? apart : dense});
  } else {
    expect(values, "I8", {rows_, columns_});
  }
  const std::vector<int64_t> scales = {format.scale_rows(rows_), format.scales_a_row(columns_)};
  if (!parts.scales.format->dequantize || !same_shape(parts.scales.shape, scales))
    fail_shape(parts.scales, fmt::format("floats {}", shape_text(scales)), format, parts.shape);
  if (format.symmetric != !parts.zero_points)
    fail("{}: tensor \"{}\" is quantized with {}, but has {} zero points", values.file, printable(name), format.text(),
         format.symmetric ? "" : "no");
  if (parts.zero_points) {
    const TensorInfo& zeros = *parts.zero_points;
    // Older writers again, along rows.
    const int64_t per_word = kWordBits / format.bits, apart = (rows_ + per_word - 1) / per_word;
    if (zero_points_packed(format))
      expect(zeros, "I32", {lanes_ > 0 ? apart : packed_words(rows_, format.bits), scales[1]});
    else
      expect(zeros, "I8", scales);
  }

  name_ = fmt::format("INT{}", format.bits);
  // A product of the scale's mantissa and a whole number of so many bits.
  value_format_ = {name_,
                   -1,
                   "",
                   1,
                   1,
                   nullptr,
                   std::min(24, parts.scales.format->mantissa_bits + format.bits + (format.symmetric ? 0 : 1))};
}

int64_t QuantizedValues::stored_bytes() const {
  const size_t zeros = parts_.zero_points ? parts_.zero_points->bytes.size() : 0;
  return static_cast<int64_t>(parts_.values.bytes.size() + parts_.scales.bytes.size() + zeros);
}

int QuantizedValues::zero_point(int64_t row, int64_t group) const {
  if (!parts_.zero_points) return 0;
  const std::byte* zeros = parts_.zero_points->bytes.data();
  const int64_t groups = format_.scales_a_row(columns_);
  const int bits = format_.bits;
  if (!zero_points_packed(format_))
    return static_cast<int8_t>(zeros[format_.scope == Scope::tensor ? 0 : row * groups + group]);
  // Words go down the rows of a column: gather the one or two that hold this row's.
  const int64_t bit = lanes_ > 0 ? row / lanes_ * kWordBits + row % lanes_ * bits : row * bits;
  const int64_t word = bit / kWordBits, shift = bit % kWordBits;
  const uint32_t next = shift + bits > kWordBits ? load_word(zeros, (word + 1) * groups + group) : 0;
  return value_at(load_word(zeros, word * groups + group), next, shift, bits);
}

void QuantizedValues::read_integers(int64_t row, int64_t first, int64_t count, int8_t* out) const {
  const std::span<const std::byte> bytes = parts_.values.bytes;
  const std::byte* here = bytes.data() + static_cast<int64_t>(bytes.size()) / rows_ * row;
  if (!format_.packed) {
    std::memcpy(out, here + first, static_cast<size_t>(count));
  } else if (lanes_ > 0) {
    unpack_words(here, first, count, format_.bits, lanes_, out);
  } else {
    unpack_dense(here, first, count, format_.bits, out);
  }
}

void QuantizedValues::read_row(int64_t row, int64_t first, int64_t count, float* out) const {
  thread_local std::vector<int8_t> integers;
  thread_local std::vector<float> scales;
  integers.resize(static_cast<size_t>(count));
  read_integers(row, first, count, integers.data());
  const int64_t groups = format_.scales_a_row(columns_), width = columns_ / groups;
  const int64_t first_group = first / width, last_group = (first + count - 1) / width;
  scales.resize(static_cast<size_t>(last_group - first_group + 1));
  read_values(parts_.scales, (format_.scope == Scope::tensor ? 0 : row * groups) + first_group,
              last_group - first_group + 1, scales.data());
  for (int64_t group = first_group; group <= last_group; ++group) {
    const int64_t begin = std::max(first, group * width), end = std::min(first + count, (group + 1) * width);
    const float scale = scales[static_cast<size_t>(group - first_group)];
    const int zero = zero_point(row, group);
    const int8_t* q = integers.data() - first;
    float* to = out - first;
    for (int64_t i = begin; i < end; ++i) to[i] = static_cast<float>(q[i] - zero) * scale;
  }
}

void QuantizedValues::read(int64_t first, int64_t count, float* out) const {
  while (count > 0) {
    const int64_t column = first % columns_, here = std::min(columns_ - column, count);
    read_row(first / columns_, column, here, out);
    first += here;
    count -= here;
    out += here;
  }
}

TensorInfo quantized_tensor(const std::string& name, const QuantizedParts& parts, const WeightFormat& format) {
  auto values = std::make_shared<const QuantizedValues>(name, parts, format);
  TensorInfo tensor = {name, parts.shape, &values->value_format(), parts.values.bytes, parts.values.file};
  tensor.quantized = std::move(values);
  return tensor;
}

}  // namespace spikescope
