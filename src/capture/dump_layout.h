// Names inside a dump that the writer and the reader share. docs/dump-format.md specifies them. Internal to capture.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "capture/dump.h"

namespace spikescope::dump_layout {

inline constexpr std::string_view kFormat = "spikescope-dump";
inline constexpr int64_t kVersion = 1;
inline constexpr int64_t kMostLayers = 10'000;
inline constexpr int64_t kWidestModel = 1 << 24;

inline std::filesystem::path folder(const std::filesystem::path& out) { return out / "dump"; }
inline std::filesystem::path staging(const std::filesystem::path& out) { return out / "dump.partial"; }
inline std::filesystem::path old(const std::filesystem::path& out) { return out / "dump.old"; }
inline constexpr std::string_view kIndex = "index.h5";
inline constexpr std::string_view kRun = "run.json";
inline constexpr std::string_view kState = "state";
inline constexpr std::string_view kLayers = "layers";
inline constexpr std::string_view kTowers = "towers";     ///< attribute of an index over the dumps of two towers
inline constexpr std::string_view kUnfinished = ".part";  ///< after the name of a file in the making

/// Attributes of the index that are plain strings.
struct InfoField {
  std::string_view name;
  std::string DumpInfo::*member;
};
inline constexpr InfoField kInfoFields[] = {
    {"model", &DumpInfo::model},   {"model_name", &DumpInfo::model_name}, {"model_sha256", &DumpInfo::model_sha256},
    {"family", &DumpInfo::family}, {"command", &DumpInfo::command},       {"program_version", &DumpInfo::version},
    {"dtype", &DumpInfo::dtype},   {"storage", &DumpInfo::storage},       {"bos", &DumpInfo::bos},
};

/// Layer "number" of the file that holds the points outside blocks.
inline constexpr int kOutside = -1;

/// "layers/011.h5", relative to the dump's folder.
inline std::string layer_file(int64_t layer) {
  return layer == kOutside ? fmt::format("{}/outside.h5", kLayers) : fmt::format("{}/{:03}.h5", kLayers, layer);
}
inline std::string block_group(int64_t block) { return fmt::format("/blocks/{}", block); }
inline std::string sinks_group(int64_t block) { return fmt::format("/sinks/{}", block); }
inline std::string writers_group(int64_t block) { return fmt::format("/writers/{}", block); }

/// JSON in UTF-8 whatever bytes its strings hold.
inline std::string to_text(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

inline bool is_square(const HookPoint& point) { return point.kind().shape == PointShape::square; }
/// Rows of a point that has some: tokens, or prompts.
inline int64_t rows_of(const HookPoint& point, const DumpTokens& tokens) {
  return is_square(point) || point.kind().per_prompt() ? tokens.n_prompts() : tokens.size();
}
/// Dataset of a point; scores and pattern have one for each prompt.
inline std::string dataset(const HookPoint& point, int64_t prompt) {
  return is_square(point) ? fmt::format("{}/{}", point.dataset(), prompt) : point.dataset();
}

}  // namespace spikescope::dump_layout
