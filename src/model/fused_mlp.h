// An MLP without its width in memory: a few of its columns at a time are made, activated and multiplied on while they
// are in the second-level cache.
#pragma once

#include "model/architecture.h"
#include "model/linear.h"

namespace spikescope {

/// Columns of the MLP's width that fused_mlp takes at a time for so many rows. 0: it would be no faster, or not the
/// same to the bit, with a model of these sizes or the products of this processor; use the layers one by one.
int64_t fused_mlp_columns(const Architecture& architecture, int64_t rows);

/// out = W_down act(...): gated act(W_gate x) * (W_up x), or act(W_up x). `gate_up` holds the gate's rows, then up's.
/// The same values as the layers one by one, to the bit. Runs on the calling thread.
void fused_mlp(const Architecture& architecture, const Linear& gate_up, const Linear& down, ConstMatrixView x,
               MatrixView out);

}  // namespace spikescope
