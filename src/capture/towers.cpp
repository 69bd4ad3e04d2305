#include "capture/towers.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/fail.h"
#include "capture/dump.h"
#include "capture/dump_layout.h"
#include "io/hdf5.h"
#include "io/output_file.h"
#include "model/pooled_head.h"

namespace fs = std::filesystem;

namespace spikescope {
namespace {

/// Whether OUT/dump is ours to replace: absent, empty, or an index that joins towers.
bool is_joined(const fs::path& folder) {
  if (!fs::exists(folder) || fs::is_empty(folder)) return true;
  const fs::path index = folder / dump_layout::kIndex;
  return fs::exists(index) && std::distance(fs::directory_iterator(folder), {}) == 1 &&
         H5File::open(index).has_attribute("/", dump_layout::kTowers);
}

void write_contrast(H5File& index, const fs::path& out, const Checkpoint& text) {
  const auto embeds = [&](const char* tower) {
    const DumpReader dump(out / tower);
    return dump.read({Point::embeds}, 0, dump.tokens().n_prompts());
  };
  const Contrast both = contrast(text.weights(), embeds("text"), embeds("vision"));
  const int64_t size = text.architecture().embedding_size();
  const auto rows = [size](const std::vector<float>& values) { return static_cast<int64_t>(values.size()) / size; };
  const auto write = [&](const char* name, int64_t columns, const std::vector<float>& values) {
    const std::vector<int64_t> shape = {static_cast<int64_t>(values.size()) / columns, columns};
    index.write<float>(name, shape, values);
  };
  write("/text_embeds", size, both.text_embeds);
  write("/image_embeds", size, both.image_embeds);
  write("/logits_per_image", rows(both.text_embeds), both.logits_per_image);
}

}  // namespace

std::vector<std::string> points_of_tower(std::span<const std::string> names, const std::string& tower) {
  const std::string own = tower + ".", other = tower == "text" ? "vision." : "text.";
  std::vector<std::string> points;
  for (const std::string& name : names)
    if (name.starts_with(own))
      points.push_back(name.substr(own.size()));
    else if (!name.starts_with(other))
      points.push_back(name);
  return points;
}

void check_joined_dump(const fs::path& out) {
  const fs::path folder = dump_layout::folder(out);
  if (!is_joined(folder))
    fail("{}: holds something else than the joined dump of two towers; choose another --out", folder.string());
}

void join_towers(const fs::path& out, std::span<const std::string> towers, const Checkpoint* text) {
  const fs::path folder = dump_layout::folder(out);
  check_joined_dump(out);
  OutputFile file(folder / dump_layout::kIndex);
  H5File index = H5File::create(file.temporary());
  index.set_attribute("/", "format", dump_layout::kFormat);
  index.set_attribute("/", "version", dump_layout::kVersion);
  index.set_attribute("/", dump_layout::kTowers, fmt::format("{}", fmt::join(towers, " ")));
  for (const std::string& tower : towers)
    index.link_external("/" + tower, fmt::format("../{}/dump/{}", tower, dump_layout::kIndex), "/");
  if (text) write_contrast(index, out, *text);
  index.close();
  file.commit();
}

}  // namespace spikescope
