// Runs an analysis on a dump with planted spikes.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "analyses/run.h"
#include "base/fail.h"
#include "figure/figure.h"
#include "fixtures.h"
#include "io/hdf5.h"
#include "planted.h"

namespace spikescope::testing {

class AnalysisTest : public ::testing::Test {
 protected:
  /// Runs the analysis on the dump and returns its JSON as written.
  Json run(const std::string& name, bool with_weights = true, uint64_t seed = 0) {
    return run(name, {seed, {}, {}}, with_weights);
  }
  Json run(const std::string& name, const AnalysisSettings& settings, bool with_weights = true) {
    planted.write(folder.path());
    const Analysis* chosen[] = {find_analysis(name)};
    const WeightsFactory factory = [&]() -> const ModelWeights& {
      ++weights_opened;
      if (!with_weights) fail("/nowhere/planted: no such file");
      return weights.get();
    };
    run_analyses(
        folder.path(), chosen, factory, [&](std::string_view, double fraction) { fractions.push_back(fraction); },
        settings);
    return read_json_file(folder / ("results/" + name + ".json"));
  }
  /// Of the only analysis that was run, as the report shows it.
  Section section() { return load_results(folder.path()).at(0).section; }
  /// That all of its figures can be drawn, have these names and say what model they are of, and that its first table is
  /// whole.
  void expect_whole_section(const std::vector<std::string>& ids) {
    const Section content = section();
    std::vector<std::string> found;
    for (const Figure& figure : content.figures) {
      EXPECT_NO_THROW(check_figure(figure));
      EXPECT_NE(figure.caption.find("planted"), std::string::npos) << figure.caption;
      found.push_back(figure.id);
    }
    EXPECT_EQ(found, ids);
    ASSERT_FALSE(content.tables.empty());
    for (const auto& row : content.tables[0].rows) EXPECT_EQ(row.size(), content.tables[0].columns.size());
  }
  H5File arrays(const std::string& name) { return H5File::open(folder / ("results/" + name + ".h5")); }

  TemporaryFolder folder;
  Planted planted;
  PlantedWeights weights;
  int weights_opened = 0;
  std::vector<double> fractions;
};

}  // namespace spikescope::testing
