#include "analyses/verdict.h"

#include <fmt/format.h>

#include <utility>

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

std::string verdict_text(const Json& verdict) {
  std::string sentence;
  for (const Words& words : kWords) {
    if (verdict.at("verdict") == words.key) sentence = words.sentence;
  }
  return fmt::format("Claim: {}. {}: {}.", verdict.at("claim").get<std::string>(), sentence,
                     verdict.at("why").get<std::string>());
}

}  // namespace spikescope
