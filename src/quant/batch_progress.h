// What an evaluation hears while one of its passes runs.
#pragma once

#include "model/runner.h"
#include "quant/evaluation_pass.h"

namespace spikescope {

/// Reports `done` and the pass's share of the rest that is done, and hands on what the pass shows.
class BatchProgress : public PassObserver {
 public:
  BatchProgress(const EvaluationPass& pass, double done, double share) : pass_(pass), done_(done), share_(share) {}
  void progress(double fraction) override {
    if (pass_.progress) pass_.progress(done_ + fraction * share_);
  }
  void block_done(int layer, const TensorView& residual) override {
    if (pass_.block_done) pass_.block_done(layer, residual);
  }

 private:
  const EvaluationPass& pass_;
  const double done_, share_;
};

}  // namespace spikescope
