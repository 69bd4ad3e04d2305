// What the report says of `spikescope quantize` (src/quant): methods x bits, what each does to the loss. See README.md.
#pragma once

#include "analyses/analysis.h"

namespace spikescope {

Section quantize_section(const Json& results, const H5File& arrays, const DumpReader& dump);
/// The same of results that stand alone: docs/results.md, quantize.json.
Section quantize_section(const Json& results);

/// "A8 W4": bits of a row's activations and weights; empty where nothing is rounded.
std::string row_bits(const Json& row);
/// "+0.8706 ± 0.0203": what a row's loss is above that of the model as it is, nats a token; "-" for null.
std::string row_difference(const Json& row);
/// "40 windows of 512 tokens of wiki.test.txt".
std::string windows_label(const Json& results);

}  // namespace spikescope
