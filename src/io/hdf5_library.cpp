#include "io/hdf5_library.h"

#include <charconv>

#include "base/fail.h"
#include "io/posix_file.h"
#include "io/printable.h"

namespace spikescope {
namespace {

std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

struct Reason {
  std::string text;  // of the innermost failure
  int error = 0;     // errno, where an operating system call failed
};

herr_t collect(unsigned depth, const H5E_error2_t* entry, void* data) {
  auto& reason = *static_cast<Reason*>(data);
  const std::string_view text = entry->desc ? entry->desc : "";
  if (reason.text.empty()) reason.text = text;
  // The file drivers write "..., errno = 28, error message = 'No space left on device', ..." into their entries.
  constexpr std::string_view kMark = "errno = ";
  if (const size_t at = text.find(kMark); at != text.npos && reason.error == 0) {
    std::from_chars(text.data() + at + kMark.size(), text.data() + text.size(), reason.error);
  }
  return 0;
}

}  // namespace

Hdf5Session::Hdf5Session() : lock_(library_mutex()) {
  // At exit the library would once more flush what could not be written to a full disk, and version 1.10 crashes there.
  // All files are closed by their owners, so it has nothing to do at exit.
  static const herr_t no_exit_handler = H5dont_atexit();
  (void)no_exit_handler;
  H5Eget_auto2(H5E_DEFAULT, &handler_, &handler_data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Hdf5Session::~Hdf5Session() { H5Eset_auto2(H5E_DEFAULT, handler_, handler_data_); }

void fail_hdf5(const std::filesystem::path& file, std::string_view action) {
  Reason reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, collect, &reason);
  if (reason.error != 0) fail_with_errno(file, action, reason.error);
  fail("{}: cannot {}: {}; the file may be damaged or unfinished: write it again", file.string(), action,
       reason.text.empty() ? "the HDF5 library gives no reason" : printable(reason.text, 200));
}

Hdf5Handle make_float16_type() {
  Hdf5Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  // Sign bit 15, exponent of 5 bits from bit 10 with bias 15, mantissa of 10 bits from bit 0.
  H5Tset_fields(type.get(), 15, 10, 5, 0, 10);
  H5Tset_size(type.get(), 2);
  H5Tset_ebias(type.get(), 15);
  return type;
}

Hdf5Handle make_string_type() {
  Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

}  // namespace spikescope
