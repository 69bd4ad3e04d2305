// SHA-256 of checkpoints: the proof that a fetched file is whole, and the name of a model in a dump.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace spikescope {

/// A hash in the making. Throws Error when OpenSSL cannot compute it.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::span<const std::byte> bytes);
  /// Of all bytes so far, as 64 lower-case hexadecimal digits. Ends it: call it once.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// SHA-256 of a file as 64 lower-case hexadecimal digits. `progress`, where given, is called now and then with the part
/// done, 0 to 1, and at the end with 1. Throws Error when the file is missing or unreadable.
std::string sha256_file(const std::filesystem::path& path, const std::function<void(double)>& progress = {});

/// SHA-256 of the bytes of all `parts`, one after the other: for one file its plain hash. Throws Error as above, and
/// when `parts` is empty.
std::string sha256_files(std::span<const std::filesystem::path> parts,
                         const std::function<void(double)>& progress = {});

}  // namespace spikescope
