// Writes a sound input or a few for each fuzz target: seeds FOLDER makes FOLDER/gguf, FOLDER/safetensors, ...
#include <cstdio>
#include <filesystem>

#include "io/gguf_builder.h"
#include "io/output_file.h"
#include "text/small_tokenizers.h"
#include "tiny_model.h"

using namespace spikescope;
namespace fs = std::filesystem;

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
  // Its quantized tensors are not the tiny model's, so joining them is left to the unit tests.
  seed("checkpoint", "quantized",
       '\0' + read_file(fs::path(SPIKESCOPE_SOURCE_DIR) / "tests/golden_quantized/compressed_tensors/config.json"));
  seed("checkpoint", "index",
       "\1{\"metadata\":{},\"weight_map\":{\"model.norm.weight\":\"model.safetensors\",\"a\":\"../b\"}}");
  seed("checkpoint", "tokenizer", "\2{\"add_bos_token\":true,\"bos_token\":\"<s>\"}");
  seed("prompts", "lines", "one\ntwo\n");
  seed("prompts", "jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
  seed("prompts", "ids", "[[1, 2, 3], [4]]");
  testing::GgufBuilder gguf;
  gguf.add("general.architecture", "llama").add("general.alignment", uint32_t{32}).add("llama.block_count", uint32_t{1});
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
  fs::remove_all(folder / "tiny");
  return 0;
}
