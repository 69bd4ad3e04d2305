#include "families/places.h"

#include <algorithm>

#include "base/fail.h"

namespace spikescope {
namespace {

std::string filled(std::string_view pattern, int first, int second) {
  std::string name;
  for (const int number : {first, second}) {
    const size_t at = pattern.find("{}");
    if (at == std::string_view::npos) break;
    name += std::string(pattern.substr(0, at)) + std::to_string(number);
    pattern.remove_prefix(at + 2);
  }
  return name + std::string(pattern);
}

/// The first of the pattern's names that the checkpoint has; the first of all where it has none.
std::string tensor_name(const TensorTable& tensors, const WeightKey& key, std::string_view patterns,
                        const Prefix& prefix) {
  std::string first;
  while (!patterns.empty()) {
    std::string_view pattern = patterns.substr(0, patterns.find('|'));
    patterns.remove_prefix(std::min(patterns.size(), pattern.size() + 1));
    std::string name;
    if (pattern.starts_with(prefix.in_names)) {
      name = prefix.in_checkpoint;
      pattern.remove_prefix(prefix.in_names.size());
    }
    name += filled(pattern, key.layer, key.expert);
    if (tensors.find(name)) return name;
    if (first.empty()) first = name;
  }
  return first;
}

/// 0: queries, 1: keys, 2: values.
int part_of(Role role) {
  if (role == Role::w_q || role == Role::b_q) return 0;
  if (role == Role::w_k || role == Role::b_k) return 1;
  return 2;
}

}  // namespace

WeightPlace place_of(const Architecture& a, const TensorTable& tensors, const WeightKey& key, const TensorName& name,
                     const Prefix& prefix) {
  if (name.pattern.empty())
    fail("{}: no tensor is known for {} in files of this format", a.family, role_name(key.role));
  WeightPlace place{tensor_name(tensors, key, name.pattern, prefix)};
  const std::pair<int64_t, int64_t> size = role_shape(a, key.role);
  const int64_t rows = size.first, columns = size.second;  // clang lets no lambda capture a structured binding
  const int part = part_of(key.role);
  const auto packed = [&](int64_t all_rows) {
    place.shape = {all_rows};
    if (columns > 1) place.shape.push_back(columns);
  };
  switch (name.pack) {
    case Pack::alone:
      break;
    case Pack::transposed:
      place.transposed = true;
      break;
    case Pack::qkv:
    case Pack::qkv_transposed:
      packed(a.q_size() + a.k_size() + a.v_size());
      place.first = part == 0 ? 0 : part == 1 ? a.q_size() : a.q_size() + a.k_size();
      if (name.pack == Pack::qkv_transposed && columns > 1) {
        place.transposed = true;
        std::swap(place.shape[0], place.shape[1]);
      }
      break;
    case Pack::qkv_by_group: {
      const int64_t group = a.n_heads / a.n_kv_heads;
      packed(a.q_size() + a.k_size() + a.v_size());
      place.first = part == 0 ? 0 : (group + part - 1) * a.head_dim;
      place.run = (part == 0 ? group : 1) * a.head_dim;
      place.stride = (group + 2) * a.head_dim;
      break;
    }
    case Pack::gate_up:
      if (!a.gated) break;
      packed(2 * rows);
      place.first = key.role == Role::w_gate || key.role == Role::b_gate ? 0 : rows;
      break;
    case Pack::stacked:
      place.shape = {a.experts.count, rows, columns};
      place.first = key.expert * rows;
      break;
    case Pack::patches:
      place.shape = {rows, a.patches.channels, a.patches.size, a.patches.size};
      break;
  }
  return place;
}

}  // namespace spikescope
