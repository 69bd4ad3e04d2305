#include "quant/gptq.h"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/fail.h"
#include "base/parallel.h"
#include "base/vectorized.h"
#include "model/product.h"

namespace spikescope {
namespace {

constexpr int64_t kMostRows = 2048;  // of inputs in one float32 sum
constexpr int64_t kRows = 16;        // of weights that pass by a row of U together

/// y -= a x.
SPIKESCOPE_VECTORIZED
void subtract(const float* x, float a, int64_t count, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] -= a * x[i];
}

std::vector<int64_t> column_order(const InputMoments& moments, bool act_order) {
  std::vector<int64_t> order(static_cast<size_t>(moments.size()));
  std::iota(order.begin(), order.end(), 0);
  if (act_order)
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return moments.at(a, a) > moments.at(b, b); });
  return order;
}

}  // namespace

InputMoments::InputMoments(int64_t size) : size_(size), sum_(static_cast<size_t>(size * size)) {}

void InputMoments::add(ConstMatrixView rows) {
  if (rows.columns != size_) fail("inputs of {} values for moments of {}", rows.columns, size_);
  const int64_t stride = left_stride(std::min(rows.rows, kMostRows));
  transposed_.resize(static_cast<size_t>(size_ * stride));
  product_.resize(static_cast<size_t>(size_ * size_));
  for (int64_t first = 0; first < rows.rows; first += kMostRows) {
    const int64_t count = std::min(kMostRows, rows.rows - first);
    const ConstMatrixView piece(rows.data + first * rows.stride, count, size_, rows.stride);
    parallel_for(size_, [&](int64_t i) {
      for (int64_t row = 0; row < count; ++row)
        transposed_[static_cast<size_t>(i * stride + row)] = piece.data[row * piece.stride + i];
    });
    Panels right;
    right.reset(count, size_);
    right.set_rows(piece);
    for_row_pieces(size_, [&](int64_t begin, int64_t height) {
      const MatrixView out{product_.data() + begin * size_, height, size_, size_};
      product({transposed_.data() + begin * stride, height, count, stride}, right, out);
      for (int64_t i = begin; i < begin + height; ++i)
        for (int64_t j = 0; j <= i; ++j)
          sum_[static_cast<size_t>(i * size_ + j)] += static_cast<double>(product_[static_cast<size_t>(i * size_ + j)]);
    });
    rows_ += count;
  }
}

std::vector<double> inverse_factor(const InputMoments& moments, double damping, const std::vector<int64_t>& order) {
  const int64_t n = moments.size();
  double mean = 0.0;
  for (int64_t i = 0; i < n; ++i) mean += 2.0 * moments.at(i, i) / static_cast<double>(n);
  // H backwards = L L^T, so H = R R^T with R = L backwards, upper triangular; then U = inverse(R): one factor and one
  // triangular inverse in place of a whole inverse and another factor.
  Eigen::MatrixXd h(n, n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j <= i; ++j) {
      const int64_t a = order[static_cast<size_t>(n - 1 - i)], b = order[static_cast<size_t>(n - 1 - j)];
      h(i, j) = 2.0 * moments.at(a, b);
      if (i != j) continue;
      if (h(i, i) == 0.0) h(i, i) = 1.0;
      h(i, i) += damping * mean;
    }
  const Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> factor(h);  // in place
  if (factor.info() != Eigen::Success)
    fail(
        "the moments of a layer's {} inputs have no Cholesky factor: too few tokens, or inputs that are not finite; "
        "use "
        "more calibration text or a larger damping",
        n);
  Eigen::MatrixXd inverse = Eigen::MatrixXd::Identity(n, n);
  h.triangularView<Eigen::Lower>().solveInPlace(inverse);
  std::vector<double> upper(static_cast<size_t>(n * n), 0.0);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i; j < n; ++j) upper[static_cast<size_t>(i * n + j)] = inverse(n - 1 - i, n - 1 - j);
  return upper;
}

