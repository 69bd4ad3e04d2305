// Files of prompts: text lines, JSONL, and arrays of ids.
#include "capture/prompts.h"

#include "fuzz/fuzz.h"
#include "io/scratch_folder.h"
#include "tiny_model.h"

using namespace spikescope;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ScratchFolder folder;
  static const Tokenizer tokenizer = Tokenizer::from_json(testing::tiny_tokenizer(), Json::object(), "tiny");
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const char* name : {"prompts.txt", "prompts.jsonl", "ids.json"}) {
    testing::write_text(folder / name, text);
    PromptRequest request;
    (std::string(name) == "ids.json" ? request.ids_file : request.prompts_file) = folder / name;
    fuzz::refused_or_read([&] { read_prompts(request, &tokenizer); });
  }
  return 0;
}
