// What prompts and evaluations share in reading texts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "capture/prompts.h"
#include "text/tokenizer.h"

namespace spikescope {

/// "auto", "always" or "never". Throws UsageError for anything else.
Bos parse_bos(const std::string& text);
/// The BOS that goes in front of each text, where one does. Throws UsageError for Bos::always and a tokenizer that names
/// none.
std::optional<int64_t> bos_in_front(Bos bos, const Tokenizer& tokenizer);
/// The same for people: "none", or piece and id.
std::string bos_text(std::optional<int64_t> bos, const Tokenizer& tokenizer);
/// Ids of a whole text file, without BOS or anything else added; "\r\n" is "\n". Throws Error, naming the file, where it
/// is missing or not UTF-8.
std::vector<int64_t> read_corpus(const std::filesystem::path& file, const Tokenizer& tokenizer);

}  // namespace spikescope
