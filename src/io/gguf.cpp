#include "io/gguf.h"

#include <algorithm>

#include "base/fail.h"
#include "io/gguf_header.h"
#include "io/mapped_file.h"

namespace spikescope {
namespace {

struct Part {
  std::shared_ptr<const MappedFile> file;
  GgufHeader header;
};

Part read_part(const std::filesystem::path& path) {
  auto file = std::make_shared<const MappedFile>(path);
  GgufHeader header = parse_gguf_header(file->bytes(), path.string());
  return {std::move(file), std::move(header)};
}

int64_t split_key(const Part& part, std::string_view key) {
  return json_get<int64_t>(part.header.metadata, key, part.file->path().string());
}

// The paths of all parts of the split file that `path` belongs to: NAME-00001-of-00003.gguf and so on.
std::vector<std::filesystem::path> part_paths(const std::filesystem::path& path, int64_t count) {
  const std::string name = path.filename().string(), suffix = fmt::format("-of-{:05}.gguf", count);
  const std::string_view stem = std::string_view(name).substr(0, name.size() - std::min(name.size(), suffix.size()));
  constexpr size_t kNumber = 6;  // "-00001"
  const std::string_view number = stem.substr(stem.size() - std::min(stem.size(), kNumber));
  if (!name.ends_with(suffix) || number.size() != kNumber || number[0] != '-' ||
      number.find_first_not_of("0123456789", 1) != number.npos) {
    fail("{}: is part of a GGUF file split into {}, so its name should end in -<part>{}; give it its original name",
         path.string(), count, suffix);
  }
  const std::string_view base = stem.substr(0, stem.size() - kNumber);
  std::vector<std::filesystem::path> paths;
  for (int64_t i = 1; i <= count; ++i) paths.push_back(path.parent_path() / fmt::format("{}-{:05}{}", base, i, suffix));
  return paths;
}

void check_part(const Part& part, int64_t number, int64_t count) {
  const int64_t found = split_key(part, "split.no"), found_count = split_key(part, "split.count");
  if (found != number || found_count != count) {
    fail(
        "{}: is part {} of {} by its metadata (split.no counts from 0), part {} of {} by its name; the parts were "
        "renamed or mixed, fetch them again",
        part.file->path().string(), found + 1, found_count, number + 1, count);
  }
}

}  // namespace

GgufFile read_gguf(const std::filesystem::path& path) {
  std::vector<Part> parts;
  parts.push_back(read_part(path));
  const int64_t count = json_get_or<int64_t>(parts[0].header.metadata, "split.count", 1, path.string());
  if (count < 0 || count > 99'999)
    fail("{}: split.count is {}, expected 1 to 99999; the file is damaged, fetch it again", path.string(), count);
  if (count > 1) {
    parts.clear();
    for (const auto& part_path : part_paths(path, count)) {
      if (!std::filesystem::exists(part_path)) {
        fail("{}: is missing; {} needs all {} parts in one folder, fetch it", part_path.string(),
             path.filename().string(), count);
      }
      parts.push_back(read_part(part_path));
      check_part(parts.back(), static_cast<int64_t>(parts.size()) - 1, count);
    }
  }

  GgufFile result;
  result.path = parts[0].file->path();
  result.version = parts[0].header.version;
  result.metadata = std::move(parts[0].header.metadata);
  for (Part& part : parts) {
    result.parts.push_back(part.file->path());
    for (TensorInfo& tensor : part.header.tensors) result.tensors.add(std::move(tensor));
    result.tensors.keep(std::move(part.file));
  }
  if (count > 1) {
    const int64_t expected = json_get<int64_t>(result.metadata, "split.tensors.count", result.path.string());
    const auto found = static_cast<int64_t>(result.tensors.tensors().size());
    if (found != expected) {
      fail(
          "{}: its {} parts have {} tensors, expected {} (split.tensors.count); a part is of another model or damaged, "
          "fetch them again",
          result.path.string(), count, found, expected);
    }
  }
  return result;
}

}  // namespace spikescope
