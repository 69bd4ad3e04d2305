// Writes a sound input or a few for each fuzz target: seeds FOLDER makes FOLDER/gguf, FOLDER/safetensors, ...
#include <cstdio>
#include <filesystem>

#include "families/checkpoint.h"
#include "io/gguf_builder.h"
#include "io/output_file.h"
#include "io/quantized_tensor.h"
#include "planted_model.h"
#include "quant/calibrate.h"
#include "quant/template_file.h"
#include "text/small_tokenizers.h"

using namespace spikescope;
namespace fs = std::filesystem;

namespace {

/// What the target `quantized` reads: a model's quantization_config in a line, and its tensors.
std::string golden_quantized() {
  const fs::path model = fs::path(SPIKESCOPE_SOURCE_DIR) / "tests/golden_quantized/compressed_tensors";
  return read_json_file(model / "config.json").at("quantization_config").dump() + "\n" +
         read_file(model / "model.safetensors");
}

/// The same of two small matrices: 4 bits in groups with zero points, packed, and 8 bits a row.
std::string small_quantized(const fs::path& scratch) {
  const auto group = [](const char* target, const char* format, int bits, const char* strategy, int size) {
    return Json{{"targets", {target}},
                {"format", format},
                {"weights",
                 {{"num_bits", bits},
                  {"type", "int"},
                  {"strategy", strategy},
                  {"group_size", size},
                  {"symmetric", size == 0}}}};
  };
  const Json config = {{"quant_method", "compressed-tensors"},
                       {"quantization_status", "compressed"},
                       {"format", "mixed-precision"},
                       {"config_groups",
                        {{"group_0", group("re:.*a", "pack-quantized", 4, "group", 8)},
                         {"group_1", group("re:.*b", "int-quantized", 8, "channel", 0)}}}};
  const std::vector<uint32_t> words(8, 0x76543210), zeros(2, 0x77);
  const std::vector<int64_t> shape = {4, 16};
  const std::vector<float> scales(8, 0.5f), row_scales(4, 0.25f);
  const std::vector<int8_t> bytes(64, -3);
  const auto of = [](const auto& values) { return std::as_bytes(std::span(values)); };
  write_safetensors(scratch, {{"a.weight_packed", {4, 2}, "I32", of(words)},
                              {"a.weight_scale", {4, 2}, "F32", of(scales)},
                              {"a.weight_zero_point", {1, 2}, "I32", of(zeros)},
                              {"a.weight_shape", {2}, "I64", of(shape)},
                              {"b.weight", {4, 16}, "I8", of(bytes)},
                              {"b.weight_scale", {4, 1}, "F32", of(row_scales)}});
  return config.dump() + "\n" + read_file(scratch);
}

/// Templates of the model that the target `templates` makes quantizers of.
std::string small_templates(const fs::path& scratch) {
  testing::write_planted_model(scratch, 1.0f);
  const auto checkpoint = Checkpoint::open(scratch);
  TokenBatch batch;
  for (int64_t i = 0; i < 96; ++i) {
    if (i % 32 == 0) batch.offsets.push_back(i);
    batch.ids.push_back(i % 32 == 0 ? testing::kSpikeToken : 2 + i * 7 % 62);
  }
  batch.offsets.push_back(96);
  CalibrationInfo info;
  info.model_sha256 = checkpoint->sha256();
  write_templates(calibrate(checkpoint->weights(), batch, info, {.rotation = RotationKind::hadamard},
                            [](double, const std::string&) {}),
                  scratch / "templates.safetensors");
  return read_file(scratch / "templates.safetensors");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: seeds FOLDER\n");
    return 2;
  }
  const fs::path folder = argv[1];
  testing::write_tiny_model(folder / "tiny");
  const auto seed = [&](const char* target, const char* name, const std::string& bytes) {
    write_file(folder / target / name, bytes);
  };
  seed("safetensors", "tiny", read_file(folder / "tiny/model.safetensors"));
  seed("tokenizer", "tiny", testing::tiny_tokenizer().dump());
  seed("tokenizer", "word_piece", testing::small_word_piece().dump());
  seed("tokenizer", "unigram", testing::small_unigram().dump());
  seed("tokenizer", "precompiled", testing::small_precompiled().dump());
  seed("checkpoint", "config", '\0' + testing::tiny_config().dump());
  for (const auto& entry : fs::directory_iterator(fs::path(SPIKESCOPE_SOURCE_DIR) / "tests/golden"))
    for (const std::string file : {"config", "config_legacy"}) {
      if (!fs::exists(entry.path() / (file + ".json"))) continue;  // some models have one config only
      const std::string name = entry.path().filename().string() + "_" + file;
      seed("checkpoint", name.c_str(), '\0' + read_file(entry.path() / (file + ".json")));
    }
  // Its quantized tensors are not the tiny model's: joining them is another target's.
  seed("checkpoint", "quantized",
       '\0' + read_file(fs::path(SPIKESCOPE_SOURCE_DIR) / "tests/golden_quantized/compressed_tensors/config.json"));
  seed("checkpoint", "index",
       "\1{\"metadata\":{},\"weight_map\":{\"model.norm.weight\":\"model.safetensors\",\"a\":\"../b\"}}");
  seed("checkpoint", "tokenizer", "\2{\"add_bos_token\":true,\"bos_token\":\"<s>\"}");
  seed("prompts", "lines", "one\ntwo\n");
  seed("prompts", "jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
  seed("prompts", "ids", "[[1, 2, 3], [4]]");
  testing::GgufBuilder gguf;
  gguf.add("general.architecture", "llama")
      .add("general.alignment", uint32_t{32})
      .add("llama.block_count", uint32_t{1});
  gguf.add("tokenizer.ggml.model", "gpt2").add("tokenizer.ggml.pre", "smollm");
  gguf.add_array<std::string>("tokenizer.ggml.tokens", {"H", "e", "l", "o", "He", "<s>"});
  gguf.add_array<std::string>("tokenizer.ggml.merges", {"H e"});
  gguf.add_array<int32_t>("tokenizer.ggml.token_type", {1, 1, 1, 1, 1, 3});
  gguf.tensor("a.weight", {2, 32}, 2, std::string(36, '\1')).tensor("b.weight", {4}, 0, std::string(16, '\0'));
  seed("gguf", "small", gguf.bytes());
  testing::GgufBuilder t5;
  t5.add("tokenizer.ggml.model", "t5").add("tokenizer.ggml.eos_token_id", uint32_t{1});
  t5.add_array<std::string>("tokenizer.ggml.tokens", {"<unk>", "</s>", "▁", "H", "e", "llo", "▁w"});
  t5.add_array<int32_t>("tokenizer.ggml.token_type", {2, 3, 1, 1, 1, 1, 1});
  t5.add_array<float>("tokenizer.ggml.scores", {0, 0, -1, -2, -3, -4, -5});
  const std::string map = testing::charsmap_bytes({{"ö", "e"}, {"\n", " "}});
  t5.add_array<uint8_t>("tokenizer.ggml.precompiled_charsmap", {map.begin(), map.end()});
  seed("gguf", "t5", t5.bytes());
  testing::GgufBuilder bert;
  bert.add("tokenizer.ggml.model", "bert");
  bert.add_array<std::string>("tokenizer.ggml.tokens", {"[UNK]", "[CLS]", "[SEP]", "▁hell", "o", "▁,"});
  seed("gguf", "bert", bert.bytes());
  seed("quantized", "golden", golden_quantized());
  seed("quantized", "small", small_quantized(folder / "tiny/quantized.safetensors"));
  seed("templates", "planted", small_templates(folder / "tiny/planted"));
  fs::remove_all(folder / "tiny");
  return 0;
}
