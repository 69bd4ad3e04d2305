#include "cli/command.h"

#include <fmt/format.h>

#include <cstdio>

#include "base/fail.h"
#include "catalogue/catalogue.h"

namespace fs = std::filesystem;

namespace spikescope {

fs::path resolve_model(const std::string& model) {
  const CatalogueEntry* entry = find_entry(model);
  if (!entry) return model;
  if (!is_cached(*entry)) fail("model '{0}' is not fetched yet; run: spikescope models fetch {0}", model);
  return cached_path(*entry);
}

std::string model_name(const std::string& model) {
  if (find_entry(model)) return model;
  const fs::path path = fs::path(model).lexically_normal();
  return path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
}

void note(const Session& session, const std::string& text) {
  if (!session.quiet) fmt::print(stderr, "{}\n", text);
}

std::string json_text(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace spikescope
