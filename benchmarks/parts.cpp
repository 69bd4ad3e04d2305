// The parts of a block at SmolLM2's shapes, on all threads. Build with -DSPIKESCOPE_BENCHMARKS=ON and run
// build/benchmarks/benchmark_parts; GFLOP/s of the products beside those of LibTorch's BLAS are what
// docs/performance.md calls the limit.
#include <benchmark/benchmark.h>

#include <cmath>
#include <random>
#include <vector>

#include "model/attention.h"
#include "model/int8_product.h"
#include "model/mlp.h"
#include "model/norm.h"
#include "model/product.h"
#include "model/softmax.h"

namespace spikescope {
namespace {

std::vector<float> random_values(int64_t count) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

void set_flops(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] =
      benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

/// Rows, columns and inner size of a block's products on 2,048 tokens.
void block_shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"rows", "out", "in"})
      ->Args({2048, 960, 576})
      ->Args({2048, 576, 576})
      ->Args({2048, 3072, 576})
      ->Args({2048, 576, 1536})
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

void BM_Product(benchmark::State& state) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const std::vector<float> a = random_values(m * k), b = random_values(n * k);
  Buffer out(m * n);
  // A pass comes to each layer's weights anew.
  constexpr size_t kLayers = 30;
  std::vector<Panels> layers(kLayers);
  for (Panels& panels : layers) {
    panels.reset(k, n);
    panels.set_columns(0, {b.data(), n, k, k});
  }
  size_t layer = 0;
  for (auto _ : state) {
    const Panels& panels = layers[layer++ % kLayers];
    for_row_pieces(m, [&](int64_t first, int64_t count) {
      product({a.data() + first * k, count, k, k}, panels, {out.data() + first * n, count, n, n});
    });
  }
  set_flops(state, 2.0 * static_cast<double>(m * n * k));
}
BENCHMARK(BM_Product)->Apply(block_shapes);

void BM_ProductBfloat16(benchmark::State& state) {
  choose_products(Dtype::bfloat16);
  BM_Product(state);
  choose_products(Dtype::float32);
}
BENCHMARK(BM_ProductBfloat16)->Apply(block_shapes);

/// In whole numbers of 8 bits by LibTorch, the rounding of the inputs included; `dynamic`: with a scale a row.
void BM_ProductInt8(benchmark::State& state) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const bool dynamic = state.range(3) != 0;
  const std::vector<float> a = random_values(m * k);
  const std::vector<int8_t> b(static_cast<size_t>(n * k), 77);
  const std::vector<float> scales(static_cast<size_t>(n), 0.01f);
  Buffer out(m * n);
  constexpr size_t kLayers = 30;
  std::vector<Int8Product> layers(kLayers);
  for (Int8Product& layer : layers)
    layer.reset({.kind = dynamic ? Int8Inputs::Scale::row : Int8Inputs::Scale::fixed, .scale = 0.03f}, b, scales);
  size_t at = 0;
  for (auto _ : state) {
    const Int8Product& layer = layers[at++ % kLayers];
    for_row_pieces(m, [&](int64_t first, int64_t count) {
      layer({a.data() + first * k, count, k, k}, {out.data() + first * n, count, n, n});
    });
  }
  set_flops(state, 2.0 * static_cast<double>(m * n * k));
  state.SetLabel(int8_kernel());
}
BENCHMARK(BM_ProductInt8)
    ->ArgNames({"rows", "out", "in", "dynamic"})
    ->ArgsProduct({{2048}, {960, 576, 3072}, {576}, {0, 1}})
    ->ArgsProduct({{2048}, {576}, {1536}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void BM_Blas(benchmark::State& state) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const std::vector<float> a = random_values(m * k), b = random_values(n * k);
  Buffer out(m * n);
  for (auto _ : state) multiply_transposed({a.data(), m, k, k}, {b.data(), n, k, k}, {out.data(), m, n, n});
  set_flops(state, 2.0 * static_cast<double>(m * n * k));
}
BENCHMARK(BM_Blas)->Apply(block_shapes);

/// Products of the causal half count.
void BM_Attention(benchmark::State& state) {
  const int64_t length = state.range(0), prompts = std::max<int64_t>(1, 2048 / length), heads = 9, kv = 3, hd = 64;
  const bool with_sinks = state.range(1) != 0;
  const int64_t n = length * prompts;
  std::vector<float> q = random_values(n * heads * hd), k = random_values(n * kv * hd), v = random_values(n * kv * hd);
  std::vector<float> z(q.size());
  std::vector<int64_t> offsets;
  for (int64_t p = 0; p <= prompts; ++p) offsets.push_back(p * length);
  const AttentionShape shape{.heads = heads, .kv_heads = kv, .head_dim = hd, .v_dim = hd, .scale = 0.125};
  Attention attention;
  const AttentionTensors tensors{{q.data(), n, heads * hd, heads * hd},
                                 {k.data(), n, kv * hd, kv * hd},
                                 {v.data(), n, kv * hd, kv * hd},
                                 {z.data(), n, heads * hd, heads * hd}};
  for (auto _ : state) {
    SinkAccumulator sinks(shape, offsets, {});
    attention(shape, tensors, offsets, 0, prompts, with_sinks ? &sinks : nullptr);
  }
  const double pairs = static_cast<double>(prompts * length) * static_cast<double>(length + 1) / 2.0;
  set_flops(state, 4.0 * pairs * static_cast<double>(heads * hd));
}
BENCHMARK(BM_Attention)
    ->ArgNames({"length", "sinks"})
    ->ArgsProduct({{128, 512, 2048, 8192}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void BM_Softmax(benchmark::State& state) {
  const int64_t length = state.range(0);
  const std::vector<float> scores = random_values(length);
  std::vector<float> row;
  for (auto _ : state) {
    row = scores;
    benchmark::DoNotOptimize(softmax_row(row.data(), length, length, 0.125f));
  }
  state.SetItemsProcessed(state.iterations() * length);
}
BENCHMARK(BM_Softmax)->Arg(512)->Arg(8192);

/// What every run does before it begins: of a small model, and of one of 7 billion parameters.
void BM_CheckProducts(benchmark::State& state) {
  const int64_t d = state.range(0), width = state.range(1), hd = state.range(2);
  for (auto _ : state) check_products({{d, width, hd}});
}
BENCHMARK(BM_CheckProducts)->Args({576, 1536, 64})->Args({4096, 11008, 128})->Unit(benchmark::kMillisecond);

void BM_RmsNorm(benchmark::State& state) {
  const int64_t d = 576;
  const std::vector<float> x = random_values(128 * d), gain = random_values(d);
  std::vector<float> out(x.size());
  for (auto _ : state) rms_norm(x.data(), 128, d, d, gain.data(), 1e-5, out.data(), d);
  state.SetItemsProcessed(state.iterations() * 128 * d);
}
BENCHMARK(BM_RmsNorm);

void BM_Silu(benchmark::State& state) {
  const int64_t width = 1536;
  const std::vector<float> gate_up = random_values(128 * 2 * width);
  std::vector<float> post(128 * width);
  for (auto _ : state)
    gated_activation(Activator::silu, gate_up.data(), gate_up.data() + width, 128, width, 2 * width, 2 * width,
                     post.data(), width);
  state.SetItemsProcessed(state.iterations() * 128 * width);
}
BENCHMARK(BM_Silu);

}  // namespace
}  // namespace spikescope

BENCHMARK_MAIN();
