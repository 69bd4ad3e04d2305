// tokenizer.json, with a text that meets its rules.
#include "text/tokenizer.h"

#include "fuzz/fuzz.h"
#include "io/json.h"

using namespace spikescope;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::refused_or_read([&] {
    const Json json = parse_json(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
    const Tokenizer tokenizer = Tokenizer::from_json(json, Json::object(), "fuzz");
    tokenizer.decode(tokenizer.encode("Hello, w\xc3\xb6rld 12\n <s> aaaaaaaaaaaaaaaaaaaaaaaa \xef\xac\x81 e\xcc\x81\t\xe6\x97\xa5"));
  });
}
