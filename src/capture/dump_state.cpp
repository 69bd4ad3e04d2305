#include "capture/dump_state.h"

#include <cstring>
#include <span>

#include "base/fail.h"
#include "io/json.h"
#include "io/mapped_file.h"
#include "io/output_file.h"
#include "io/posix_file.h"

namespace spikescope {
namespace {

constexpr std::string_view kFormat = "spikescope-state";
constexpr size_t kLongestHeader = 16 << 20;

}  // namespace

// One line of JSON, then the residual stream as float32.
void write_state(const std::filesystem::path& path, const DumpState& state) {
  Json header = {{"format", kFormat}, {"next_layer", state.next_layer}, {"values", state.residual.size()}};
  Json& tokens = header["tracked"] = Json::array();
  for (const auto& [prompt, token] : state.tracked) tokens.push_back({prompt, token});
  OutputFile output(path);
  PosixFile file = PosixFile::create(output.temporary(), path, false);
  file.write(header.dump() + "\n");
  file.write(std::as_bytes(std::span(state.residual)));
  file.close();
  output.commit();
}

DumpState read_state(const std::filesystem::path& path, int64_t rows, int64_t columns, int64_t layers) {
  const auto damaged = [&](std::string_view what) {
    fail("{}: {}; run without --resume to begin anew", path.string(), what);
  };
  const MappedFile file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  const size_t end = text.substr(0, kLongestHeader).find('\n');
  if (end == std::string_view::npos) damaged("is not the state of a capture");
  const Json header = parse_json(text.substr(0, end), path.string());
  if (json_get<std::string>(header, "format", path.string()) != kFormat) damaged("is not the state of a capture");
  DumpState state;
  state.next_layer = json_get<int64_t>(header, "next_layer", path.string());
  if (state.next_layer < 1 || state.next_layer >= layers)
    damaged(fmt::format("names layer {}, but the model has {}", state.next_layer, layers));
  const std::string_view values = text.substr(end + 1);
  if (values.size() != static_cast<size_t>(rows * columns) * sizeof(float))
    damaged(fmt::format("holds {} bytes of states, expected {} rows of {} values", values.size(), rows, columns));
  state.residual.resize(static_cast<size_t>(rows * columns));
  std::memcpy(state.residual.data(), values.data(), values.size());
  const auto tracked = header.find("tracked");
  if (tracked == header.end() || !tracked->is_array()) damaged("does not list the tokens tracked");
  for (const Json& pair : *tracked) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_integer() || !pair[1].is_number_integer())
      damaged("does not list the tokens tracked");
    state.tracked.emplace_back(pair[0].get<int64_t>(), pair[1].get<int64_t>());
  }
  return state;
}

}  // namespace spikescope
