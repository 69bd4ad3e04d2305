// HDF5 with owners: a file, its datasets and attributes, and errors that name both. No HDF5 header is needed to use it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spikescope {

/// How a dataset is stored. Without gzip it is contiguous, with gzip in chunks of about 1 MiB of whole rows.
struct H5Storage {
  bool half = false;  ///< float32 values stored as IEEE float16; a finite value beyond 65,504 is an Error that says so
  int gzip = 0;       ///< 0: none; 1 to 9 with the shuffle filter; strings are never compressed
};

/// An open HDF5 file. Dataset paths are absolute ("/blocks/3/resid_post"); groups between are made as needed. All
/// functions throw Error naming file, dataset and what went wrong; nothing is printed by the library. One H5File is not
/// for use from two threads at once, different ones are (the library itself is entered by one thread at a time).
///
/// Reading trusts no header: nothing is allocated before the file is known to hold that much, external links are
/// followed only to regular files beside this one's path, and only plain, gzip and shuffle storage is accepted.
class H5File {
 public:
  static H5File create(const std::filesystem::path& path);  ///< truncates an existing file
  static H5File open(const std::filesystem::path& path);    ///< read-only
  H5File(H5File&&) noexcept;
  H5File& operator=(H5File&&) noexcept;
  ~H5File();
  /// Flushes and closes; throws where the destructor cannot. The file is of no use afterwards.
  void close();

  /// Dataset or group, external links followed. Throws Error naming the other file when a link leads to one that is
  /// missing or damaged.
  bool has(std::string_view dataset) const;
  std::vector<int64_t> shape(std::string_view dataset) const;
  std::vector<std::string> children(std::string_view group) const;  ///< names in a group, sorted; empty if absent

  /// Whole datasets. T: float, double, int64_t, std::string (variable-length UTF-8 without NUL). Reading converts
  /// between widths (float16 to float, int32 to int64), not between kinds.
  template <class T>
  void write(std::string_view dataset, std::span<const int64_t> shape, std::span<const T> values,
             H5Storage storage = {});
  /// As above for a one-dimensional dataset.
  template <class T>
  void write(std::string_view dataset, const std::vector<T>& values);
  template <class T>
  std::vector<T> read(std::string_view dataset) const;

  /// Datasets filled in pieces along the first dimension (float32). Rows never written have no defined value.
  void declare(std::string_view dataset, std::span<const int64_t> shape, H5Storage storage = {});
  void write_rows(std::string_view dataset, int64_t first, int64_t count, std::span<const float> values);
  std::vector<float> read_rows(std::string_view dataset, int64_t first, int64_t count) const;

  /// Attributes of a group or dataset ("/" for the file's own). Setting one again replaces it.
  void set_attribute(std::string_view object, std::string_view name, std::string_view value);
  void set_attribute(std::string_view object, std::string_view name, int64_t value);
  std::string string_attribute(std::string_view object, std::string_view name) const;
  int64_t int_attribute(std::string_view object, std::string_view name) const;
  bool has_attribute(std::string_view object, std::string_view name) const;

  /// `link` becomes an external link to `target` in the file `file`, a path relative to this file's folder.
  void link_external(std::string_view link, std::string_view file, std::string_view target);

  struct Impl;  ///< internal

 private:
  explicit H5File(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace spikescope
