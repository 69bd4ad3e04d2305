#include "model/product.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <random>

#include "error_of.h"

namespace spikescope {
namespace {

std::vector<float> random_values(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

using Choice = std::pair<Dtype, std::string>;

/// Every kernel that this machine has.
std::vector<Choice> choices() {
  std::vector<Choice> all;
  for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16})
    for (const std::string& name : product_kernels(dtype)) all.emplace_back(dtype, name);
  return all;
}

class Product : public ::testing::TestWithParam<Choice> {
 protected:
  void SetUp() override { choose_products(GetParam().first, GetParam().second); }
  void TearDown() override { choose_products(Dtype::float32); }

  /// What becomes of a factor: itself, or the nearest bfloat16 value, ties to even.
  static double factor(float value) {
    if (GetParam().first == Dtype::float32) return value;
    int exponent = 0;
    const double mantissa = std::frexp(static_cast<double>(value), &exponent);
    return std::ldexp(std::nearbyint(std::ldexp(mantissa, 8)), exponent - 8);
  }
};

struct Shape {
  int64_t rows, columns, inner;
};

TEST_P(Product, AgreesWithFloat64AtEveryRest) {
  // Rows, columns and inner sizes around the kernels' own (14, 32; 6, 16; 128 rows, 192 and 2,048 deep).
  for (const auto& [m, n, k] : {Shape{1, 1, 1},
                                {3, 15, 7},
                                {13, 33, 64},
                                {14, 32, 128},
                                {15, 31, 129},
                                {113, 70, 200},
                                {30, 40, 1024},
                                {29, 48, 1100},
                                {30, 33, 2048},
                                {16, 48, 2049},
                                {257, 33, 600},
                                {129, 17, 193},
                                {7, 5, 2500}}) {
    const int64_t a_stride = k + 3, out_stride = n + 5;
    const std::vector<float> a = random_values(m * a_stride, 1), b = random_values(n * k, 2);
    Panels by_columns, by_rows;
    by_columns.reset(k, n);
    by_columns.set_columns(0, {b.data(), n / 2, k, k});
    by_columns.set_columns(n / 2, {b.data() + n / 2 * k, n - n / 2, k, k});
    std::vector<float> transposed(b.size());
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < k; ++j) transposed[static_cast<size_t>(j * n + i)] = b[static_cast<size_t>(i * k + j)];
    by_rows.reset(k, n);
    by_rows.set_rows({transposed.data(), k, n, n});
    std::vector<float> out(static_cast<size_t>(m * out_stride), -7.0f), same = out;
    product({a.data(), m, k, a_stride}, by_columns, {out.data(), m, n, out_stride});
    product({a.data(), m, k, a_stride}, by_rows, {same.data(), m, n, out_stride});
    EXPECT_EQ(out, same);
    for (int64_t row = 0; row < m; ++row) {
      for (int64_t column = 0; column < n; ++column) {
        double sum = 0.0, magnitude = 0.0;
        for (int64_t i = 0; i < k; ++i) {
          const double term =
              factor(a[static_cast<size_t>(row * a_stride + i)]) * factor(b[static_cast<size_t>(column * k + i)]);
          sum += term;
          magnitude += std::abs(term);
        }
        ASSERT_NEAR(out[static_cast<size_t>(row * out_stride + column)], sum, 1e-6 * magnitude + 1e-7)
            << m << " x " << n << " x " << k << " at " << row << ", " << column;
      }
      for (int64_t column = n; column < out_stride; ++column)
        ASSERT_EQ(out[static_cast<size_t>(row * out_stride + column)], -7.0f) << "beyond the columns";
    }
  }
}

TEST_P(Product, TakesTheFirstRowsAndColumnsOfTheRightSide) {
  const int64_t m = 20, n = 70, k = 90, fewer_columns = 37, fewer_inner = 41;
  const std::vector<float> a = random_values(m * k, 3), b = random_values(n * k, 4);
  Panels panels;
  panels.reset(k, n);
  panels.set_columns(0, {b.data(), n, k, k});
  std::vector<float> out(static_cast<size_t>(m * fewer_columns));
  product({a.data(), m, fewer_inner, k}, panels, {out.data(), m, fewer_columns, fewer_columns});
  for (int64_t row = 0; row < m; ++row)
    for (int64_t column = 0; column < fewer_columns; ++column) {
      double sum = 0.0;
      for (int64_t i = 0; i < fewer_inner; ++i)
        sum += factor(a[static_cast<size_t>(row * k + i)]) * factor(b[static_cast<size_t>(column * k + i)]);
      EXPECT_NEAR(out[static_cast<size_t>(row * fewer_columns + column)], sum, 1e-4);
    }
}

