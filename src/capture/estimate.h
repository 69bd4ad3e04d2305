// What a capture will take, before it is run: a trial of one block on this machine, scaled up.
#pragma once

#include <cstdint>

#include "families/checkpoint.h"

namespace spikescope {

struct CaptureEstimate {
  int64_t tokens = 0;
  double seconds = 0.0;       ///< once the checkpoint is in the page cache
  double compute_rate = 0.0;  ///< floating-point operations a second of the whole pass
  int64_t peak_bytes = 0;     ///< of memory, mapped weights in use included
  int64_t dump_bytes = 0;
};

/// Of a capture of every resid_post and the sink statistics of `windows` prompts of `length` tokens, with the products
/// chosen (model/product.h) and all threads. Reads the first block's weights and takes about half a second for a model
/// of 7 billion parameters; throws Error as ModelWeights::read_rows does. Good to 30 % on a machine that does nothing
/// else.
CaptureEstimate estimate_capture(const Checkpoint& checkpoint, int64_t windows, int64_t length);

}  // namespace spikescope