QuantizedMatrix gptq(ConstMatrixView weights, const InputMoments& moments, const Rounding& rounding,
                     const GptqOptions& options) {
  const WeightFormat& format = rounding.format;
  const int64_t n = weights.columns;
  if (moments.size() != n) fail("a matrix of {} columns for moments of {} inputs", n, moments.size());
  const std::vector<int64_t> order = column_order(moments, options.act_order);
  const std::vector<double> factor = inverse_factor(moments, options.damping, order);
  // A row of U over its diagonal value: what one step of error takes from the columns after it.
  std::vector<float> shares(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i; j < n; ++j)
      shares[static_cast<size_t>(i * n + j)] =
          static_cast<float>(factor[static_cast<size_t>(i * n + j)] / factor[static_cast<size_t>(i * n + i)]);

  QuantizedMatrix matrix{weights.rows, n, std::vector<int8_t>(static_cast<size_t>(weights.rows * n)),
                         choose_scales(weights, rounding)};
  const bool as_it_goes = format.scope == WeightFormat::Scope::group && !options.act_order;
  const int64_t a_row = format.scales_a_row(n), width = n / a_row;
  parallel_for((weights.rows + kRows - 1) / kRows, [&](int64_t piece) {
    const int64_t first = piece * kRows, count = std::min(kRows, weights.rows - first);
    std::vector<float> rest(static_cast<size_t>(count * n));  // columns in order
    for (int64_t r = 0; r < count; ++r)
      for (int64_t i = 0; i < n; ++i) {
        const int64_t column = order[static_cast<size_t>(i)];
        // What an input that is always 0 is multiplied with makes no difference.
        const float weight = weights.data[(first + r) * weights.stride + column];
        rest[static_cast<size_t>(r * n + i)] = moments.at(column, column) == 0.0 ? 0.0f : weight;
      }
    for (int64_t i = 0; i < n; ++i) {
      const int64_t column = order[static_cast<size_t>(i)];
      const float* share = shares.data() + i * n;
      for (int64_t r = 0; r < count; ++r) {
        float* row = rest.data() + r * n;
        if (as_it_goes && i % width == 0)
          matrix.scales[static_cast<size_t>((first + r) * a_row + i / width)] =
              choose_scale({row + i, static_cast<size_t>(width)}, rounding);
        const Scale& scale = matrix.scale(format, first + r, column);
        const int q = quantize_value(row[i], scale, format.bits);
        matrix.values[static_cast<size_t>((first + r) * n + column)] = static_cast<int8_t>(q);
        subtract(share + i + 1, row[i] - dequantize_value(q, scale), n - i - 1, row + i + 1);
      }
    }
  });
  return matrix;
}

double output_error(ConstMatrixView weights, const QuantizedMatrix& matrix, const WeightFormat& format,
                    const InputMoments& moments) {
  const int64_t n = weights.columns, stride = left_stride(n);
  std::vector<float> square(static_cast<size_t>(n * n));
  parallel_for(n, [&](int64_t i) {
    for (int64_t j = 0; j < n; ++j)
      square[static_cast<size_t>(i * n + j)] =
          static_cast<float>(moments.at(i, j) / static_cast<double>(moments.rows()));
  });
  Panels right;
  right.reset(n, n);
  right.set_rows({square.data(), n, n, n});
  // v H v^T for each row v of W - Q, and of W.
  std::vector<double> sums(static_cast<size_t>(2 * weights.rows));
  for_row_pieces(weights.rows, [&](int64_t first, int64_t count) {
    std::vector<float> left(static_cast<size_t>(count * stride)), out(static_cast<size_t>(count * n));
    for (const bool whole : {false, true}) {
      for (int64_t r = 0; r < count; ++r)
        for (int64_t i = 0; i < n; ++i) {
          const int q = matrix.values[static_cast<size_t>((first + r) * n + i)];
          left[static_cast<size_t>(r * stride + i)] =
              weights.data[(first + r) * weights.stride + i] -
              (whole ? 0.0f : dequantize_value(q, matrix.scale(format, first + r, i)));
        }
      product({left.data(), count, n, stride}, right, {out.data(), count, n, n});
      for (int64_t r = 0; r < count; ++r)
        for (int64_t i = 0; i < n; ++i)
          sums[static_cast<size_t>(2 * (first + r) + (whole ? 1 : 0))] +=
              static_cast<double>(left[static_cast<size_t>(r * stride + i)]) *
              static_cast<double>(out[static_cast<size_t>(r * n + i)]);
    }
  });
  double error = 0.0, size = 0.0;
  for (size_t i = 0; i < sums.size(); i += 2) {
    error += sums[i];
    size += sums[i + 1];
  }
  return size > 0.0 ? error / size : 0.0;
}

}  // namespace spikescope
