// The parts of a tokenizer.json: objects with a "type", built by the row of a table that has that name.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/fail.h"
#include "io/json.h"
#include "io/printable.h"

namespace spikescope {

template <class Made>
struct ComponentRow {
  std::string_view type;
  Made (*make)(const Json& json, const std::string& where);
};

/// Builds the component that `json` describes. `kind` and `where` name it in messages: "decoder", "tokenizer.json:
/// decoder". A type without a row is an Error that names it and those that have one.
template <class Made>
Made make_component(std::span<const ComponentRow<Made>> rows, std::string_view kind, const Json& json,
                    const std::string& where) {
  const std::string type = json_get<std::string>(json, "type", where);
  for (const auto& row : rows) {
    if (row.type == type) return row.make(json, fmt::format("{} {}", where, type));
  }
  std::string known;
  for (const auto& row : rows) known += fmt::format("{}{}", known.empty() ? "" : ", ", row.type);
  fail("{}: the {} \"{}\" is not supported (supported: {}); use another tokenizer, or pass token ids", where, kind,
       printable(type), known);
}

/// The array under `key`, which must be there.
inline const Json& json_array(const Json& json, std::string_view key, const std::string& where) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  if (!json.is_object() || found == json.end() || !found->is_array()) {
    fail("{}: expected an array under \"{}\"", where, key);
  }
  return *found;
}

/// nullptr when `key` is missing or null.
inline const Json* json_optional(const Json& json, std::string_view key) {
  const auto found = json.find(key);
  return found == json.end() || found->is_null() ? nullptr : &*found;
}

}  // namespace spikescope
