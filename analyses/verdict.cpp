#include "analyses/verdict.h"

#include <fmt/format.h>

#include <iterator>

namespace spikescope {
namespace {

struct Words {
  const char *key, *sentence;
};
/// In the order of Verdict::Holds.
constexpr Words kWords[] = {{"confirmed", "Confirmed here"},
                            {"partly", "Partly so here"},
                            {"not", "Not so here"},
                            {"not applicable", "Not applicable here"}};

}  // namespace

Json to_json(const Verdict& verdict) {
  return {{"claim", verdict.claim}, {"verdict", kWords[static_cast<size_t>(verdict.holds)].key}, {"why", verdict.why}};
}

Verdict verdict_of(const Json& json) {
  Verdict verdict{json.at("claim"), Verdict::Holds::not_applicable, json.at("why")};
  for (size_t i = 0; i < std::size(kWords); ++i)
    if (json.at("verdict") == kWords[i].key) verdict.holds = static_cast<Verdict::Holds>(i);
  return verdict;
}

std::string holds_text(Verdict::Holds holds) { return kWords[static_cast<size_t>(holds)].sentence; }

std::string verdict_text(const Json& json) {
  const Verdict verdict = verdict_of(json);
  return fmt::format("Claim: {}. {}: {}.", verdict.claim, holds_text(verdict.holds), verdict.why);
}

}  // namespace spikescope
