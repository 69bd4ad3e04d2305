// JSON as the project uses it. Parsing goes through parse_json / read_json_file, which bound depth and size and turn
// the parser's exceptions into Error with file, line and column.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace spikescope {

using Json = nlohmann::ordered_json;

/// Parses `text`; `what` names it in messages (a path). Throws Error with line and column; nesting deeper than 256,
/// invalid UTF-8, and a key that occurs twice in an object are errors.
Json parse_json(std::string_view text, const std::string& what);

/// Reads and parses a file. Throws Error when it is missing, not a regular file, or larger than `max_bytes`.
Json read_json_file(const std::filesystem::path& path, int64_t max_bytes = int64_t{512} << 20);

/// Typed access with messages that name file and key: the value of `key`, which must be there and have the type.
/// `what` names the document. T: bool, int64_t, double, std::string.
template <class T>
T json_get(const Json& object, std::string_view key, const std::string& what);
/// The same, with a default when the key is missing or null.
template <class T>
T json_get_or(const Json& object, std::string_view key, T fallback, const std::string& what);

}  // namespace spikescope
