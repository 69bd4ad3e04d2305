#include "io/json.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/fail.h"
#include "io/output_file.h"
#include "io/printable.h"

namespace spikescope {
namespace {

constexpr size_t kDepthLimit = 256;

// Builds a Json from the parser's events. The library's own builder looks every new key up in the ordered object, which
// takes time quadratic in the size of a tokenizer's vocabulary, and takes a duplicate key without a word.
class Builder {
 public:
  using number_integer_t = Json::number_integer_t;
  using number_unsigned_t = Json::number_unsigned_t;
  using number_float_t = Json::number_float_t;
  using string_t = Json::string_t;
  using binary_t = Json::binary_t;

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(number_integer_t value) { return add(value); }
  bool number_unsigned(number_unsigned_t value) { return add(value); }
  bool number_float(number_float_t value, const string_t&) { return add(value); }
  bool string(string_t& value) { return add(std::move(value)); }
  bool binary(binary_t&) { return false; }  // does not occur in text
  bool start_object(size_t) { return open(Json::object()); }
  bool start_array(size_t) { return open(Json::array()); }
  bool end_array() {
    open_.pop_back();
    return true;
  }
  bool key(string_t& name) {
    key_ = std::move(name);
    return true;
  }
  bool end_object() {
    const auto& members = open_.back()->get_ref<const Json::object_t&>();
    std::vector<std::string_view> keys;
    keys.reserve(members.size());
    for (const auto& member : members) keys.push_back(member.first);
    std::sort(keys.begin(), keys.end());
    const auto twin = std::adjacent_find(keys.begin(), keys.end());
    if (twin != keys.end()) duplicate = *twin;
    open_.pop_back();
    return !duplicate;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) {
    error_position = position;
    // "[json.exception...] parse error at line 1, column 2: reason": the reason is what we want.
    std::string_view text = error.what();
    for (const std::string_view mark : {"] ", ", column "}) {
      if (const size_t at = text.find(mark); at != text.npos) text.remove_prefix(at + mark.size());
    }
    const size_t digits = text.find_first_not_of("0123456789");
    if (digits > 0 && text.substr(digits, 2) == ": ") text.remove_prefix(digits + 2);
    reason = text;
    return false;
  }

  Json result;
  bool too_deep = false;
  std::optional<std::string> duplicate;
  size_t error_position = 0;
  std::string reason;

 private:
  template <class Value>
  Json* place(Value&& value) {
    if (open_.empty()) {
      result = std::forward<Value>(value);
      return &result;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) return &parent.get_ref<Json::array_t&>().emplace_back(std::forward<Value>(value));
    return &parent.get_ref<Json::object_t&>().emplace_back(std::move(key_), std::forward<Value>(value)).second;
  }
  template <class Value>
  bool add(Value&& value) {
    place(std::forward<Value>(value));
    return true;
  }
  bool open(Json&& container) {
    too_deep = open_.size() >= kDepthLimit;
    if (!too_deep) open_.push_back(place(std::move(container)));
    return !too_deep;
  }

