// The folders around a dump: where a new one is made, and how it takes the place of the old one. Internal to capture.
#pragma once

#include <filesystem>

namespace spikescope {

/// A dump in the making in OUT/dump.partial, beside an old OUT/dump that stays as it is until publish(). One process at
/// a time: OUT itself is locked (flock) as long as this lives.
class DumpStaging {
 public:
  /// Makes OUT and an empty OUT/dump.partial with a folder for layers, in place of what a killed run may have left
  /// there. Throws Error when OUT cannot be written to, when another process is at work in it, or when OUT/dump is
  /// something else than a dump.
  ///
  /// With `resume`, what a run has left there stays, if it has got as far as to leave a state.
  explicit DumpStaging(std::filesystem::path out, bool resume = false);
  /// Without publish() or keep(): removes OUT/dump.partial.
  ~DumpStaging();
  DumpStaging(const DumpStaging&) = delete;
  DumpStaging& operator=(const DumpStaging&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Whether there is a run to go on with.
  bool resumes() const { return resumes_; }
  /// Leaves OUT/dump.partial as it is.
  void keep() { keep_ = true; }
  /// OUT/dump.partial becomes OUT/dump; the old one is removed. Throws Error, the old one in its place, when that
  /// fails.
  void publish();

 private:
  std::filesystem::path out_, path_;
  int lock_ = -1;
  bool keep_ = false, resumes_ = false;
};

/// For readers: puts OUT/dump.old back in the place of OUT/dump when a run died between taking the one away and putting
/// the other there. Throws Error when that is needed and fails.
void recover_dump(const std::filesystem::path& out);

}  // namespace spikescope
