#include "io/scratch_folder.h"

#include <stdlib.h>

#include <cerrno>
#include <system_error>

#include "io/posix_file.h"

namespace spikescope {

ScratchFolder::ScratchFolder(const std::filesystem::path& parent, const std::string& prefix) {
  std::string name = (parent / (prefix + "XXXXXX")).string();
  if (!mkdtemp(name.data())) fail_with_errno(parent, "make a folder in", errno);
  path_ = name;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace spikescope
