// What hdf5.cpp needs around the HDF5 C library: owners of ids, silence, and its error stack as one line. Internal to
// io.
#pragma once

#include <hdf5.h>

#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace spikescope {

/// Held during every use of the library: one thread at a time (it may have been built without thread safety), and the
/// library prints nothing. The handler of a host program is put back at the end.
class Hdf5Session {
 public:
  Hdf5Session();
  ~Hdf5Session();
  Hdf5Session(const Hdf5Session&) = delete;
  Hdf5Session& operator=(const Hdf5Session&) = delete;

 private:
  std::unique_lock<std::recursive_mutex> lock_;
  H5E_auto2_t handler_ = nullptr;
  void* handler_data_ = nullptr;
};

/// Owns an id of the library; negative: none, which is what its functions return after a failure.
class Hdf5Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Hdf5Handle() = default;
  Hdf5Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Hdf5Handle() {
    if (id_ >= 0) close_(id_);
  }

  hid_t get() const { return id_; }
  explicit operator bool() const { return id_ >= 0; }
  /// Gives the id up without closing it.
  hid_t release() { return std::exchange(id_, H5I_INVALID_HID); }

 private:
  hid_t id_ = H5I_INVALID_HID;
  Close close_ = nullptr;
};

/// Throws Error "FILE: cannot ACTION: reason; remedy" for the library's last failure on this thread. Where the
/// operating system refused, the reason is its own ("No space left on device").
[[noreturn]] void fail_hdf5(const std::filesystem::path& file, std::string_view action);

/// A type as the library's own id or as a new one that the handle closes.
Hdf5Handle make_float16_type();
Hdf5Handle make_string_type();  ///< variable-length UTF-8

}  // namespace spikescope
