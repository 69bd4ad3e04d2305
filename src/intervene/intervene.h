// Interventions: passes with values changed on the way, and what that does to losses and sinks. The analysis is
// described in analyses/interventions/README.md.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "capture/dump.h"
#include "families/checkpoint.h"
#include "intervene/plan.h"
#include "io/hdf5.h"
#include "io/json.h"

namespace spikescope {

struct InterventionRequest {
  std::vector<InterventionRun> given;  ///< by the user
  bool plan = true;                    ///< default_plan() as well
  uint64_t seed = 0;                   ///< of random dimensions, neurons and tokens
};
/// Fraction done, 0 to 1, and the run at work.
using InterventionProgress = std::function<void(double fraction, const std::string& run)>;

/// Runs the baseline and all interventions on the prompts of `dump`, which has every residual state of `checkpoint`
/// (and its writer rows, for the runs without writers). Passes begin with the first block that is changed, from the
/// dump's own state where it is float32. Returns the keys of interventions.json; per window losses go into `arrays`.
/// Throws Error as run_model does, naming the run, and where no prompt has two tokens.
Json run_interventions(const Checkpoint& checkpoint, const DumpReader& dump, const InterventionRequest& request,
                       H5File& arrays, const InterventionProgress& progress);

}  // namespace spikescope