  // Containers not yet closed. A pointer stays good because its parent gets no new member before the child is closed.
  std::vector<Json*> open_;
  std::string key_;
};

struct Place {
  size_t line, column;
};
Place place_of(std::string_view text, size_t byte) {
  const std::string_view before = text.substr(0, byte);
  const size_t newline = before.rfind('\n');
  return {static_cast<size_t>(std::count(before.begin(), before.end(), '\n')) + 1,
          newline == before.npos ? before.size() + 1 : before.size() - newline};
}

// Byte of the bracket that opens one level too many. The parser's events carry no position.
size_t byte_of_depth(std::string_view text, size_t limit) {
  size_t depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if ((c == '[' || c == '{') && ++depth > limit) {
      return i;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return text.size();
}

template <class T>
struct TypeName;
template <>
struct TypeName<bool> {
  static constexpr auto value = "true or false";
};
template <>
struct TypeName<int64_t> {
  static constexpr auto value = "an integer";
};
template <>
struct TypeName<double> {
  static constexpr auto value = "a number";
};
template <>
struct TypeName<std::string> {
  static constexpr auto value = "a string";
};

// The value where it has the type; nothing otherwise.
template <class T>
std::optional<T> convert(const Json& value) {
  if constexpr (std::is_same_v<T, bool>) {
    if (value.is_boolean()) return value.get<bool>();
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (value.is_string()) return value.get<std::string>();
  } else if constexpr (std::is_same_v<T, double>) {
    if (value.is_number()) return value.get<double>();
  } else {
    if (value.is_number_unsigned()) {
      const auto number = value.get<uint64_t>();
      if (number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return static_cast<int64_t>(number);
    } else if (value.is_number_integer()) {
      return value.get<int64_t>();
    } else if (value.is_number_float()) {  // some writers print 4096 as 4096.0
      const auto number = value.get<double>();
      if (std::abs(number) <= 9007199254740992.0 && std::trunc(number) == number) return static_cast<int64_t>(number);
    }
  }
  return std::nullopt;
}

// A value as messages show it. GGUF strings may be invalid UTF-8, so dump() must not throw for them.
std::string shown(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  if (value.is_string()) return fmt::format("\"{}\"", printable(value.get_ref<const std::string&>(), 60));
  return value.dump();
}

const Json* find_key(const Json& object, std::string_view key, const std::string& what) {
  if (!object.is_object()) fail("{}: expected an object with the key \"{}\", found {}", what, key, shown(object));
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

template <class T>
T typed(const Json& value, std::string_view key, const std::string& what) {
  if (const auto result = convert<T>(value)) return *result;
  fail("{}: key \"{}\" should be {}, found {}; correct the file or fetch it again", what, key, TypeName<T>::value,
       shown(value));
}

}  // namespace

Json parse_json(std::string_view text, const std::string& what) {
  Builder builder;
  if (Json::sax_parse(text.begin(), text.end(), &builder)) return std::move(builder.result);
  if (builder.duplicate) {
    fail("{}: not usable JSON: the key \"{}\" occurs twice in one object; remove one of them", what,
         printable(*builder.duplicate));
  }
  if (builder.too_deep) {
    const Place place = place_of(text, byte_of_depth(text, kDepthLimit));
    fail("{}: line {}, column {}: JSON nested deeper than {} levels; this is no file for this program", what,
         place.line, place.column, kDepthLimit);
  }
  const Place place =
      place_of(text, builder.error_position == 0 ? 0 : std::min(text.size(), builder.error_position - 1));
  fail("{}: line {}, column {}: not valid JSON: {}; correct the file or fetch it again", what, place.line, place.column,
       printable(builder.reason, 200));
}

Json read_json_file(const std::filesystem::path& path, int64_t max_bytes) {
  return parse_json(read_file(path, max_bytes), path.string());
}

template <class T>
T json_get(const Json& object, std::string_view key, const std::string& what) {
  const Json* value = find_key(object, key, what);
  if (!value)
    fail("{}: the key \"{}\" ({}) is missing; correct the file or fetch it again", what, key, TypeName<T>::value);
  return typed<T>(*value, key, what);
}

template <class T>
T json_get_or(const Json& object, std::string_view key, T fallback, const std::string& what) {
  const Json* value = find_key(object, key, what);
  return value && !value->is_null() ? typed<T>(*value, key, what) : fallback;
}

template bool json_get<bool>(const Json&, std::string_view, const std::string&);
template int64_t json_get<int64_t>(const Json&, std::string_view, const std::string&);
template double json_get<double>(const Json&, std::string_view, const std::string&);
template std::string json_get<std::string>(const Json&, std::string_view, const std::string&);
template bool json_get_or<bool>(const Json&, std::string_view, bool, const std::string&);
template int64_t json_get_or<int64_t>(const Json&, std::string_view, int64_t, const std::string&);
template double json_get_or<double>(const Json&, std::string_view, double, const std::string&);
template std::string json_get_or<std::string>(const Json&, std::string_view, std::string, const std::string&);

}  // namespace spikescope
