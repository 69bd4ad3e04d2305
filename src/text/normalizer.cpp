#include "text/normalizer.h"

#include "text/byte_level.h"
#include "text/component.h"
#include "text/pattern.h"
#include "text/text_steps.h"

namespace spikescope {
namespace {

// A normalizer without state beyond what its function holds.
template <class Function>
class FunctionNormalizer final : public Normalizer {
 public:
  explicit FunctionNormalizer(Function function) : function_(std::move(function)) {}
  void apply(std::string& text, size_t most) const override {
    if constexpr (std::is_invocable_v<Function, std::string&, size_t>) {
      function_(text, most);
    } else {
      function_(text);
    }
  }

 private:
  Function function_;
};

template <class Function>
Normalizers single(Function function) {
  Normalizers result;
  result.push_back(std::make_unique<FunctionNormalizer<Function>>(std::move(function)));
  return result;
}

// A step without settings.
template <void (*step)(std::string&)>
Normalizers make_step(const Json&, const std::string&) {
  return single([](std::string& text) { step(text); });
}

Normalizers make_sequence(const Json& json, const std::string& where) {
  Normalizers result;
  const Json& list = json_array(json, "normalizers", where);
  for (size_t i = 0; i < list.size(); ++i) {
    for (auto& normalizer : normalizers_from_json(list[i], fmt::format("{}.normalizers[{}]", where, i))) {
      result.push_back(std::move(normalizer));
    }
  }
  return result;
}

Normalizers make_prepend(const Json& json, const std::string& where) {
  return single([prefix = json_get<std::string>(json, "prepend", where)](std::string& text) {
    if (!text.empty()) text.insert(0, prefix);
  });
}

Normalizers make_replace(const Json& json, const std::string& where) {
  auto pattern = std::make_shared<const Pattern>(Pattern::from_json(json.value("pattern", Json()), where));
  return single([pattern, content = json_get<std::string>(json, "content", where)](std::string& text, size_t most) {
    text = pattern->replace(text, content, most);
  });
}

Normalizers make_strip(const Json& json, const std::string& where) {
  return single([left = json_get_or<bool>(json, "strip_left", true, where),
                 right = json_get_or<bool>(json, "strip_right", true, where)](std::string& text) {
    if (left) strip_whitespace_left(text);
    if (right) strip_whitespace_right(text);
  });
}

Normalizers make_bert(const Json& json, const std::string& where) {
  const bool lowercase = json_get_or<bool>(json, "lowercase", true, where);
  const bool accents = json_get_or<bool>(json, "strip_accents", lowercase, where);
  return single([clean = json_get_or<bool>(json, "clean_text", true, where),
                 chinese = json_get_or<bool>(json, "handle_chinese_chars", true, where), accents,
                 lowercase](std::string& text) {
    if (clean) clean_controls(text);
    if (chinese) set_chinese_apart(text);
    if (accents) strip_accents(text);
    if (lowercase) to_lowercase(text);
  });
}

Normalizers make_precompiled(const Json& json, const std::string& where) {
  // Files without one hold null.
  if (!json_optional(json, "precompiled_charsmap")) return {};
  return normalizers_from_charsmap(
      Charsmap::from_base64(json_get<std::string>(json, "precompiled_charsmap", where), where));
}

constexpr ComponentRow<Normalizers> kNormalizers[] = {
    {"Sequence", make_sequence},
    {"NFC", make_step<to_nfc>},
    {"NFD", make_step<to_nfd>},
    {"NFKC", make_step<to_nfkc>},
    {"NFKD", make_step<to_nfkd>},
    {"Prepend", make_prepend},
    {"Replace", make_replace},
    {"Lowercase", make_step<to_lowercase>},
    {"StripAccents", make_step<strip_marks>},
    {"Strip", make_strip},
    {"ByteLevel",
     [](const Json&, const std::string&) { return single([](std::string& text) { text = byte_level_spell(text); }); }},
    {"BertNormalizer", make_bert},
    {"Precompiled", make_precompiled},
    {"Nmt", make_step<clean_for_translation>},
};

}  // namespace

void normalize(const Normalizers& normalizers, std::string& text, const std::string& what) {
  const size_t before = text.size(), most = most_bytes_from(before);
  for (const auto& normalizer : normalizers) {
    normalizer->apply(text, most);
    if (text.size() > most) {
      fail("{}: the normalizer makes more than {} bytes of a text of {}; correct the file or fetch it again", what,
           most, before);
    }
  }
}

Normalizers normalizers_from_json(const Json& json, const std::string& where) {
  if (json.is_null()) return {};
  return make_component<Normalizers>(kNormalizers, "normalizer", json, where);
}

Normalizers normalizers_from_charsmap(Charsmap map) {
  return single([map = std::move(map)](std::string& text, size_t most) { map.apply(text, most); });
}

}  // namespace spikescope
