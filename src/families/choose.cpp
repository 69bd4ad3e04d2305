#include "families/choose.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "base/fail.h"
#include "base/nearest.h"
#include "families/places.h"
#include "io/printable.h"

namespace spikescope {
namespace {

/// Keys that say nothing about the architecture.
constexpr std::string_view kSilentKeys[] = {"_name_or_path",
                                            "architectures",
                                            "auto_map",
                                            "attention_dropout",
                                            "attention_probs_dropout_prob",
                                            "bos_token_id",
                                            "dtype",
                                            "embd_pdrop",
                                            "eos_token_id",
                                            "hidden_dropout",
                                            "hidden_dropout_prob",
                                            "initializer_range",
                                            "model_type",
                                            "pad_token_id",
                                            "resid_pdrop",
                                            "torch_dtype",
                                            "transformers_version",
                                            "unk_token_id",
                                            "use_cache",
                                            "pretraining_tp"};

bool says_something(const std::string& key) {
  return std::find(std::begin(kSilentKeys), std::end(kSilentKeys), key) == std::end(kSilentKeys);
}

/// A name with its numbers made "{}", as families write them.
std::string pattern_of(std::string_view name) {
  std::string pattern;
  for (size_t i = 0; i < name.size(); ++i) {
    const bool digit = name[i] >= '0' && name[i] <= '9', begins = i == 0 || name[i - 1] == '.';
    if (!digit || !begins) {
      pattern += name[i];
      continue;
    }
    size_t end = i;
    while (end < name.size() && name[end] >= '0' && name[end] <= '9') ++end;
    if (end == name.size() || name[end] == '.') {
      pattern += "{}";
      i = end - 1;
    } else {
      pattern += name[i];
    }
  }
  return pattern;
}

std::string_view bare(std::string_view name, std::string_view prefix) {
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

/// A role's names in this format, without the family's prefix.
std::vector<std::string_view> patterns_of(const Family& family, const RoleName& entry, Format format) {
  std::string_view names = format == Format::gguf ? entry.gguf.pattern : entry.huggingface.pattern;
  std::vector<std::string_view> patterns;
  while (!names.empty()) {
    const std::string_view name = names.substr(0, names.find('|'));
    patterns.push_back(bare(name, family.prefix));
    names.remove_prefix(std::min(names.size(), name.size() + 1));
  }
  return patterns;
}

/// The kinds of tensors in a checkpoint, without whichever of the family's prefixes makes them known.
std::set<std::string> kinds_of(const Family& family, Format format, const TensorTable& tensors) {
  std::vector<std::string_view> prefixes = family.other_prefixes;
  prefixes.insert(prefixes.end(), {family.prefix, std::string_view()});
  std::set<std::string_view> known;
  for (const RoleName& entry : family.names)
    for (const std::string_view pattern : patterns_of(family, entry, format)) known.insert(pattern);
  std::set<std::string> kinds;
  for (const TensorInfo& tensor : tensors.tensors()) {
    const std::string pattern = pattern_of(tensor.name);
    const auto own = std::find_if(prefixes.begin(), prefixes.end(),
                                  [&](std::string_view prefix) { return known.contains(bare(pattern, prefix)); });
    kinds.emplace(own == prefixes.end() ? std::string_view(pattern) : bare(pattern, *own));
  }
  return kinds;
}

/// Those that the family has no name for.
std::vector<std::string> unknown_tensors(const Family& family, Format format, const TensorTable& tensors) {
  std::set<std::string> kinds = kinds_of(family, format, tensors);
  for (const RoleName& entry : family.names)
    for (const std::string_view pattern : patterns_of(family, entry, format)) kinds.erase(std::string(pattern));
  return {kinds.begin(), kinds.end()};
}

bool supports(const Family& family, Format format) {
  return format == Format::gguf ? family.from_gguf != nullptr : family.from_config != nullptr;
}

Architecture architecture_of(const Family& family, Format format, const Config& config, const TensorTable& tensors) {
  Architecture a = format == Format::gguf ? family.from_gguf(config, tensors) : family.from_config(config, tensors);
  a.blocks.resize(static_cast<size_t>(a.n_layers));
  return a;
}

/// Kinds of tensors that a model of the family would leave, and kinds that it would miss.
size_t misfits(const Family& family, Format format, const Config& config, const TensorTable& tensors) try {
  // Keys that a trial reads do not count as understood.
  const Architecture a =
      architecture_of(family, format, Config(config.json(), config.what(), config.prefix()), tensors);
  std::set<std::string> left = kinds_of(family, format, tensors);
  const std::set<std::string> there = left;
  size_t missing = 0;
  for (const RoleName& entry : family.names) {
    bool needed = has_role(a, entry.role);
    for (int layer = 0; layer < a.n_layers && !needed; ++layer) needed = has_role(a, entry.role, layer);
    if (!needed) continue;
    bool found = false;
    for (const std::string_view pattern : patterns_of(family, entry, format)) {
      found = found || there.contains(std::string(pattern));
      left.erase(std::string(pattern));
    }
    if (!found) ++missing;
  }
  return left.size() + missing;
} catch (const Error&) {
  return tensors.tensors().size();
}

/// The family that fits the tensors best; of equal ones that with the nearest name.
const Family& nearest_family(Format format, const std::string& type, const Config& config, const TensorTable& tensors) {
  const Family* nearest = nullptr;
  std::tuple<size_t, size_t, size_t> least;
  for (const Family& family : families()) {
    if (!supports(family, format)) continue;
    const std::tuple distance = {unknown_tensors(family, format, tensors).size(),
                                 misfits(family, format, config, tensors),
                                 edit_distance(type.substr(0, 64), family.name)};
    if (!nearest || distance < least) {
      nearest = &family;
      least = distance;
    }
  }
  return *nearest;
}

std::string listed(std::vector<std::string> names) {
  constexpr size_t kMost = 12;
  for (std::string& name : names) name = printable(name);
  if (names.size() <= kMost) return fmt::format("{}", fmt::join(names, ", "));
  const size_t more = names.size() - kMost;
  names.resize(kMost);
  return fmt::format("{} and {} more", fmt::join(names, ", "), more);
}

[[noreturn]] void fail_unknown(Format format, const std::string& type, const Config& config,
                               const TensorTable& tensors) {
  const Family& family = nearest_family(format, type, config, tensors);
  std::string trouble;
  try {
    architecture_of(family, format, config, tensors);
  } catch (const Error& error) {
    trouble = fmt::format("; read so, it fails: {}", error.what());
  }
  std::vector<std::string> keys;
  for (std::string& key : config.unread())
    if (says_something(key)) keys.push_back(std::move(key));
  const std::vector<std::string> unknown = unknown_tensors(family, format, tensors);
  fail(
      "{}: {} '{}' is not supported. The nearest family is {} (--as {} tries it){}. Config keys that it does not "
      "understand: {}. Tensors that it does not know: {}. What is supported: docs/families.md; how to add a family: "
      "docs/adding-a-family.md",
      config.what(), format == Format::gguf ? "general.architecture" : "model_type", printable(type), family.name,
      family.name, trouble, keys.empty() ? "none" : listed(keys), unknown.empty() ? "none" : listed(unknown));
}

}  // namespace

const Family& choose_family(Format format, const std::string& type, const std::string& as, const Config& config,
                            const TensorTable& tensors) {
  const std::string& wanted = as.empty() ? type : as;
  for (const Family& family : families()) {
    const auto& known = format == Format::gguf ? family.gguf_architectures : family.model_types;
    const bool named = std::find(known.begin(), known.end(), wanted) != known.end();
    if ((named || (!as.empty() && family.name == as)) && supports(family, format)) return family;
  }
  if (as.empty()) fail_unknown(format, type, config, tensors);
  std::vector<std::string_view> names;
  for (const Family& family : families())
    if (supports(family, format)) names.push_back(family.name);
  fail_usage("--as {}: there is no such family for {} files; there are {}", as,
             format == Format::gguf ? "GGUF" : "safetensors", fmt::join(names, ", "));
}

const RoleName& name_of(const Family& family, Role role) {
  for (const RoleName& entry : family.names)
    if (entry.role == role) return entry;
  fail("{} models: no tensor is known for {}", family.name, role_name(role));
}

}  // namespace spikescope
