// The one table of formats. ggml's type numbers and block layouts: ggml.h and ggml-common.h of llama.cpp; safetensors'
// names: the Dtype list of its own library.
#include "io/gguf_blocks.h"
#include "io/tensor_table.h"

namespace spikescope {
namespace {

constexpr int kNone = -1;

// clang-format off
constexpr ValueFormat kFormats[] = {
    // name       ggml   safetensors    values, bytes a block  to float32, bits of mantissa
    {"F32",       0,     "F32",         1, 4,      convert_f32},
    {"F16",       1,     "F16",         1, 2,      convert_f16,  11},
    {"BF16",      30,    "BF16",        1, 2,      convert_bf16, 8},
    {"F64",       28,    "F64",         1, 8,      convert_f64},
    {"Q4_0",      2,     "",            32, 18,    dequantize_q4_0},
    {"Q4_1",      3,     "",            32, 20,    dequantize_q4_1},
    {"Q5_0",      6,     "",            32, 22,    dequantize_q5_0},
    {"Q5_1",      7,     "",            32, 24,    dequantize_q5_1},
    {"Q8_0",      8,     "",            32, 34,    dequantize_q8_0},
    {"Q2_K",      10,    "",            256, 84,   dequantize_q2_k},
    {"Q3_K",      11,    "",            256, 110,  dequantize_q3_k},
    {"Q4_K",      12,    "",            256, 144,  dequantize_q4_k},
    {"Q5_K",      13,    "",            256, 176,  dequantize_q5_k},
    {"Q6_K",      14,    "",            256, 210,  dequantize_q6_k},
    {"IQ4_NL",    20,    "",            32, 18,    dequantize_iq4_nl},
    {"IQ4_XS",    23,    "",            256, 136,  dequantize_iq4_xs},
    {"TQ1_0",     34,    "",            256, 54,   dequantize_tq1_0},
    {"TQ2_0",     35,    "",            256, 66,   dequantize_tq2_0},
    {"MXFP4",     39,    "",            32, 17,    dequantize_mxfp4},
    // Known by name and size only. Integers (token ids, masks) are read as bytes by whoever knows what they are.
    {"Q8_1",      9,     "",            32, 36,    nullptr},
    {"Q8_K",      15,    "",            256, 292,  nullptr},
    {"IQ2_XXS",   16,    "",            256, 66,   nullptr},
    {"IQ2_XS",    17,    "",            256, 74,   nullptr},
    {"IQ3_XXS",   18,    "",            256, 98,   nullptr},
    {"IQ1_S",     19,    "",            256, 50,   nullptr},
    {"IQ3_S",     21,    "",            256, 110,  nullptr},
    {"IQ2_S",     22,    "",            256, 82,   nullptr},
    {"IQ1_M",     29,    "",            256, 56,   nullptr},
    {"Q4_0_4_4",  31,    "",            32, 18,    nullptr},
    {"Q4_0_4_8",  32,    "",            32, 18,    nullptr},
    {"Q4_0_8_8",  33,    "",            32, 18,    nullptr},
    {"NVFP4",     40,    "",            64, 36,    nullptr},
    {"Q1_0",      41,    "",            128, 18,   nullptr},
    {"I8",        24,    "I8",          1, 1,      nullptr},
    {"I16",       25,    "I16",         1, 2,      nullptr},
    {"I32",       26,    "I32",         1, 4,      nullptr},
    {"I64",       27,    "I64",         1, 8,      nullptr},
    {"U8",        kNone, "U8",          1, 1,      nullptr},
    {"U16",       kNone, "U16",         1, 2,      nullptr},
    {"U32",       kNone, "U32",         1, 4,      nullptr},
    {"U64",       kNone, "U64",         1, 8,      nullptr},
    {"BOOL",      kNone, "BOOL",        1, 1,      nullptr},
    {"C64",       kNone, "C64",         1, 8,      nullptr},
    {"F8_E4M3",   kNone, "F8_E4M3",     1, 1,      nullptr},
    {"F8_E5M2",   kNone, "F8_E5M2",     1, 1,      nullptr},
    {"F8_E8M0",   kNone, "F8_E8M0",     1, 1,      nullptr},
    {"F6_E2M3",   kNone, "F6_E2M3",     4, 3,      nullptr},
    {"F6_E3M2",   kNone, "F6_E3M2",     4, 3,      nullptr},
    {"F4",        kNone, "F4",          2, 1,      nullptr},
};
// clang-format on

}  // namespace

const ValueFormat* find_gguf_format(int gguf_type) {
  for (const ValueFormat& format : kFormats) {
    if (format.gguf_type == gguf_type && gguf_type != kNone) return &format;
  }
  return nullptr;
}

const ValueFormat* find_safetensors_format(std::string_view dtype) {
  for (const ValueFormat& format : kFormats) {
    if (format.safetensors == dtype && !dtype.empty()) return &format;
  }
  return nullptr;
}

std::string readable_formats() {
  std::string names;
  for (const ValueFormat& format : kFormats) {
    if (format.dequantize) names.append(names.empty() ? "" : ", ").append(format.name);
  }
  return names;
}

}  // namespace spikescope
