#include "families/config.h"

#include <cmath>

#include "base/fail.h"
#include "io/printable.h"

namespace spikescope {
namespace {

double finite(double value, const std::string& key, const std::string& what) {
  if (!std::isfinite(value)) fail("{}: '{}' is {}; expected a finite number", what, key, value);
  return value;
}

/// Far above any size, low enough that a product of two does not overflow.
int64_t bounded(int64_t value, const std::string& key, const std::string& what) {
  constexpr int64_t kLargest = int64_t{1} << 31;
  if (value < -kLargest || value > kLargest) fail("{}: '{}' is {}; expected at most {}", what, key, value, kLargest);
  return value;
}

}  // namespace

Config::Config(const Json& json, std::string what, std::string prefix)
    : json_(json), what_(std::move(what)), prefix_(std::move(prefix)) {}

std::string Config::full(std::string_view key) const {
  std::string name = prefix_ + std::string(key);
  read_->insert(name);
  return name;
}

int64_t Config::integer(std::string_view key) const {
  return bounded(json_get<int64_t>(json_, full(key), what_), full(key), what_);
}
int64_t Config::integer_or(std::string_view key, int64_t fallback) const {
  return bounded(json_get_or<int64_t>(json_, full(key), fallback, what_), full(key), what_);
}
double Config::number(std::string_view key) const {
  return finite(json_get<double>(json_, full(key), what_), full(key), what_);
}
double Config::number_or(std::string_view key, double fallback) const {
  return finite(json_get_or<double>(json_, full(key), fallback, what_), full(key), what_);
}
bool Config::flag_or(std::string_view key, bool fallback) const {
  return json_get_or<bool>(json_, full(key), fallback, what_);
}
std::string Config::text_or(std::string_view key, const std::string& fallback) const {
  return json_get_or<std::string>(json_, full(key), fallback, what_);
}

const Json* Config::find(std::string_view key) const {
  const auto found = json_.find(full(key));
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

Config Config::object_or_empty(std::string_view key) const {
  static const Json kEmpty = Json::object();
  const Json* found = find(key);
  if (found && !found->is_object()) fail("{}: '{}' is a {}; expected an object", what_, full(key), found->type_name());
  return Config(found ? *found : kEmpty, fmt::format("{}: {}", what_, full(key)));
}

template <class T>
std::vector<T> Config::array(std::string_view key, int64_t count) const {
  const Json* found = find(key);
  if (!found) return {};
  const std::string name = full(key);
  if (!found->is_array() || static_cast<int64_t>(found->size()) != count)
    fail("{}: '{}' should be a list of {} values", what_, name, count);
  std::vector<T> values;
  for (size_t i = 0; i < found->size(); ++i) {
    const Json wrapped = {{"value", (*found)[i]}};
    values.push_back(json_get<T>(wrapped, "value", fmt::format("{}: {}[{}]", what_, name, i)));
  }
  return values;
}

std::vector<int64_t> Config::integers_or_none(std::string_view key, int64_t count) const {
  return array<int64_t>(key, count);
}
std::vector<bool> Config::flags_or_none(std::string_view key, int64_t count) const { return array<bool>(key, count); }
std::vector<std::string> Config::texts_or_none(std::string_view key, int64_t count) const {
  return array<std::string>(key, count);
}
std::vector<double> Config::numbers_or_none(std::string_view key, int64_t count) const {
  return array<double>(key, count);
}

void Config::expect(std::string_view key, const Json& expected) const {
  if (const Json* found = find(key); found && *found != expected) fail_value(key, expected.dump());
}

void Config::fail_value(std::string_view key, const std::string& expected) const {
  const Json* found = find(key);
  fail("{}: '{}' is {}, which is not supported; expected {}", what_, full(key),
       found ? printable(found->dump(-1, ' ', false, Json::error_handler_t::replace)) : "missing", expected);
}

std::vector<std::string> Config::unread() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : json_.items())
    if (key.starts_with(prefix_) && !read_->contains(key)) keys.push_back(key);
  return keys;
}

}  // namespace spikescope
