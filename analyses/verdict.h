// Whether a claim of the papers holds in the model at hand, with the figure that decides it.
#pragma once

#include <string>

#include "io/json.h"

namespace spikescope {

struct Verdict {
  enum class Holds { confirmed, partly, no, not_applicable };
  std::string claim;  ///< a whole clause: "spike tokens leave the norm as one vector"
  Holds holds = Holds::not_applicable;
  std::string why;  ///< the figures that decide it, or why none can
};

/// As the results have it: `claim`, `verdict` ("confirmed", "partly", "not", "not applicable"), `why`.
Json to_json(const Verdict& verdict);
/// Back from that JSON. Throws Json::exception for what to_json() would not write.
Verdict verdict_of(const Json& json);
/// "Confirmed here", "Partly so here", "Not so here", "Not applicable here".
std::string holds_text(Verdict::Holds holds);
/// "Claim: spike tokens leave the norm as one vector. Confirmed here: ...", of the JSON.
std::string verdict_text(const Json& verdict);

}  // namespace spikescope
