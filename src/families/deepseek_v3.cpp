// DeepSeek V3 and R1 (arXiv 2412.19437): V2 with experts chosen by sigmoid scores, on which a bias balances the load.

#include "families/deepseek.h"

namespace spikescope {
namespace {

Architecture from_config(const Config& c, const TensorTable&) {
  Architecture a = deepseek_like(c);
  c.expect("topk_method", "noaux_tc");
  c.expect("scoring_func", "sigmoid");
  a.experts.sigmoid = a.experts.bias = true;
  a.experts.group_best = 2;
  return a;
}

}  // namespace

Family deepseek_v3_family() {
  return {"deepseek_v3", "DeepSeek V3, R1", {"deepseek_v3"}, from_config, "model.", deepseek_names()};
}

}  // namespace spikescope
