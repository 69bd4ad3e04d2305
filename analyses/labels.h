// How tokens, numbers and layers are written in figures and tables.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "capture/dump.h"
#include "io/json.h"

namespace spikescope {

/// Token `row` (among all prompts) as people read it: its piece with the vocabularies' stand-ins for space and newline
/// resolved and control characters escaped; "id 42" where the dump has no pieces.
std::string token_text(const DumpTokens& tokens, int64_t row);
/// A piece of a vocabulary as above.
std::string readable_piece(const std::string& piece);
/// Row of a prompt's token among all prompts. Throws Error when the dump has no such token (results of another dump).
int64_t token_row(const DumpTokens& tokens, int64_t prompt, int64_t token);
/// "3 'the'": position within the prompt and text; checked as above.
std::string token_label(const DumpTokens& tokens, int64_t prompt, int64_t token);

/// Four significant digits (three below 1), whole above 1,000: "23,147", "713.0", "0.897", "1.23e-07"; "-" for NaN.
std::string number(double value);
/// As above for a JSON number; "-" for null.
std::string number(const Json& value);
/// "0.991 ± 0.002"; without " ± ..." for an error of NaN or 0.
std::string number(double value, double error);
/// The same of two JSON numbers: `key` of the row and its standard error `<key>_se`, where there is one.
std::string number_with_error(const Json& row, const std::string& key);
/// `<key>_se` of the row; NaN where it is null or missing.
double standard_error(const Json& row, const std::string& key);
/// "53.8 %".
std::string percent(double share);
/// "53.8 ± 0.4 %".
std::string percent(double share, double error);
/// "smollm2-135m, 1 prompt, 9 tokens": where the data come from.
std::string data_label(const Json& results);
/// "layers 3 to 9" of a plateau {first, last}.
std::string layer_range(int64_t first, int64_t last);
/// "a", "a and b", "a, b and c".
std::string join_words(const std::vector<std::string>& words);

/// The number, or NaN for null: gaps of a curve.
double number_or_nan(const Json& value);
/// The number, or null for what is not finite: JSON has no other word for undefined.
Json number_or_null(double value);

}  // namespace spikescope
