// How far an evaluation is while one of its passes runs.
#pragma once

#include "model/runner.h"
#include "quant/evaluation_pass.h"

namespace spikescope {

/// Reports `done` and the pass's share of the rest that is done.
class BatchProgress : public PassObserver {
 public:
  BatchProgress(const EvaluationPass& pass, double done, double share) : pass_(pass), done_(done), share_(share) {}
  void progress(double fraction) override {
    if (pass_.progress) pass_.progress(done_ + fraction * share_);
  }

 private:
  const EvaluationPass& pass_;
  const double done_, share_;
};

}  // namespace spikescope
