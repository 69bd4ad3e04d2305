// Runs an analysis on a dump with planted spikes.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "analyses/run.h"
#include "base/fail.h"
#include "fixtures.h"
#include "io/hdf5.h"
#include "planted.h"

namespace spikescope::testing {

class AnalysisTest : public ::testing::Test {
 protected:
  /// Runs the analysis on the dump and returns its JSON as written.
  Json run(const std::string& name, bool with_weights = true, uint64_t seed = 0) {
    planted.write(folder.path());
    const Analysis* chosen[] = {find_analysis(name)};
    const WeightsFactory factory = [&]() -> const ModelWeights& {
      ++weights_opened;
      if (!with_weights) fail("/nowhere/planted: no such file");
      return weights.get();
    };
    run_analyses(
        folder.path(), chosen, factory, [&](std::string_view, double fraction) { fractions.push_back(fraction); },
        seed);
    return read_json_file(folder / ("results/" + name + ".json"));
  }
  H5File arrays(const std::string& name) { return H5File::open(folder / ("results/" + name + ".h5")); }

  TemporaryFolder folder;
  Planted planted;
  PlantedWeights weights;
  int weights_opened = 0;
  std::vector<double> fractions;
};

}  // namespace spikescope::testing
