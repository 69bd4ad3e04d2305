// GGUF files: header, tensors, and the tokenizer in the metadata.
#include "io/gguf.h"

#include "fuzz/fuzz.h"
#include "text/tokenizer.h"

using namespace spikescope;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::refused_or_read([&] {
    const GgufFile file = read_gguf(fuzz::file_with(data, size));
    fuzz::read_tensors(file.tensors);
    const Tokenizer tokenizer = Tokenizer::from_gguf(file.metadata, "fuzz");
    tokenizer.decode(tokenizer.encode("Hello, w\xc3\xb6rld 12\n"));
  });
}
