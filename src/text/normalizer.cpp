#include "text/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include <algorithm>

#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/characters.h"
#include "text/component.h"
#include "text/pattern.h"

namespace spikescope {
namespace {

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// Replaces every character by what `append(result, character)` appends for it.
template <class Append>
void rebuild(std::string& text, const Append& append) {
  std::string result;
  result.reserve(text.size());
  for (size_t offset = 0; offset < text.size();) append(result, next_character(text, offset));
  text = std::move(result);
}

// A normalizer without state beyond what its function holds.
template <class Function>
class FunctionNormalizer final : public Normalizer {
 public:
  explicit FunctionNormalizer(Function function) : function_(std::move(function)) {}
  void apply(std::string& text) const override { function_(text); }

 private:
  Function function_;
};

template <class Function>
Normalizers single(Function function) {
  Normalizers result;
  result.push_back(std::make_unique<FunctionNormalizer<Function>>(std::move(function)));
  return result;
}

using GetForm = const icu::Normalizer2* (*)(UErrorCode&);

template <GetForm get_form>
void apply_form(std::string& text) {
  if (is_ascii(text)) return;
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* form = get_form(status);
  std::string result;
  icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(text.size()));
  if (U_SUCCESS(status)) {
    form->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr, status);
  }
  if (U_FAILURE(status)) fail("Unicode normalization failed: {}; is ICU's data installed?", u_errorName(status));
  text = std::move(result);
}

template <GetForm get_form>
Normalizers make_form(const Json&, const std::string&) {
  return single([](std::string& text) { apply_form<get_form>(text); });
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
  return single([pattern, content = json_get<std::string>(json, "content", where)](std::string& text) {
    text = pattern->replace(text, content);
  });
}

void lowercase(std::string& text) { rebuild(text, append_lowercase); }

template <bool (*drop)(char32_t)>
void filter(std::string& text) {
  rebuild(text, [](std::string& result, char32_t c) {
    if (!drop(c)) append_utf8(result, c);
  });
}

void strip_left(std::string& text) {
  size_t begin = 0;
  for (size_t offset = 0; offset < text.size() && is_whitespace(next_character(text, offset));) begin = offset;
  text.erase(0, begin);
}

void strip_right(std::string& text) {
  size_t end = 0;
  for (size_t offset = 0; offset < text.size();) {
    if (!is_whitespace(next_character(text, offset))) end = offset;
  }
  text.resize(end);
}

Normalizers make_strip(const Json& json, const std::string& where) {
  return single([left = json_get_or<bool>(json, "strip_left", true, where),
                 right = json_get_or<bool>(json, "strip_right", true, where)](std::string& text) {
    if (left) strip_left(text);
    if (right) strip_right(text);
  });
}

constexpr ComponentRow<Normalizers> kNormalizers[] = {
    {"Sequence", make_sequence},
    {"NFC", make_form<icu::Normalizer2::getNFCInstance>},
    {"NFD", make_form<icu::Normalizer2::getNFDInstance>},
    {"NFKC", make_form<icu::Normalizer2::getNFKCInstance>},
    {"NFKD", make_form<icu::Normalizer2::getNFKDInstance>},
    {"Prepend", make_prepend},
    {"Replace", make_replace},
    {"Lowercase", [](const Json&, const std::string&) { return single(lowercase); }},
    {"StripAccents", [](const Json&, const std::string&) { return single(filter<is_mark>); }},
    {"Strip", make_strip},
    {"ByteLevel",
     [](const Json&, const std::string&) { return single([](std::string& text) { text = byte_level_spell(text); }); }},
};

}  // namespace

Normalizers normalizers_from_json(const Json& json, const std::string& where) {
  if (json.is_null()) return {};
  return make_component<Normalizers>(kNormalizers, "normalizer", json, where);
}

}  // namespace spikescope
