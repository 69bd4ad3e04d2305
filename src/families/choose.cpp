#include "families/choose.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

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

/// The kinds of tensors in a checkpoint that a family has no name for.
std::vector<std::string> unknown_tensors(const Family& family, Format format, const TensorTable& tensors) {
  std::set<std::string> known, unknown;
  for (const RoleName& entry : family.names) {
    std::string_view patterns = format == Format::gguf ? entry.gguf.pattern : entry.huggingface.pattern;
    while (!patterns.empty()) {
      const std::string_view pattern = patterns.substr(0, patterns.find('|'));
      known.emplace(pattern);
      patterns.remove_prefix(std::min(patterns.size(), pattern.size() + 1));
    }
  }
  for (const TensorInfo& tensor : tensors.tensors())
    if (std::string pattern = pattern_of(tensor.name); !known.contains(pattern)) unknown.insert(std::move(pattern));
  return {unknown.begin(), unknown.end()};
}

bool supports(const Family& family, Format format) {
  return format == Format::gguf ? family.from_gguf != nullptr : family.from_config != nullptr;
}

/// The family that has a name for most of the tensors' kinds.
const Family& nearest_family(Format format, const std::string& type, const TensorTable& tensors) {
  const Family* nearest = nullptr;
  std::pair<size_t, size_t> least;
  for (const Family& family : families()) {
    if (!supports(family, format)) continue;
    const std::pair<size_t, size_t> distance = {unknown_tensors(family, format, tensors).size(),
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
  const Family& family = nearest_family(format, type, tensors);
  std::string trouble;
  try {
    format == Format::gguf ? family.from_gguf(config, tensors) : family.from_config(config, tensors);
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
