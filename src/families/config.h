// A model's settings, from config.json or GGUF metadata, read key by key. It remembers which keys were read, so that
// those nobody understood can be named.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace spikescope {

class Config {
 public:
  /// `json` must outlive it. `what` names the document in messages. `prefix` stands before every key ("llama." in
  /// GGUF).
  Config(const Json& json, std::string what, std::string prefix = "");
  /// The same document with some values replaced: keys read of either count as read.
  Config(const Json& json, const Config& same)
      : json_(json), what_(same.what_), prefix_(same.prefix_), read_(same.read_) {}

  /// Values of keys that must be there, and with a default for those that are missing or null. Throw Error, naming file
  /// and key, for another type, for numbers that are not finite, and for integers beyond 2^31.
  int64_t integer(std::string_view key) const;
  int64_t integer_or(std::string_view key, int64_t fallback) const;
  double number(std::string_view key) const;
  double number_or(std::string_view key, double fallback) const;
  bool flag_or(std::string_view key, bool fallback) const;
  std::string text_or(std::string_view key, const std::string& fallback) const;
  /// The array of so many values; empty when the key is missing or null.
  std::vector<int64_t> integers_or_none(std::string_view key, int64_t count) const;
  std::vector<bool> flags_or_none(std::string_view key, int64_t count) const;
  std::vector<std::string> texts_or_none(std::string_view key, int64_t count) const;
  std::vector<double> numbers_or_none(std::string_view key, int64_t count) const;
  /// null when the key is missing or null.
  const Json* find(std::string_view key) const;
  /// The object under a key, as a Config whose keys count as read here; an empty one when missing or null.
  Config object_or_empty(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }

  /// Throws Error, which says that `key` with the value found is not supported, unless it is missing or has the value
  /// `expected`.
  void expect(std::string_view key, const Json& expected) const;
  [[noreturn]] void fail_value(std::string_view key, const std::string& expected) const;

  const std::string& what() const { return what_; }
  const std::string& prefix() const { return prefix_; }
  const Json& json() const { return json_; }
  /// Keys with the prefix that nobody has asked for.
  std::vector<std::string> unread() const;

 private:
  template <class T>
  std::vector<T> array(std::string_view key, int64_t count) const;
  std::string full(std::string_view key) const;

  const Json& json_;
  std::string what_, prefix_;
  std::shared_ptr<std::set<std::string>> read_ = std::make_shared<std::set<std::string>>();
};

}  // namespace spikescope
