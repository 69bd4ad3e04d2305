// Whether the claims of the papers' exhibits hold in a run. Each function says with which figure it decides; `claim` is
// left to the exhibit.
#pragma once

#include "report/exhibits.h"

namespace spikescope {

// arXiv 2402.17762
Verdict judge_magnitudes(const Evidence& evidence);
Verdict judge_few(const Evidence& evidence);
Verdict judge_layers(const Evidence& evidence);
Verdict judge_places(const Evidence& evidence);
Verdict judge_constancy(const Evidence& evidence);
Verdict judge_interventions(const Evidence& evidence);
Verdict judge_attention(const Evidence& evidence);
Verdict judge_bias(const Evidence& evidence);
Verdict judge_images(const Evidence& evidence);  ///< judge_magnitudes, on images

// arXiv 2606.02288
Verdict judge_across_layers(const Evidence& evidence);
Verdict judge_contrast(const Evidence& evidence);
Verdict judge_slow_bands(const Evidence& evidence);
Verdict judge_zones(const Evidence& evidence);
Verdict judge_insertion(const Evidence& evidence);

// As the analyses themselves have judged.
Verdict judge_convergence(const Evidence& evidence);
Verdict judge_keys(const Evidence& evidence);
Verdict judge_values(const Evidence& evidence);
Verdict judge_null_space(const Evidence& evidence);
Verdict judge_distance(const Evidence& evidence);

}  // namespace spikescope
