#include "text/post_processor.h"

#include "text/component.h"

namespace spikescope {
namespace {

SpecialTokens make_nothing(const Json&, const std::string&) { return {}; }

SpecialTokens make_sequence(const Json& json, const std::string& where) {
  SpecialTokens result;
  const Json& list = json_array(json, "processors", where);
  const auto anything = [](int64_t) { return true; };  // the caller checks the whole
  for (size_t i = 0; i < list.size(); ++i) {
    const SpecialTokens outer = special_tokens_from_json(list[i], anything, fmt::format("{}.processors[{}]", where, i));
    result.before.insert(result.before.begin(), outer.before.begin(), outer.before.end());
    result.after.insert(result.after.end(), outer.after.begin(), outer.after.end());
  }
  return result;
}

// The ids under special_tokens.<name>.ids.
std::vector<int64_t> template_ids(const Json& json, const std::string& name, const std::string& where) {
  const Json* table = json_optional(json, "special_tokens");
  const Json* entry = table && table->is_object() ? json_optional(*table, name) : nullptr;
  if (!entry) fail("{}: the template names \"{}\", which special_tokens does not define", where, printable(name));
  std::vector<int64_t> ids;
  for (const Json& id : json_array(*entry, "ids", where)) {
    if (!id.is_number_integer()) fail("{}: the ids of \"{}\" should be integers", where, printable(name));
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

SpecialTokens make_template(const Json& json, const std::string& where) {
  SpecialTokens result;
  int sequences = 0;
  for (const Json& piece : json_array(json, "single", where)) {
    if (const Json* token = piece.is_object() ? json_optional(piece, "SpecialToken") : nullptr) {
      auto& side = sequences == 0 ? result.before : result.after;
      const auto ids = template_ids(json, json_get<std::string>(*token, "id", where), where);
      side.insert(side.end(), ids.begin(), ids.end());
    } else if (const Json* text = piece.is_object() ? json_optional(piece, "Sequence") : nullptr) {
      const auto name = json_get<std::string>(*text, "id", where);
      if (name != "A") {
        fail("{}: the template for one text has the sequence \"{}\", expected A", where, printable(name));
      }
      ++sequences;
    } else {
      fail("{}: the template for one text has a piece that is neither SpecialToken nor Sequence", where);
    }
  }
  if (sequences != 1) fail("{}: the template for one text has the text {} times, expected once", where, sequences);
  return result;
}

// ["</s>", 2]
int64_t pair_id(const Json& json, std::string_view key, const std::string& where) {
  const Json& pair = json_array(json, key, where);
  if (pair.size() != 2 || !pair[1].is_number_integer()) fail("{}: \"{}\" should be [\"token\", id]", where, key);
  return pair[1].get<int64_t>();
}

SpecialTokens make_cls_sep(const Json& json, const std::string& where) {
  return {{pair_id(json, "cls", where)}, {pair_id(json, "sep", where)}};
}

constexpr ComponentRow<SpecialTokens> kPostProcessors[] = {
    {"ByteLevel", make_nothing},  // changes offsets only
    {"TemplateProcessing", make_template}, {"RobertaProcessing", make_cls_sep},
    {"BertProcessing", make_cls_sep},      {"Sequence", make_sequence},
};

}  // namespace

SpecialTokens special_tokens_from_json(const Json& json, const std::function<bool(int64_t)>& known,
                                       const std::string& where) {
  if (json.is_null()) return {};
  SpecialTokens result = make_component<SpecialTokens>(kPostProcessors, "post-processor", json, where);
  for (const auto* side : {&result.before, &result.after}) {
    for (const int64_t id : *side) {
      if (!known(id)) {
        fail("{}: adds the id {}, which is not in the vocabulary; correct the file or fetch it again", where, id);
      }
    }
  }
  return result;
}

}  // namespace spikescope
