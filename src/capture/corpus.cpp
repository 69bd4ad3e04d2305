#include "capture/corpus.h"

#include "base/fail.h"
#include "io/output_file.h"

namespace spikescope {
namespace {

/// The text with line ends "\r\n" as "\n", as readers of text files have them: windows of a file, and the perplexity
/// over them, do not depend on the system that the file was written on.
std::string with_plain_line_ends(std::string text) {
  size_t kept = 0;
  for (size_t i = 0; i < text.size(); ++i)
    if (text[i] != '\r' || i + 1 == text.size() || text[i + 1] != '\n') text[kept++] = text[i];
  text.resize(kept);
  return text;
}

}  // namespace

Bos parse_bos(const std::string& text) {
  if (text == "auto") return Bos::automatic;
  if (text == "always") return Bos::always;
  if (text == "never") return Bos::never;
  fail_usage("--bos {}: expected auto, always or never", text);
}

std::optional<int64_t> bos_in_front(Bos bos, const Tokenizer& tokenizer) {
  if (bos == Bos::never || (bos == Bos::automatic && !tokenizer.adds_bos())) return std::nullopt;
  if (!tokenizer.bos()) fail_usage("--bos always: this checkpoint's tokenizer names no BOS token");
  return tokenizer.bos();
}

std::string bos_text(std::optional<int64_t> bos, const Tokenizer& tokenizer) {
  return bos ? fmt::format("{} (id {})", tokenizer.piece(*bos), *bos) : "none";
}

std::vector<int64_t> read_corpus(const std::filesystem::path& file, const Tokenizer& tokenizer) {
  const std::string text = with_plain_line_ends(read_file(file));
  try {
    return tokenizer.encode(text, false);
  } catch (const Error& error) {
    fail("{}: {}", file.string(), error.what());
  }
}

}  // namespace spikescope