TEST_P(Product, TakenUpAgainIsTheWhole) {
  const int64_t m = 70, n = 40, k = 500, first = 320;
  const std::vector<float> a = random_values(m * k, 13), b = random_values(n * k, 14);
  Panels panels;
  panels.reset(k, n);
  panels.set_columns(0, {b.data(), n, k, k});
  std::vector<float> whole(static_cast<size_t>(m * n)), parts(whole), by_rows(whole);
  product({a.data(), m, k, k}, panels, {whole.data(), m, n, n});
  product_part({a.data(), m, first, k}, panels, 0, 0, {parts.data(), m, n, n});
  product_part({a.data() + first, m, k - first, k}, panels, first, 0, {parts.data(), m, n, n}, true);
  LeftSide left;
  for (const auto& [begin, count] : {std::pair{int64_t{0}, first}, {first, k - first}}) {
    left.reset(m, count);
    for (int64_t row = 0; row < m; ++row) left.set_row(row, a.data() + row * k + begin);
    product_part(left, panels, begin, 0, {by_rows.data(), m, n, n}, begin > 0);
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    ASSERT_NEAR(parts[i], whole[i], 1e-4) << i;
    ASSERT_NEAR(by_rows[i], whole[i], 1e-4) << i;
  }
}

TEST_P(Product, ColumnsThatFillThePanelAreZero) {
  const int64_t n = 21, k = 30;
  const std::vector<float> a = random_values(k, 5), b = random_values(n * k, 6);
  Panels panels;
  panels.reset(k, n);
  panels.set_columns(0, {b.data(), n, k, k});
  const int64_t whole = panels.whole_columns(n);
  ASSERT_GE(whole, n);
  std::vector<float> out(static_cast<size_t>(whole), -7.0f);
  product({a.data(), 1, k, k}, panels, {out.data(), 1, whole, whole});
  for (int64_t column = n; column < whole; ++column) EXPECT_EQ(out[static_cast<size_t>(column)], 0.0f);
}

TEST_P(Product, OnAllThreadsOrInPlaceGivesTheSameBits) {
  // A BLAS (MKL) may sum in another order where memory is aligned otherwise.
  const double allowed = GetParam().second == "blas" ? 1e-3 : 0.0;
  const auto expect_same = [&](const std::vector<float>& a, const std::vector<float>& b) {
    double largest = 0.0;
    for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i]));
    EXPECT_LE(largest, allowed) << a.size() << " values";
  };
  for (const auto& [m, n, k] : {Shape{1, 1000, 70}, {9, 31, 2048}, {17, 333, 577}, {3, 64, 2100}}) {
    const std::vector<float> a = random_values(m * k, 1), b = random_values(n * k, 2);
    Panels panels;
    panels.reset(k, n);
    panels.set_columns(0, {b.data(), n, k, k});
    std::vector<float> out(static_cast<size_t>(m * n)), threaded(out), in_place(out);
    product({a.data(), m, k, k}, panels, {out.data(), m, n, n});
    product_on_all_threads({a.data(), m, k, k}, panels, {threaded.data(), m, n, n});
    expect_same(out, threaded);
    const int64_t stride = left_stride(k);
    ASSERT_GE(stride, k);
    std::vector<float> spread(static_cast<size_t>(m * stride), NAN);
    for (int64_t row = 0; row < m; ++row) std::copy_n(a.data() + row * k, k, spread.data() + row * stride);
    product({spread.data(), m, k, stride}, panels, {in_place.data(), m, n, n});
    expect_same(out, in_place);
  }
}

TEST_P(Product, IsRightOnThisMachine) {
  const double error = product_error();
  EXPECT_GT(error, 0.0) << "float32 rounds";
  EXPECT_LT(error, 1.0);
  EXPECT_NO_THROW(check_products({{64, 576, 1536}}));
}

INSTANTIATE_TEST_SUITE_P(Kernels, Product, ::testing::ValuesIn(choices()), [](const auto& info) {
  return std::string(dtype_name(info.param.first)) + "_" + info.param.second;
});

/// What lets results not depend on threads or on what else is in a batch. A BLAS promises no such thing.
TEST(ProductOfARow, DoesNotDependOnOtherRows) {
  for (const auto& [m, n, k] : {Shape{50, 100, 300}, {130, 40, 1500}, {260, 33, 4200}}) {
    const std::vector<float> a = random_values(m * k, 7), b = random_values(n * k, 8);
    for (const auto& [dtype, kernel] : choices()) {
      if (kernel == "blas") continue;
      choose_products(dtype, kernel);
      Panels panels;
      panels.reset(k, n);
      panels.set_columns(0, {b.data(), n, k, k});
      std::vector<float> together(static_cast<size_t>(m * n)), alone(together);
      product({a.data(), m, k, k}, panels, {together.data(), m, n, n});
      for (int64_t row = 0; row < m; ++row)
        product({a.data() + row * k, 1, k, k}, panels, {alone.data() + row * n, 1, n, n});
      EXPECT_EQ(together, alone) << kernel << ", " << k << " deep";
    }
  }
  choose_products(Dtype::float32);
}

