// Running the real program and keeping what it says.
#pragma once

#include <gmock/gmock.h>
#include <sys/wait.h>

#include <filesystem>
#include <string>
#include <vector>

#include "../fixtures.h"
#include "../tiny_model.h"
#include "io/output_file.h"

namespace spikescope::testing {

struct ProgramResult {
  int exit_code = -1;  ///< -1: ended by a signal
  std::string out, err;
};

inline std::string shell_quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// Runs `spikescope arguments...` with `input` on standard input and `environment` (VAR=value ...) before it.
inline ProgramResult run_program(const std::vector<std::string>& arguments, const std::string& input = "",
                                 const std::string& environment = "") {
  const TemporaryFolder folder;
  write_text(folder / "in", input);
  std::string command = environment + " " + shell_quoted(SPIKESCOPE_PROGRAM);
  for (const std::string& argument : arguments) command += " " + shell_quoted(argument);
  command += " < " + shell_quoted((folder / "in").string()) + " > " + shell_quoted((folder / "out").string()) + " 2> " +
             shell_quoted((folder / "err").string());
  const int status = std::system(command.c_str());
  ProgramResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  if (result.exit_code > 128) result.exit_code = -1;  // the shell's way to say that a signal ended it
  result.out = read_file(folder / "out");
  result.err = read_file(folder / "err");
  return result;
}

/// A failure says why in one line that begins with the program's name, and nothing on standard output.
inline void expect_failure(const ProgramResult& result, int code, const std::string& message) {
  EXPECT_EQ(result.exit_code, code) << result.err;
  EXPECT_THAT(result.err, ::testing::HasSubstr(message));
  const size_t start = result.err.rfind("spikescope: ");
  ASSERT_NE(start, std::string::npos) << result.err;
  EXPECT_EQ(result.err.find('\n', start), result.err.size() - 1) << "one line: " << result.err;
  EXPECT_EQ(result.out, "");
}

/// pixel_values of a kept model's golden file, as --pixels takes them.
inline std::filesystem::path pixels_of(const std::string& model, const TemporaryFolder& folder) {
  const SafetensorsFile golden = read_safetensors(kept_models() / model / "golden.safetensors");
  const TensorInfo& pixels = golden.tensors.require("pixel_values");
  const std::filesystem::path file = folder / (model + ".safetensors");
  write_safetensors(file, {{"pixel_values", pixels.shape, "F32", pixels.bytes}});
  return file;
}

}  // namespace spikescope::testing
