// GGUF files made in code, whole or broken on purpose, and a complete small llama for tests that need a model.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace spikescope::testing {

/// The bytes of a plain value.
template <class T>
std::string bytes_of(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

/// float16 bits of a value that float16 holds exactly and that is zero or normal there.
inline uint16_t half_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffff) == 0) return static_cast<uint16_t>(bits >> 16);
  return static_cast<uint16_t>((bits >> 16 & 0x8000) | (((bits & 0x7fffffff) - 0x38000000) >> 13));
}

class GgufBuilder {
 public:
  // Set before bytes() to break a file.
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::optional<uint64_t> claimed_pairs, claimed_tensors;
  uint64_t alignment = 32;  ///< used for padding; add("general.alignment", uint32_t) writes the key

  /// A metadata pair. T: the number types of GGUF, bool, const char* or std::string.
  template <class T>
  GgufBuilder& add(std::string_view key, const T& value) {
    return add_raw(key, type_of<T>(), value_bytes(value));
  }
  /// An array of the same types.
  template <class T>
  GgufBuilder& add_array(std::string_view key, const std::vector<T>& values) {
    return add_raw(key, 9, array_bytes(values));
  }
  /// A pair with any type number and bytes.
  GgufBuilder& add_raw(std::string_view key, uint32_t type, std::string_view value) {
    pairs_ += string_bytes(key) + bytes_of(type);
    pairs_ += value;
    ++pair_count_;
    return *this;
  }

  /// A tensor; `shape` is outermost first, as elsewhere in the project, and `type` ggml's number. With `offset` it
  /// claims to lie there.
  GgufBuilder& tensor(std::string_view name, std::vector<uint64_t> shape, uint32_t type, std::string_view bytes,
                      std::optional<uint64_t> offset = std::nullopt) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment, '\0');
    tensors_ += string_bytes(name) + bytes_of(static_cast<uint32_t>(shape.size()));
    for (auto dimension = shape.rbegin(); dimension != shape.rend(); ++dimension) tensors_ += bytes_of(*dimension);
    tensors_ += bytes_of(type) + bytes_of(offset.value_or(data_.size()));
    data_ += bytes;
    ++tensor_count_;
    return *this;
  }
  GgufBuilder& tensor_f32(std::string_view name, std::vector<uint64_t> shape, const std::vector<float>& values) {
    return tensor(name, std::move(shape), 0, {reinterpret_cast<const char*>(values.data()), values.size() * 4});
  }
  /// The values must be exact in float16 (see half_bits).
  GgufBuilder& tensor_f16(std::string_view name, std::vector<uint64_t> shape, const std::vector<float>& values) {
    std::string bytes;
    for (const float value : values) bytes += bytes_of(half_bits(value));
    return tensor(name, std::move(shape), 1, bytes);
  }

  std::string bytes() const {
    std::string file = magic + bytes_of(version) + bytes_of(claimed_tensors.value_or(tensor_count_)) +
                       bytes_of(claimed_pairs.value_or(pair_count_)) + pairs_ + tensors_;
    if (!data_.empty()) file.resize((file.size() + alignment - 1) / alignment * alignment, '\0');
    return file + data_;
  }
  void write(const std::filesystem::path& path) const {
    std::ofstream file(path, std::ios::binary);
    const std::string content = bytes();
    file.write(content.data(), static_cast<std::streamsize>(content.size()));
  }

  static std::string string_bytes(std::string_view text) {
    return bytes_of(static_cast<uint64_t>(text.size())) + std::string(text);
  }
  /// An array's bytes without the type number 9 before it.
  template <class T>
  static std::string array_bytes(const std::vector<T>& values) {
    std::string bytes = bytes_of(type_of<T>()) + bytes_of(static_cast<uint64_t>(values.size()));
    for (const T& value : values) bytes += value_bytes(value);
    return bytes;
  }

 private:
  template <class T>
  static constexpr uint32_t type_of() {
    if constexpr (std::is_same_v<T, uint8_t>) return 0;
    if constexpr (std::is_same_v<T, int8_t>) return 1;
    if constexpr (std::is_same_v<T, uint16_t>) return 2;
    if constexpr (std::is_same_v<T, int16_t>) return 3;
    if constexpr (std::is_same_v<T, uint32_t>) return 4;
    if constexpr (std::is_same_v<T, int32_t>) return 5;
    if constexpr (std::is_same_v<T, float>) return 6;
    if constexpr (std::is_same_v<T, bool>) return 7;
    if constexpr (std::is_convertible_v<T, std::string_view>) return 8;
    if constexpr (std::is_same_v<T, uint64_t>) return 10;
    if constexpr (std::is_same_v<T, int64_t>) return 11;
    if constexpr (std::is_same_v<T, double>) return 12;
  }
  template <class T>
  static std::string value_bytes(const T& value) {
    if constexpr (std::is_convertible_v<T, std::string_view>) {
      return string_bytes(value);
    } else {
      return bytes_of(value);
    }
  }

  std::string pairs_, tensors_, data_;
  uint64_t pair_count_ = 0, tensor_count_ = 0;
};

