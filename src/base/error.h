// Errors as the user meets them: one line that says what was read, where, what was expected and what to do.
#pragma once

#include <stdexcept>
#include <string>

namespace spikescope {

/// A failure the user can act on: a missing or damaged file, an unsupported model, a full disk. The message is one line
/// without trailing newline that names the file (and tensor, byte or line), what was expected and found, and the
/// remedy. The program prints it as `spikescope: <message>` and exits with 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The call itself was wrong: an unknown flag or value, a hook point that the model does not have. Exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

}  // namespace spikescope
