#include "io/mapped_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

#include "base/fail.h"
#include "io/posix_file.h"

namespace spikescope {
namespace {

uintptr_t page_size() {
  static const auto size = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

// Advice is a hint: a kernel that refuses it changes nothing but speed, so its result seldom matters.
bool advise(uintptr_t begin, uintptr_t end, int advice) {
  return begin < end && ::madvise(reinterpret_cast<void*>(begin), end - begin, advice) == 0;
}

/// What is mapped now, for a signal handler: it may not allocate, nor wait for a lock. For files beyond the
/// table's end the signal itself ends the program.
struct Mapping {
  std::atomic<bool> taken = false;
  std::atomic<uintptr_t> begin = 0, end = 0;
  char name[512];
};
std::array<Mapping, 256> mappings;

void remember(uintptr_t begin, size_t size, const std::string& name) {
  for (Mapping& mapping : mappings) {
    if (mapping.taken.exchange(true)) continue;
    std::strncpy(mapping.name, name.c_str(), sizeof(mapping.name) - 1);
    mapping.end = begin + size;
    mapping.begin = begin;
    return;
  }
}

void forget(uintptr_t begin) {
  for (Mapping& mapping : mappings)
    if (mapping.begin == begin) {
      mapping.begin = mapping.end = 0;
      mapping.taken = false;
      return;
    }
}

void say(const char* text) {
  if (::write(STDERR_FILENO, text, std::strlen(text)) < 0) return;  // nobody listens
}

void end_for_lost_file(int signal, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const Mapping& mapping : mappings) {
    if (address < mapping.begin || address >= mapping.end) continue;
    say("spikescope: ");
    say(mapping.name);
    say(": a part of the file is gone while it is in use: it was cut short, or its disk fails. Restore it and run "
        "again\n");
    ::_exit(1);
  }
  std::signal(signal, SIG_DFL);  // not one of ours: the instruction is tried again, and ends the program
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const PosixFile file = PosixFile::open(path);
  if (file.size() == 0) fail("{}: is empty (0 bytes); fetch or convert it again", path.string());
  size_ = file.size();
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (address == MAP_FAILED) fail_with_errno(path, "map into memory", errno);
  data_ = static_cast<const std::byte*>(address);
  remember(reinterpret_cast<uintptr_t>(address), size_, path.string());
}

MappedFile::~MappedFile() {
  forget(reinterpret_cast<uintptr_t>(data_));
  ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::fetch(std::span<const std::byte> range) {
  const auto begin = reinterpret_cast<uintptr_t>(range.data()), end = begin + range.size();
#ifdef MADV_POPULATE_READ
  if (advise(begin / page_size() * page_size(), end, MADV_POPULATE_READ)) return;
#endif
  // An older kernel: a byte of each page will do.
  for (size_t i = 0; i < range.size(); i += page_size()) static_cast<void>(*(const volatile std::byte*)(&range[i]));
  if (!range.empty()) static_cast<void>(*(const volatile std::byte*)(&range.back()));
}

size_t MappedFile::resident(std::span<const std::byte> range) {
  const uintptr_t first = reinterpret_cast<uintptr_t>(range.data()), begin = first / page_size() * page_size();
  const uintptr_t end = first + range.size();
  std::vector<unsigned char> pages((end - begin + page_size() - 1) / page_size());
  if (pages.empty() || ::mincore(reinterpret_cast<void*>(begin), end - begin, pages.data()) != 0) return 0;
  size_t bytes = 0;
  for (size_t i = 0; i < pages.size(); ++i) {
    const uintptr_t page = begin + i * page_size();
    if (pages[i] & 1) bytes += std::min(page + page_size(), end) - std::max(page, first);
  }
  return bytes;
}

void MappedFile::release(std::span<const std::byte> range) {
  // Whole pages inside the range only: the first and the last may hold a neighbour that is still in use.
  const auto begin = reinterpret_cast<uintptr_t>(range.data());
  advise((begin + page_size() - 1) / page_size() * page_size(), (begin + range.size()) / page_size() * page_size(),
         MADV_DONTNEED);
}

void report_lost_files() {
  struct sigaction action = {};
  action.sa_sigaction = end_for_lost_file;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace spikescope
