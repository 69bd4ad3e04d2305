#include "quant/channel_ranges.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/parallel.h"
#include "base/vectorized.h"

namespace spikescope {
namespace {

constexpr int64_t kRowsAPiece = 64;

SPIKESCOPE_VECTORIZED
void widen(const float* values, int64_t count, float* lowest, float* highest) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    lowest[i] = std::min(lowest[i], values[i]);
    highest[i] = std::max(highest[i], values[i]);
  }
}

void add_row(ChannelRange& range, const float* values, int64_t count) {
  range.lowest.resize(static_cast<size_t>(count));
  range.highest.resize(static_cast<size_t>(count));
  widen(values, count, range.lowest.data(), range.highest.data());
}

void merge(ChannelRange& range, const ChannelRange& other) {
  if (other.lowest.empty()) return;
  const auto width = static_cast<int64_t>(other.lowest.size());
  add_row(range, other.lowest.data(), width);
  add_row(range, other.highest.data(), width);
}

/// Matrices that read a site, by role.
struct SiteReader {
  Role role;
  Site site;
};
constexpr std::array kReaders = {
    SiteReader{Role::w_q, Site::attn_in},      SiteReader{Role::w_k, Site::attn_in},
    SiteReader{Role::w_v, Site::attn_in},      SiteReader{Role::w_q_a, Site::attn_in},
    SiteReader{Role::w_kv_a, Site::attn_in},   SiteReader{Role::w_o, Site::o_in},
    SiteReader{Role::w_gate, Site::mlp_in},    SiteReader{Role::w_up, Site::mlp_in},
    SiteReader{Role::router, Site::mlp_in},    SiteReader{Role::expert_gate, Site::mlp_in},
    SiteReader{Role::expert_up, Site::mlp_in}, SiteReader{Role::shared_gate, Site::mlp_in},
    SiteReader{Role::shared_up, Site::mlp_in}, SiteReader{Role::w_down, Site::down_in},
};

bool reads_site(const Architecture& a, Role role, Site site) {
  if (role == Role::w_q && a.latent.q_rank > 0) return false;  // it reads what w_q_a made
  const auto found = std::find_if(kReaders.begin(), kReaders.end(), [&](auto& row) { return row.role == role; });
  if (found == kReaders.end()) return false;
  return site == (found->site == Site::mlp_in && a.shared_norm ? Site::attn_in : found->site);
}

}  // namespace

float ChannelRange::absmax(size_t channel) const { return std::max(-lowest[channel], highest[channel]); }

void ChannelStatistics::add(const Activation& at, const std::vector<uint8_t>& spikes) {
  const int64_t rows = at.values.rows(), size = at.values.row_size();
  const auto is_spike = [&](int64_t row) { return spikes[static_cast<size_t>(at.first_row + row)] != 0; };
  parallel_for((rows + kRowsAPiece - 1) / kRowsAPiece, [&](int64_t piece) {
    ChannelRange& range = ordinary_[static_cast<size_t>(thread_index())];
    const int64_t end = std::min(rows, (piece + 1) * kRowsAPiece);
    for (int64_t row = piece * kRowsAPiece; row < end; ++row)
      if (!is_spike(row)) add_row(range, at.values.row(row), size);
  });
  for (int64_t row = 0; row < rows; ++row)
    if (is_spike(row)) add_row(of_spikes_, at.values.row(row), size);
}

std::pair<ChannelRange, ChannelRange> ChannelStatistics::take() {
  std::pair<ChannelRange, ChannelRange> ranges;
  for (ChannelRange& range : ordinary_) {
    merge(ranges.first, range);
    range = {};
  }
  ranges.second = ranges.first;
  merge(ranges.second, of_spikes_);
  of_spikes_ = {};
  return ranges;
}

std::vector<float> reading_maxima(const ModelWeights& weights, Site site, int layer) {
  const Architecture& a = weights.architecture();
  std::vector<float> maxima(static_cast<size_t>(site_width(a, site)));
  std::vector<float> rows;
  for (const WeightKey& key : weight_keys(a, layer)) {
    if (!reads_site(a, key.role, site)) continue;
    const auto [count, columns] = weights.shape(key.role);
    for (int64_t first = 0; first < count; first += kRowsAPiece) {
      const int64_t here = std::min(kRowsAPiece, count - first);
      rows.resize(static_cast<size_t>(here * columns));
      weights.read_rows(key, first, here, rows.data());
      for (size_t i = 0; i < rows.size(); ++i) {
        float& most = maxima[i % static_cast<size_t>(columns)];
        most = std::max(most, std::abs(rows[i]));
      }
    }
  }
  return maxima;
}

}  // namespace spikescope
