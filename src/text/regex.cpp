#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdint>

#include "base/fail.h"
#include "base/utf8.h"
#include "io/printable.h"
#include "text/regex_syntax.h"

#if PCRE2_MAJOR == 10 && PCRE2_MINOR < 40
#error "PCRE2 10.40 or newer is needed: older ones do not know \p{White_Space} and \p{Alphabetic}"
#endif

namespace spikescope {
namespace {

// Steps of one search: enough for any expression that reads each character a bounded number of times, little enough to
// give up on runaway backtracking within a millisecond, as a text may have a search for each of its words.
constexpr uint32_t kBaseSteps = 100'000;
constexpr uint32_t kStepsPerByte = 64;
constexpr size_t kStackLimit = size_t{16} << 20;  // bytes for the compiled code's stack
constexpr uint32_t kHeapLimit = 256 << 10;        // KiB for the interpreter, which takes over when the stack is spent

// What one thread needs to run any expression.
struct Machine {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 << 10, kStackLimit, nullptr);
  Machine() {
    pcre2_set_heap_limit(context, kHeapLimit);
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;
  ~Machine() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
};

Machine& machine() {
  thread_local Machine instance;
  return instance;
}

std::string message_of(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct Regex::Impl {
  std::string pattern;
  std::string where;
  pcre2_code* code = nullptr;
  ~Impl() { pcre2_code_free(code); }
};

Regex::Regex(std::string_view pattern, const std::string& where) : impl_(std::make_unique<Impl>()) {
  impl_->pattern = pattern;
  impl_->where = where;
  const std::string translated = to_pcre2_syntax(pattern, where);
  const std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  impl_->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context.get());
  if (!impl_->code) {
    fail("{}: the regular expression \"{}\" does not compile: {}", where, printable(pattern, 200), message_of(error));
  }
  // Where the machine has no compiler for it, the interpreter does the same, slower.
  pcre2_jit_compile(impl_->code, PCRE2_JIT_COMPLETE);
}

Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Regex::Scanner::Scanner(const Regex& regex, std::string_view text) : regex_(regex), text_(text) {}

bool Regex::Scanner::next(Match& match) {
  Machine& tools = machine();
  const uint64_t steps = kBaseSteps + uint64_t{kStepsPerByte} * text_.size();
  pcre2_set_match_limit(tools.context, static_cast<uint32_t>(std::min<uint64_t>(steps, UINT32_MAX)));
  const auto search = [&](uint32_t options) {
    return pcre2_match(regex_.impl_->code, reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(), from_,
                       PCRE2_NO_UTF_CHECK | options, tools.data, tools.context);
  };
  while (from_ <= text_.size()) {
    int result = search(0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = search(PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH) return false;
    if (result < 0) {
      fail(
          "{}: the regular expression \"{}\" gave up at byte {} of a text of {} bytes: {}; it needs too many steps, "
          "correct it",
          regex_.impl_->where, printable(regex_.impl_->pattern, 200), from_, text_.size(), message_of(result));
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(tools.data);
    match = {bounds[0], bounds[1]};
    if (match.begin > match.end || match.begin < from_) {
      fail("{}: the regular expression \"{}\" moves a match's start with \\K, which is not supported",
           regex_.impl_->where, printable(regex_.impl_->pattern, 200));
    }
    if (match.begin == match.end && match.end == last_end_) {
      from_ += from_ < text_.size() ? utf8_length(text_[from_]) : 1;
      continue;
    }
    from_ = last_end_ = match.end;
    return true;
  }
  return false;
}

}  // namespace spikescope
