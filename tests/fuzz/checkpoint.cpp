// The JSON files of a checkpoint folder: the input's first byte says which of them it is, the others are sound.
#include "families/checkpoint.h"

#include "fuzz/fuzz.h"
#include "io/output_file.h"
#include "io/scratch_folder.h"
#include "tiny_model.h"

using namespace spikescope;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ScratchFolder folder;
  static const bool made = (testing::write_tiny_model(folder.path()), true);
  static constexpr const char* kFiles[] = {"config.json", "model.safetensors.index.json", "tokenizer_config.json",
                                           "generation_config.json"};
  if (!made || size == 0) return 0;
  const std::string name = kFiles[data[0] % 4];
  const std::string before = name == "config.json" ? read_file(folder / name) : "";
  const int result = fuzz::refused_or_read([&] {
    testing::write_text(folder / name, std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
    const auto checkpoint = Checkpoint::open(folder.path());
    checkpoint->tokenizer();
  });
  if (before.empty()) std::filesystem::remove(folder / name);
  else testing::write_text(folder / name, before);
  return result;
}
