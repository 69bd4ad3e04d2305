// Where the time of a run goes: spans of named parts, by thread. Costs a branch a span while nobody profiles.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace spikescope {

/// A part of the work, from construction to destruction, on the thread that runs it. Spans of a thread may nest; a
/// part's time then includes that of the parts within.
class Span {
 public:
  /// `part` must live as long as the program. `flops`: floating-point operations of its products; `layer` -1: none.
  explicit Span(const char* part, int64_t layer = -1, double flops = 0.0);
  ~Span();
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

 private:
  const char* part_;  // null: nobody profiles
  int64_t layer_, begin_ = 0;
  double flops_;
};

/// A part's share of a run.
struct ProfilePart {
  std::string part;
  int64_t spans = 0;
  double seconds = 0.0;  ///< over all threads
  double flops = 0.0;
};

/// From now on spans are recorded; what was recorded before is dropped.
void start_profile();
/// Ends recording. What was recorded by part, in the order of first appearance.
std::vector<ProfilePart> stop_profile();
/// The spans recorded last as a trace in the JSON format that Perfetto and chrome://tracing open.
std::string profile_trace();

}  // namespace spikescope
