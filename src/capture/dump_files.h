// The HDF5 files of a dump in the making. Used by DumpWriter's thread alone. Internal to capture.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "capture/dump.h"
#include "io/hdf5.h"

namespace spikescope {

class DumpFiles {
 public:
  DumpFiles(std::filesystem::path folder, const DumpOptions& options)
      : folder_(std::move(folder)), storage_{options.storage == "float16", options.gzip} {}

  /// A point's dataset of the given shape; `prompt` counts for scores and pattern only.
  void declare(const HookPoint& point, int64_t prompt, std::span<const int64_t> shape);
  /// Values of rows [first, first + count). Throws Error for what float16 cannot hold.
  void write(const HookPoint& point, int64_t prompt, int64_t first, int64_t count, std::span<const float> values);
  void write_sinks(int64_t block, const SinkStatistics& statistics, const DumpTokens& tokens);
  void write_writers(int64_t block, const WriterRows& rows);
  /// A group or dataset of a layer that an earlier run has finished. Throws Error when its file is not there.
  void adopt(int64_t layer, const std::string& object);
  /// The object in the index that stands for a point.
  static std::string object_of(const HookPoint& point);
  /// Closes the layer's file and gives it its name.
  void finish_layer(int64_t layer);
  /// Finishes the layers still open and writes index.h5 with links to all.
  void finish(const DumpInfo& info, const DumpTokens& tokens, const std::vector<float>& losses);

 private:
  struct LayerFile {
    H5File file;
    std::filesystem::path path;
    std::set<std::string> objects;  // groups and datasets that the index links to
  };
  LayerFile& layer(int64_t layer);

  std::filesystem::path folder_;
  H5Storage storage_;
  std::map<int64_t, LayerFile> open_;
  std::map<int64_t, std::set<std::string>> finished_;  // objects by layer
};

}  // namespace spikescope
