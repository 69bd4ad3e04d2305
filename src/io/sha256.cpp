#include "io/sha256.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "base/fail.h"
#include "io/posix_file.h"

namespace spikescope {
namespace {

constexpr size_t kBuffer = size_t{1} << 20;

void require(int success) {
  if (success != 1)
    fail("OpenSSL cannot compute SHA-256 on this system; check its installation (openssl dgst -sha256)");
}

}  // namespace

struct Sha256::State {
  struct Deleter {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Deleter> context{EVP_MD_CTX_new()};
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  require(state_->context != nullptr && EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr));
}
Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  require(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()));
}

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  require(EVP_DigestFinal_ex(state_->context.get(), digest.data(), &size));
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

std::string sha256_files(std::span<const std::filesystem::path> parts, const std::function<void(double)>& progress) {
  if (parts.empty()) fail("no file to compute the SHA-256 of");
  uint64_t total = 0, done = 0;
  for (const auto& path : parts) total += PosixFile::open(path).size();

  Sha256 hash;
  std::vector<std::byte> buffer(kBuffer);
  for (const auto& path : parts) {
    PosixFile file = PosixFile::open(path);
    while (const size_t count = file.read(buffer)) {
      hash.update(std::span(buffer).first(count));
      done += count;
      // A file that grows while it is read must not push the figure beyond 1.
      if (progress && done < total) progress(static_cast<double>(done) / static_cast<double>(total));
    }
  }
  if (progress) progress(1);
  return hash.hex();
}

std::string sha256_file(const std::filesystem::path& path, const std::function<void(double)>& progress) {
  return sha256_files(std::span(&path, 1), progress);
}

}  // namespace spikescope
