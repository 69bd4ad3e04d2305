#include "base/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace spikescope {
namespace {

constexpr size_t kLine = 64, kHugePage = size_t{2} << 20;

}  // namespace

void Buffer::Free::operator()(float* data) const { std::free(data); }

void Buffer::resize(int64_t size) {
  if (size > capacity_) {
    data_.reset();
    capacity_ = size_ = 0;
    size_t bytes = static_cast<size_t>(size) * sizeof(float);
    const size_t alignment = bytes >= 2 * kHugePage ? kHugePage : kLine;
    bytes = (bytes + alignment - 1) / alignment * alignment;
    void* data = std::aligned_alloc(alignment, bytes);
    if (!data) throw std::bad_alloc();
    if (alignment == kHugePage) madvise(data, bytes, MADV_HUGEPAGE);  // a wish; ordinary pages do as well
    data_.reset(static_cast<float*>(data));
    capacity_ = size;
  }
  size_ = size;
}

}  // namespace spikescope
