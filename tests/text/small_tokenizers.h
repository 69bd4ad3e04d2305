// Whole tokenizers of a few pieces, in the form of tokenizer.json.
#pragma once

#include "charsmap_builder.h"
#include "io/json.h"

namespace spikescope::testing {

/// Words of WordPiece as BERT cuts them, and a piece that ByteLevel spells.
inline Json small_word_piece() {
  return parse_json(R"({
    "added_tokens": [{"id": 0, "content": "[UNK]", "special": true}, {"id": 1, "content": "[CLS]", "special": true},
                     {"id": 2, "content": "[SEP]", "special": true}],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                   "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100,
              "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "cafe": 3, "##s": 4, "!": 5, "日": 6, "Ġa": 7}}})",
                    "test");
}

/// Unigram as T5 has it.
inline Json small_unigram() {
  return parse_json(R"({
    "added_tokens": [{"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "</s>", "special": true}],
    "normalizer": {"type": "Nmt"},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
      "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
    "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
    "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false,
              "vocab": [["<unk>", 0.0], ["</s>", 0.0], ["▁", -2], ["a", -3.5], ["▁a", -4.0], ["b", -5.0]]}})",
                    "test");
}

/// The same with compiled rules in front, for characters of one to three bytes and a grapheme.
inline Json small_precompiled() {
  Json json = small_unigram();
  const std::string map = charsmap_bytes({{"\t", " "}, {"x", "ab"}, {"ö", "b"}, {"ﬁ", "ab"}, {"e\u0301", "a"}});
  json["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", base64(map)}};
  json["model"]["byte_fallback"] = true;
  json["model"]["vocab"].push_back(Json::array({"<0x65>", -3.0}));
  return json;
}

}  // namespace spikescope::testing