/// What small_llama() makes: a random model that is complete for every reader of GGUF llamas.
struct SmallLlama {
  uint64_t layers = 2, d = 32, heads = 4, kv_heads = 2, width = 48, context = 64;
  bool tied = false;      ///< no output.weight
  bool half = true;       ///< matrices in F16, else F32; vectors are F32 always
  bool tokenizer = true;  ///< byte-level BPE: 256 bytes, 4 merges, <|endoftext|>
  uint64_t seed = 1;
};

constexpr uint64_t kSmallLlamaVocabulary = 261;

/// GPT-2's spelling of the 256 bytes as characters, in the order of its vocabulary.
inline std::vector<std::string> byte_pieces() {
  std::vector<int> printable, rest;
  for (int byte = 0; byte < 256; ++byte) {
    const bool shown = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    (shown ? printable : rest).push_back(byte);
  }
  std::vector<std::string> pieces;
  const auto add = [&](int code) {
    pieces.push_back(code < 0x80
                         ? std::string(1, static_cast<char>(code))
                         : std::string{static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 63))});
  };
  for (const int byte : printable) add(byte);
  for (size_t i = 0; i < rest.size(); ++i) add(256 + static_cast<int>(i));
  return pieces;
}

inline GgufBuilder small_llama(const SmallLlama& model = {}) {
  GgufBuilder file;
  const auto u32 = [&](std::string_view key, uint64_t value) { file.add(key, static_cast<uint32_t>(value)); };
  const uint64_t head_dim = model.d / model.heads, kv = model.kv_heads * head_dim;
  file.add("general.architecture", "llama");
  file.add("general.name", "small llama");
  u32("general.file_type", model.half ? 1 : 0);
  u32("llama.vocab_size", kSmallLlamaVocabulary);
  u32("llama.context_length", model.context);
  u32("llama.embedding_length", model.d);
  u32("llama.block_count", model.layers);
  u32("llama.feed_forward_length", model.width);
  u32("llama.attention.head_count", model.heads);
  u32("llama.attention.head_count_kv", model.kv_heads);
  u32("llama.rope.dimension_count", head_dim);
  file.add("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  file.add("llama.rope.freq_base", 10000.0f);
  if (model.tokenizer) {
    std::vector<std::string> tokens = byte_pieces();
    for (const char* piece : {"he", "ll", "Ġt", "Ġthe", "<|endoftext|>"}) tokens.push_back(piece);
    std::vector<int32_t> types(tokens.size(), 1);  // normal
    types.back() = 3;                              // control
    file.add("tokenizer.ggml.model", "gpt2");
    file.add("tokenizer.ggml.pre", "gpt-2");
    file.add_array("tokenizer.ggml.tokens", tokens);
    file.add_array("tokenizer.ggml.token_type", types);
    file.add_array("tokenizer.ggml.merges", std::vector<std::string>{"h e", "l l", "Ġ t", "Ġt he"});
    u32("tokenizer.ggml.bos_token_id", tokens.size() - 1);
    u32("tokenizer.ggml.eos_token_id", tokens.size() - 1);
    file.add("tokenizer.ggml.add_bos_token", false);
  }

  uint64_t state = model.seed;
  // Multiples of 2^-9 up to 0.12, so that F16 holds them exactly.
  const auto random = [&] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<float>(static_cast<int>(state >> 33 & 127) - 64) / 512.0f;
  };
  const auto matrix = [&](const std::string& name, uint64_t rows, uint64_t columns) {
    std::vector<float> values(rows * columns);
    for (float& value : values) value = random();
    model.half ? file.tensor_f16(name, {rows, columns}, values) : file.tensor_f32(name, {rows, columns}, values);
  };
  const auto gain = [&](const std::string& name) {
    std::vector<float> values(model.d);
    for (float& value : values) value = 1 + random();
    file.tensor_f32(name, {model.d}, values);
  };
  matrix("token_embd.weight", kSmallLlamaVocabulary, model.d);
  for (uint64_t layer = 0; layer < model.layers; ++layer) {
    const std::string block = "blk." + std::to_string(layer) + '.';
    gain(block + "attn_norm.weight");
    matrix(block + "attn_q.weight", model.d, model.d);
    matrix(block + "attn_k.weight", kv, model.d);
    matrix(block + "attn_v.weight", kv, model.d);
    matrix(block + "attn_output.weight", model.d, model.d);
    gain(block + "ffn_norm.weight");
    matrix(block + "ffn_gate.weight", model.width, model.d);
    matrix(block + "ffn_up.weight", model.width, model.d);
    matrix(block + "ffn_down.weight", model.d, model.width);
  }
  gain("output_norm.weight");
  if (!model.tied) matrix("output.weight", kSmallLlamaVocabulary, model.d);
  return file;
}

}  // namespace spikescope::testing
