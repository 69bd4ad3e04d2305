// The small dump that the tests of DumpWriter and DumpReader write; read_dump.py knows the same numbers.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "capture/dump.h"
#include "tests/error_of.h"

namespace spikescope::testing {

namespace fs = std::filesystem;
using Shape = std::vector<int64_t>;

inline constexpr int64_t kLayers = 2, kD = 4, kHeads = 2, kKvHeads = 1, kHeadDim = 3, kWidth = 8, kN = 5;

inline DumpInfo make_info() {
  DumpInfo info;
  info.model = "/models/tiny";
  info.model_name = "tiny";
  info.family = "llama";
  info.config = {{"n_layers", kLayers}, {"d_model", kD}};
  info.command = "spikescope capture --prompt 'Grüße'";
  info.version = "0.1.0";
  info.bos = "none";
  return info;
}

inline DumpTokens make_tokens() {
  DumpTokens tokens;
  tokens.ids = {5, 6, 7, 8, 9};
  tokens.offsets = {0, 3, 5};
  tokens.strings = {"Ġthe", "▁a", "\n", "bad\xff", std::string("n\0l", 3)};
  tokens.prompts = {{{"source", "--prompt 1"}, {"text", "first"}}, {{"source", "--prompt 2"}, {"text", "Grüße"}}};
  return tokens;
}

inline std::vector<float> ramp(int64_t seed, int64_t size) {
  std::vector<float> values(static_cast<size_t>(size));
  std::iota(values.begin(), values.end(), static_cast<float>(seed));
  return values;
}

inline SinkStatistics make_sinks(bool empty) {
  SinkStatistics sinks;
  sinks.heads = kHeads;
  sinks.kv_heads = kKvHeads;
  sinks.head_dim = kHeadDim;
  sinks.column_sums = ramp(1, kHeads * kN);
  sinks.late_column_sums = ramp(2, kHeads * kN);
  sinks.entropy = ramp(3, kHeads * 2);
  if (empty) return sinks;
  sinks.tokens = {{0, 0}, {1, 1}};
  sinks.columns = {ramp(4, 3 * kHeads), ramp(5, 2 * kHeads)};
  sinks.values = ramp(6, 2 * kKvHeads * kHeadDim);
  return sinks;
}

inline WriterRows make_writers(bool empty) {
  WriterRows rows;
  rows.d_model = kD;
  if (empty) return rows;
  rows.width = kWidth;
  rows.tokens = {{1, 1}};
  rows.attention = ramp(7, kD);
  rows.mlp = ramp(8, kD);
  rows.mlp_post = ramp(9, kWidth);
  return rows;
}

inline void put(DumpWriter& writer, const HookPoint& point, const Shape& row_shape, int64_t seed) {
  const int64_t row_size = std::accumulate(row_shape.begin(), row_shape.end(), int64_t{1}, std::multiplies<>());
  writer.declare(point, row_shape);
  const auto values = ramp(seed, kN * row_size);
  // In two pieces, the second first.
  writer.write(point, 2, values.data() + 2 * row_size, kN - 2, row_size, row_size);
  writer.write(point, 0, values.data(), 2, row_size, row_size);
}

inline void write_block(DumpWriter& writer, int layer) {
  put(writer, {Point::resid_post, layer}, {kD}, 100 * layer);
  put(writer, {Point::q, layer}, {kHeads, kHeadDim}, 100 * layer + 7);
  const HookPoint pattern{Point::pattern, layer};
  writer.declare(pattern, {kHeads});
  const auto tokens = make_tokens();
  for (int64_t prompt = 0; prompt < 2; ++prompt) {
    const int64_t size = tokens.length(prompt) * tokens.length(prompt);
    const auto values = ramp(prompt, kHeads * size);
    writer.write(pattern, prompt, values.data(), kHeads, size, size);
  }
  writer.write_sinks(layer, make_sinks(layer == 1));
  writer.write_writers(layer, make_writers(layer == 1));
}

inline void write_dump(const fs::path& out, const DumpOptions& options = {}, const std::string& sha256 = "abc123") {
  DumpWriter writer(out, make_info(), make_tokens(), options);
  put(writer, {Point::embed}, {kD}, 11);
  put(writer, {Point::resid_pre, 0}, {kD}, 50);
  for (int layer = 0; layer < kLayers; ++layer) {
    write_block(writer, layer);
    if (layer == 0) writer.finish_block(layer);
  }
  put(writer, {Point::ln_final_out}, {kD}, 12);
  put(writer, {Point::logits}, {6}, 13);
  auto losses = ramp(1, kN);
  losses[2] = losses[4] = std::numeric_limits<float>::quiet_NaN();
  writer.write_losses(losses);
  writer.finish(sha256);
}

inline std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    names.push_back(fs::relative(entry.path(), folder).string());
  std::sort(names.begin(), names.end());
  return names;
}

inline const std::vector<std::string> kWholeDump = {
    "dump", "dump/index.h5", "dump/layers", "dump/layers/000.h5", "dump/layers/001.h5", "dump/layers/outside.h5"};

}  // namespace spikescope::testing
