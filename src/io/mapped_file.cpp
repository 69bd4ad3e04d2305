#include "io/mapped_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "base/fail.h"
#include "io/posix_file.h"

namespace spikescope {
namespace {

uintptr_t page_size() {
  static const auto size = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

// Advice is a hint: a kernel that refuses it changes nothing but speed, so its result does not matter.
void advise(uintptr_t begin, uintptr_t end, int advice) {
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const PosixFile file = PosixFile::open(path);
  if (file.size() == 0) fail("{}: is empty (0 bytes); fetch or convert it again", path.string());
  size_ = file.size();
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (address == MAP_FAILED) fail_with_errno(path, "map into memory", errno);
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() { ::munmap(const_cast<std::byte*>(data_), size_); }

void MappedFile::will_need(std::span<const std::byte> range) {
  const auto begin = reinterpret_cast<uintptr_t>(range.data());
  advise(begin / page_size() * page_size(), begin + range.size(), MADV_WILLNEED);
}

void MappedFile::release(std::span<const std::byte> range) {
  // Whole pages inside the range only: the first and the last may hold a neighbour that is still in use.
  const auto begin = reinterpret_cast<uintptr_t>(range.data());
  advise((begin + page_size() - 1) / page_size() * page_size(), (begin + range.size()) / page_size() * page_size(),
         MADV_DONTNEED);
}

}  // namespace spikescope
