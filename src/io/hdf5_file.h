// The inside of H5File, shared by hdf5.cpp (files, links, attributes) and hdf5_dataset.cpp (datasets). Internal to io.
#pragma once

#include <cstdint>
#include <map>

#include "io/hdf5.h"
#include "io/hdf5_library.h"

namespace spikescope {

struct H5File::Impl {
  /// A dataset that is being filled. It stays open until its last row is there: closing would empty its cache of
  /// chunks, and a chunk that two pieces share would be compressed, read back and compressed again.
  struct Filling {
    Hdf5Handle dataset;
    int64_t rows_left = 0;
  };

  std::filesystem::path path;
  Hdf5Handle file;
  std::map<std::string, Filling, std::less<>> filling;

  /// The path as the library wants it. Throws UsageError unless it is "/" or "/name/name".
  std::string checked(std::string_view object) const;
  bool exists(const std::string& object) const;
  /// Throws Error unless the external link `link` leads to an object of a regular HDF5 file.
  void check_external(const std::string& link) const;
  Hdf5Handle open_object(const std::string& object) const;
  Hdf5Handle open_dataset(const std::string& dataset) const;
};

}  // namespace spikescope
