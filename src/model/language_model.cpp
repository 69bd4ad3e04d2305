#include "model/language_model.h"

#include "base/fail.h"

namespace spikescope {

void require_language_model(const Architecture& a, std::string_view purpose) {
  if (a.head && a.causal && a.pool == Pool::none) return;
  const char* why = a.patches   ? "read images"
                    : !a.causal ? "are encoders, which predict none"
                                : "have no head that predicts it";
  fail_usage("{} the loss of the next token, and {} models {}", purpose, a.family, why);
}

}  // namespace spikescope
