#include "figure/ticks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "figure/text.h"

namespace spikescope {
namespace {

constexpr size_t kLongestName = 24;  // cells of a category's name beside an axis

std::string superscript(int exponent) {
  static constexpr std::string_view digits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string out;
  for (const char c : std::to_string(exponent)) out += c == '-' ? "⁻" : digits[c - '0'];
  return out;
}

std::string with_separators(std::string_view text) {
  const size_t start = text.starts_with('-') ? 1 : 0;
  const size_t whole = std::min(text.find('.'), text.size());
  std::string out = start ? "−" : "";
  for (size_t i = start; i < text.size(); ++i) {
    if (i > start && i < whole && (whole - i) % 3 == 0) out += ',';
    out += text[i];
  }
  return out;
}

int exponent_of(double value) { return static_cast<int>(std::floor(std::log10(std::abs(value)))); }

std::string scientific(double value, int digits) {
  int exponent = exponent_of(value);
  std::string mantissa = fmt::format("{:.{}f}", value / std::pow(10.0, exponent), digits);
  if (mantissa == "10" || mantissa == "-10") {
    mantissa.pop_back();
    ++exponent;
  }
  return with_separators(mantissa) + "×10" + superscript(exponent);
}

/// 1, 2 or 5 times a power of ten, whichever divides the span into nearest to `about` steps (by ratio).
double nice_step(double span, int about) {
  const double raw = span / std::max(about, 1);
  const double power = std::pow(10.0, std::floor(std::log10(raw))), digits = raw / power;
  return power * (digits < std::sqrt(2.0) ? 1 : digits < std::sqrt(10.0) ? 2 : digits < std::sqrt(50.0) ? 5 : 10);
}

std::vector<Tick> linear_ticks(const Range& range, int about, double least_step) {
  const double step = std::max(nice_step(range.high - range.low, about), least_step);
  std::vector<Tick> ticks;
  const double first = std::ceil(range.low / step - 1e-9);
  for (int i = 0; i < 50; ++i) {
    const double at = (first + i) * step;
    if (at > range.high + 1e-9 * step) break;
    ticks.push_back({at == 0 ? 0 : at, number_label(at, step)});
  }
  return ticks;
}

std::vector<Tick> log_ticks(const Range& range, int about) {
  const int first = static_cast<int>(std::ceil(std::log10(range.low) - 1e-9));
  const int last = static_cast<int>(std::floor(std::log10(range.high) + 1e-9));
  std::vector<Tick> ticks;
  if (last - first < 1) {  // no two powers of ten: 1, 2, 5 of each, and round numbers within less than that
    for (int exponent = first - 1; exponent <= last + 1; ++exponent) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double at = factor * std::pow(10.0, exponent);
        if (at >= range.low * 0.9999 && at <= range.high * 1.0001) ticks.push_back({at, number_label(at, at)});
      }
    }
    return ticks.size() >= 2 ? ticks : linear_ticks(range, about, 0);
  }
  const int stride = std::max(1, static_cast<int>(std::ceil(double(last - first + 1) / std::max(about, 2))));
  for (int exponent = first; exponent <= last; exponent += stride) {
    ticks.push_back({std::pow(10.0, exponent), "10" + superscript(exponent)});
  }
  return ticks;
}

std::vector<Tick> category_ticks(const Axis& axis, int about) {
  const size_t most = static_cast<size_t>(std::max(about, 1));
  size_t step = 1;
  for (size_t power = 1; (axis.categories.size() + step - 1) / step > most; power *= 10) {
    for (const size_t factor : {1, 2, 5}) {
      step = factor * power;
      if ((axis.categories.size() + step - 1) / step <= most) break;
    }
  }
  std::vector<Tick> ticks;
  for (size_t i = 0; i < axis.categories.size(); i += step) {
    ticks.push_back({static_cast<double>(i), visible_text(axis.categories[i], kLongestName)});
  }
  return ticks;
}

}  // namespace

double Range::position(double value) const {
  if (!drawable(value, log)) return std::numeric_limits<double>::quiet_NaN();
  if (log) return (std::log10(value) - std::log10(low)) / (std::log10(high) - std::log10(low));
  return (value / 2 - low / 2) / (high / 2 - low / 2);  // halves: the difference of two huge numbers stays finite
}

bool drawable(double value, bool log) { return std::isfinite(value) && (!log || value > 0); }

Range axis_range(const Axis& axis, std::span<const double> data, bool from_zero) {
  Range range{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(), axis.log};
  if (!axis.categories.empty()) return {-0.5, static_cast<double>(axis.categories.size()) - 0.5, false};
  for (const double value : data) {
    if (!drawable(value, axis.log)) continue;
    const double bounded = std::clamp(value, axis.log ? 1e-300 : -1e300, 1e300);  // room for margins
    range.low = std::min(range.low, bounded);
    range.high = std::max(range.high, bounded);
  }
  const bool empty = range.low > range.high;
  if (empty) range = axis.log ? Range{1, 10, true} : Range{0, 1, false};
  if (axis.log) {
    const double margin = std::pow(range.high / range.low, 0.05);
    const double factor = margin > 1.01 && std::isfinite(margin) ? margin : 1.5;
    if (!empty) range = {std::max(range.low / factor, 1e-300), std::min(range.high * factor, 1e300), true};
  } else if (!empty) {
    double span = range.high - range.low;
    if (span <= 1e-12 * std::max(std::abs(range.low), std::abs(range.high))) span = std::max(std::abs(range.high), 1.0);
    const bool near_zero = range.low >= 0 && range.low < 0.35 * range.high;
    const double low = range.low, high = range.high;
    range.high = from_zero && high <= 0 ? 0 : high + 0.05 * span;
    range.low = low >= 0 && (from_zero || near_zero || low == 0) ? 0 : low - 0.05 * span;
  }
  if (axis.min && drawable(*axis.min, axis.log)) range.low = *axis.min;
  if (axis.max && drawable(*axis.max, axis.log)) range.high = *axis.max;
  if (!(range.low < range.high)) {
    range.high = axis.log ? range.low * 10 : range.low + std::max(std::abs(range.low), 1.0);
  }
  return range;
}

std::vector<Tick> axis_ticks(const Axis& axis, const Range& range, int about, bool whole) {
  if (!axis.categories.empty()) return category_ticks(axis, about);
  return range.log ? log_ticks(range, about) : linear_ticks(range, about, whole ? 1 : 0);
}

bool all_whole(std::span<const double> values) {
  return std::all_of(values.begin(), values.end(), [](double v) { return !std::isfinite(v) || v == std::floor(v); });
}

std::string number_label(double value, double step) {
  if (!std::isfinite(value)) return std::isnan(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  if (value == 0) return "0";
  const double size = std::abs(value);
  const int decimals = step > 0 && std::isfinite(step) ? std::max(0, -exponent_of(step * 1.0001)) : 3;
  if (size >= 1e7 || decimals > 5) return scientific(value, std::clamp(exponent_of(value) - exponent_of(step), 0, 3));
  return with_separators(fmt::format("{:.{}f}", value, decimals));
}

std::string value_label(double value) {
  if (!std::isfinite(value) || value == 0) return number_label(value, 1);
  std::string text = number_label(value, std::pow(10.0, std::min(exponent_of(value) - 2, 0)));
  if (text.find('.') != std::string::npos && text.find("×") == std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

}  // namespace spikescope
