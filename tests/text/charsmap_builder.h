// Compiled normalization rules made in code.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace spikescope::testing {

/// The bytes of a charsmap that replaces each key (not empty) by its value.
inline std::string charsmap_bytes(const std::map<std::string, std::string>& rules) {
  struct Node {
    std::map<uint8_t, Node> children;
    int64_t value = -1;
  } root;
  std::string replacements;
  for (const auto& [from, to] : rules) {
    Node* node = &root;
    for (const char byte : from) node = &node->children[static_cast<uint8_t>(byte)];
    node->value = static_cast<int64_t>(replacements.size());
    replacements += to + '\0';
  }
  std::vector<uint32_t> units(1);
  std::set<uint32_t> taken = {0};
  // Places the children of the node at `at`: at base ^ byte, and the value, as that of byte 0, at base itself.
  const auto place = [&](const auto& self, const Node& node, uint32_t at) -> void {
    std::vector<uint8_t> labels;
    if (node.value >= 0) labels.push_back(0);
    for (const auto& [byte, child] : node.children) labels.push_back(byte);
    uint32_t base = 1;
    for (size_t i = 0; i < labels.size(); ++i) {
      if (!taken.contains(base ^ labels[i])) continue;
      ++base;
      i = static_cast<size_t>(-1);
    }
    for (const uint8_t label : labels) {
      taken.insert(base ^ label);
      if (units.size() <= (base ^ label)) units.resize((base ^ label) + 1);
      units[base ^ label] = label == 0 ? 1u << 31 | static_cast<uint32_t>(node.value) : label;
    }
    units[at] |= (at ^ base) << 10 | (node.value >= 0 ? 1u << 8 : 0);
    for (const auto& [byte, child] : node.children) self(self, child, base ^ byte);
  };
  place(place, root, 0);
  const auto array_bytes = static_cast<uint32_t>(units.size() * sizeof(uint32_t));
  std::string bytes(sizeof array_bytes + array_bytes, '\0');
  std::memcpy(bytes.data(), &array_bytes, sizeof array_bytes);
  std::memcpy(bytes.data() + sizeof array_bytes, units.data(), array_bytes);
  return bytes + replacements;
}

inline std::string base64(const std::string& bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = i; k < i + 3; ++k) bits = bits << 8 | (k < bytes.size() ? static_cast<uint8_t>(bytes[k]) : 0);
    for (int shift = 18; shift >= 0; shift -= 6) text += kDigits[bits >> shift & 63];
  }
  for (size_t i = 0; i < (3 - bytes.size() % 3) % 3; ++i) text[text.size() - 1 - i] = '=';
  return text;
}

}  // namespace spikescope::testing
