// Prompts as users give them, turned into token ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "capture/dump.h"
#include "text/tokenizer.h"

namespace spikescope {

/// Whether a BOS token goes in front of each prompt: as the checkpoint's tokenizer does, always, or never.
enum class Bos : uint8_t { automatic, always, never };

/// "auto", "always" or "never". Throws UsageError for anything else.
Bos parse_bos(const std::string& text);
/// The BOS that goes in front of each text, where one does. Throws UsageError for Bos::always and a tokenizer that names
/// none.
std::optional<int64_t> bos_in_front(Bos bos, const Tokenizer& tokenizer);
/// Ids of a whole text file, without BOS or anything else added; "\r\n" is "\n". Throws Error, naming the file, where it
/// is missing or not UTF-8.
std::vector<int64_t> read_corpus(const std::filesystem::path& file, const Tokenizer& tokenizer);

/// Where prompts come from. Several sources may be combined, in this order; none at all means the built-in prompts.
struct PromptRequest {
  std::vector<std::string> texts;                     ///< --prompt
  std::optional<std::filesystem::path> prompts_file;  ///< --prompts: a prompt a line, or .jsonl with a field `text`
  std::optional<std::filesystem::path> ids_file;   ///< --ids: JSON, an array of arrays of ids; no BOS is added to them
  std::optional<std::filesystem::path> text_file;  ///< --text: a corpus, cut into windows; "\r\n" is "\n"
  int64_t windows = 16;                            ///< of the corpus, from its beginning
  int64_t length = 256;                            ///< tokens of a window, a BOS included
  Bos bos = Bos::automatic;
};

/// Reads and tokenizes. `tokenizer` may be null where only ids are asked for. Throws Error naming file and line for
/// whatever is missing, empty, not UTF-8 or too short; UsageError for a request that contradicts itself.
DumpTokens read_prompts(const PromptRequest& request, const Tokenizer* tokenizer);

/// Adds `count` prompts of one token each, without BOS: distinct ids below `vocabulary`, drawn by `seed`, marked by
/// kRandomFirst. `tokenizer` (may be null) gives their strings. UsageError for more than the vocabulary has.
void add_random_first(DumpTokens& tokens, int64_t count, int64_t vocabulary, uint64_t seed, const Tokenizer* tokenizer);

/// What read_prompts puts in front of each text, for people: "none", or piece and id.
std::string bos_description(const PromptRequest& request, const Tokenizer* tokenizer);

}  // namespace spikescope
