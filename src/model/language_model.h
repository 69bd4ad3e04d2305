// Which models have a loss.
#pragma once

#include <string_view>

#include "model/architecture.h"

namespace spikescope {

/// Throws UsageError, saying why, for a model without next-token losses (encoders, images, no head). `purpose` is how
/// the message begins: "interventions are judged by".
void require_language_model(const Architecture& architecture, std::string_view purpose);

}  // namespace spikescope