/// `value` with so many bits of mantissa, the leading one included.
float shortened(float value, int bits) {
  int exponent = 0;
  const float mantissa = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(mantissa, bits)), exponent - bits);
}

/// Weights of few bits take fewer products, which must not be seen in the result.
TEST_P(Product, OfShortValuesIsTheSameBesideLongOnes) {
  const int64_t m = 33, n = 40, k = 200;
  const std::vector<float> a = random_values(m * k, 9);
  for (const int bits : {8, 11, 16}) {
    std::vector<float> b = random_values(n * k, 10);
    for (float& value : b) value = shortened(value, bits);
    Panels all_short, said_to_be, with_a_long_one;
    all_short.reset(k, n);
    all_short.set_columns(0, {b.data(), n, k, k});
    said_to_be.reset(k, n, bits);
    said_to_be.set_columns(0, {b.data(), n, k, k});
    EXPECT_TRUE(all_short.fits() && said_to_be.fits());
    EXPECT_LE(said_to_be.mantissa_bits(), (bits + 7) / 8 * 8);
    b[static_cast<size_t>((n - 1) * k + 7)] = 1.0f + 0x1p-23f;
    with_a_long_one.reset(k, n);
    with_a_long_one.set_columns(0, {b.data(), n, k, k});
    EXPECT_TRUE(with_a_long_one.fits());
    if (with_a_long_one.mantissa_bits() == kFloatBits) {  // it makes a difference to this kernel
      Panels too_small;
      too_small.reset(k, n, bits);
      too_small.set_columns(0, {b.data(), n, k, k});
      EXPECT_FALSE(too_small.fits()) << bits;
    }
    std::vector<float> out(static_cast<size_t>(m * n)), beside(out);
    product({a.data(), m, k, k}, all_short, {out.data(), m, n, n});
    product({a.data(), m, k, k}, said_to_be, {beside.data(), m, n, n});
    ASSERT_EQ(out, beside) << bits << " bits";
    product({a.data(), m, k, k}, with_a_long_one, {beside.data(), m, n, n});
    for (int64_t i = 0; i < m * n; ++i) {
      if (i % n == n - 1) continue;
      ASSERT_EQ(out[static_cast<size_t>(i)], beside[static_cast<size_t>(i)]) << bits << " bits, " << i;
    }
  }
}

/// One product has one rounding, and with floats in parts what is left out: 2^-24 of it each, and the rounding of
/// parts.
TEST_P(Product, OfTwoNumbersIsRightToTheLastBits) {
  if (GetParam().first != Dtype::float32) return;
  const int64_t m = 300, n = 200;
  const std::vector<float> a = random_values(m, 11), b = random_values(n, 12);
  Panels panels;
  panels.reset(1, n);
  panels.set_columns(0, {b.data(), n, 1, 1});
  std::vector<float> out(static_cast<size_t>(m * n));
  product({a.data(), m, 1, 1}, panels, {out.data(), m, n, n});
  for (int64_t row = 0; row < m; ++row)
    for (int64_t column = 0; column < n; ++column) {
      const double exact = static_cast<double>(a[static_cast<size_t>(row)]) * b[static_cast<size_t>(column)];
      ASSERT_NEAR(out[static_cast<size_t>(row * n + column)], exact, 0x1p-23 * std::abs(exact))
          << row << ", " << column;
    }
}

TEST_P(Product, PiecesCoverAllRowsOnce) {
  for (const int64_t rows : {0, 1, 27, 56, 57, 1000, 4097}) {
    std::vector<std::atomic<int>> seen(static_cast<size_t>(rows));
    for_row_pieces(rows, [&](int64_t first, int64_t count) {
      EXPECT_LE(count, kRowsAPiece);
      for (int64_t row = first; row < first + count; ++row) ++seen[static_cast<size_t>(row)];
    });
    EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](const auto& count) { return count == 1; })) << rows;
  }
}

TEST(ProductKernel, IsTheBestThereIsUnlessToldOtherwise) {
  for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16}) {
    EXPECT_EQ(product_kernels(dtype).back(), "blas");
    choose_products(dtype, "blas");
    EXPECT_EQ(product_kernel(), dtype == Dtype::float32 ? "BLAS" : "BLAS, rounded to bfloat16");
    EXPECT_EQ(product_dtype(), dtype);
  }
  choose_products(Dtype::float32);
  EXPECT_THAT(testing::error_of([] { choose_products(Dtype::float32, "gpu"); }), ::testing::HasSubstr("blas"));
}

}  // namespace
}  // namespace spikescope
