// Normalizers, pre-tokenizers and decoders one by one. Expected values come from `tokenizers` 0.23.3.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "error_of.h"
#include "io/json.h"
#include "text/byte_level.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"

namespace spikescope {
namespace {

using ::testing::HasSubstr;

TEST(PreTokenizer, CutsAsHuggingFace) {
  struct Case {
    const char* json;
    std::string text;
    std::vector<std::string> pieces;
  };
  const Case cases[] = {
      {R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})",
       "Hello, world!  It's 12345 naïve-café's\n\n x",
       {"Hello", ",", "Ġworld", "!", "Ġ", "ĠIt", "'s", "Ġ12345", "ĠnaÃ¯ve", "-", "cafÃ©", "'s", "ĊĊ", "Ġx"}},
      {R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})",
       "Hi you",
       {"ĠHi", "Ġyou"}},
      {R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": false})",
       " Hi é",
       {"ĠHiĠÃ©"}},
      {R"({"type": "Split", "pattern": {"String": "-"}, "behavior": "Removed", "invert": false})",
       "the-final--countdown-",
       {"the", "final", "countdown"}},
      {R"({"type": "Split", "pattern": {"String": "-"}, "behavior": "Isolated", "invert": false})",
       "the-final--countdown-",
       {"the", "-", "final", "-", "-", "countdown", "-"}},
      {R"({"type": "Split", "pattern": {"String": "-"}, "behavior": "MergedWithPrevious", "invert": false})",
       "-the-final--countdown-",
       {"-", "the-", "final-", "-", "countdown-"}},
      {R"({"type": "Split", "pattern": {"String": "-"}, "behavior": "MergedWithNext", "invert": false})",
       "-the-final--countdown-",
       {"-the", "-final", "-", "-countdown", "-"}},
      {R"({"type": "Split", "pattern": {"String": "-"}, "behavior": "Contiguous", "invert": false})",
       "-the-final--countdown-",
       {"-", "the", "-", "final", "--", "countdown", "-"}},
      {R"({"type": "Split", "pattern": {"Regex": "[a-z]+"}, "behavior": "Removed", "invert": true})",
       "ab12cd 3",
       {"ab", "cd"}},
      {R"({"type": "Split", "pattern": {"Regex": "[a-z]+"}, "behavior": "Isolated", "invert": true})",
       "ab12cd 3",
       {"ab", "12", "cd", " 3"}},
      {R"({"type": "Split", "pattern": {"Regex": "[a-z]+"}, "behavior": "MergedWithNext", "invert": true})",
       "ab12cd 3",
       {"ab", "12cd", " 3"}},
      {R"({"type": "Split", "pattern": {"Regex": "(?i:'s|'t)|\\s+(?!\\S)|\\s+"}, "behavior": "Isolated", "invert": false})",
       "IT'S  so   \n",
       {"IT", "'S", " ", " ", "so", "   \n"}},
      {R"({"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "Isolated", "invert": false})",
       "1234567x",
       {"123", "456", "7", "x"}},
      {R"({"type": "Digits", "individual_digits": true})", "a12½٣b", {"a", "1", "2", "½", "٣", "b"}},
      {R"({"type": "Digits", "individual_digits": false})", "a12½٣b3", {"a", "12½٣", "b", "3"}},
      {R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true})",
       "Hi  you ▁x",
       {"▁Hi", "▁", "▁you", "▁", "▁x"}},
      {R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false})",
       "Hi you",
       {"▁Hi▁you"}},
      {R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true})",
       "Hi you",
       {"Hi", "▁you"}},
      {R"({"type": "Whitespace"})", "Hi_there, you! é\u0301 \u00a0x", {"Hi_there", ",", "you", "!", "é\u0301", "x"}},
      {R"({"type": "WhitespaceSplit"})", " Hi  there,\u00a0you\n", {"Hi", "there,", "you"}},
      {R"({"type": "Punctuation", "behavior": "Isolated"})",
       "Hi, $5 «x»!!",
       {"Hi", ",", " ", "$", "5 ", "«", "x", "»", "!", "!"}},
      {R"({"type": "Punctuation", "behavior": "Contiguous"})",
       "Hi, $5 «x»!!",
       {"Hi", ",", " ", "$", "5 ", "«", "x", "»!!"}},
      {R"({"type": "CharDelimiterSplit", "delimiter": "é"})", "aébéé c", {"a", "b", " c"}},
      {R"({"type": "BertPreTokenizer"})", "Hi, you-all\n!", {"Hi", ",", "you", "-", "all", "!"}},
      {R"({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]})",
       "In 1984, x",
       {"In", "Ġ", "1", "9", "8", "4", ",", "Ġx"}},
      {R"({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}, {"type": "Split", "pattern": {"String": "Ġ"}, "behavior": "MergedWithNext", "invert": false}]})",
       "a é b",
       {"a", "ĠÃ©", "Ġb"}},
  };
  for (const Case& row : cases) {
    const PreTokenizers made = pre_tokenizers_from_json(parse_json(row.json, "test"), "test");
    Pieces pieces(row.text, true);
    for (const auto& stage : made.stages) stage->apply(pieces);
    std::vector<std::string> found;
    for (const Piece& piece : pieces.get()) {
      found.push_back(made.spell_bytes_last ? byte_level_spell(piece.text) : std::string(piece.text));
    }
    EXPECT_EQ(found, row.pieces) << row.json << " on " << row.text;
  }
}

TEST(PreTokenizer, MetaspaceFirstMarksOnlyTheStartOfTheText) {
  const PreTokenizers made = pre_tokenizers_from_json(
      parse_json(R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "split": true})", "test"),
      "test");
  Pieces later("ab c", false);
  made.stages[0]->apply(later);
  ASSERT_EQ(later.get().size(), 2u);
  EXPECT_EQ(later.get()[0].text, "ab");
  EXPECT_EQ(later.get()[1].text, "_c");
}

TEST(PreTokenizer, OlderMetaspaceForm) {
  const PreTokenizers made = pre_tokenizers_from_json(
      parse_json(R"({"type": "Metaspace", "replacement": "_", "add_prefix_space": false})", "test"), "test");
  Pieces pieces("ab c", true);
  made.stages[0]->apply(pieces);
  EXPECT_EQ(pieces.get()[0].text, "ab");
}

TEST(Normalizer, ChangesAsHuggingFace) {
  struct Case {
    const char* json;
    std::string text, result;
  };
  const Case cases[] = {
      {R"({"type": "NFC"})", "e\u0301 ﬁ Å", "é ﬁ Å"},
      {R"({"type": "NFD"})", "é ﬁ", "e\u0301 ﬁ"},
      {R"({"type": "NFKC"})", "ﬁ ² Å", "fi 2 Å"},
      {R"({"type": "NFKD"})", "éﬁ", "e\u0301fi"},
      {R"({"type": "Lowercase"})", "ÀÉ İ ΣΊΣ", "àé i\u0307 σίσ"},
      {R"({"type": "StripAccents"})", "e\u0301u\u0308x", "eux"},
      {R"({"type": "Strip", "strip_left": true, "strip_right": true})", " \u00a0a b \n", "a b"},
      {R"({"type": "Strip", "strip_left": false, "strip_right": true})", " a ", " a"},
      {R"({"type": "Prepend", "prepend": "▁"})", "ab", "▁ab"},
      {R"({"type": "Prepend", "prepend": "▁"})", "", ""},
      {R"({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})", " a  b", "▁a▁▁b"},
      {R"({"type": "Replace", "pattern": {"Regex": "\\s{2,}"}, "content": " "})", "a  b \n\tc", "a b c"},
      {R"({"type": "ByteLevel"})", "é b", "Ã©Ġb"},
      {R"({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true})",
       "É\u00adx\t\u00a0日本\uFFFDab\x07ÅΣ", "ex   日  本 abaσ"},
      {R"({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": false, "strip_accents": null, "lowercase": false})",
       "É 日\n\v", "É 日 "},
      {R"({"type": "BertNormalizer", "clean_text": false, "handle_chinese_chars": false, "strip_accents": true, "lowercase": false})",
       "É\tñ한", "E\tn\u1112\u1161\u11ab"},
      {R"({"type": "BertNormalizer", "clean_text": false, "handle_chinese_chars": false, "strip_accents": false, "lowercase": true})",
       "É\t", "é\t"},
      {R"({"type": "Nmt"})", "a\x01\x7f\tb\u200bc▁\uFEFF\v", "a b c  "},
      {R"({"type": "Precompiled", "precompiled_charsmap": null})", "a\t", "a\t"},
      {R"({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]})",
       "ÀÉx", "aex"},
  };
  for (const Case& row : cases) {
    std::string text = row.text;
    normalize(normalizers_from_json(parse_json(row.json, "test"), "test"), text, "test");
    EXPECT_EQ(text, row.result) << row.json << " on " << row.text;
  }
}

TEST(Decoder, DecodesAsHuggingFace) {
  struct Case {
    const char* json;
    std::vector<std::string> pieces;
    std::string result;
  };
  const Case cases[] = {
      {R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})",
       {"ĠHi", "Ã", "©", "Ã", "!", "日"},
       " Hié�!日"},
      {R"({"type": "ByteFallback"})",
       {"a", "<0xC3>", "<0xA9>", "b", "<0xE2>", "<0x82>", "<0x4g>", "<0x41>"},
       "aéb��<0x4g>A"},
      {R"({"type": "Fuse"})", {"a", "b"}, "ab"},
      {R"({"type": "Replace", "pattern": {"String": "▁"}, "content": " "})", {"▁a", "b▁▁c"}, " ab  c"},
      {R"({"type": "Replace", "pattern": {"Regex": "[0-9]+"}, "content": "#"})", {"a12", "3b"}, "a##b"},
      {R"({"type": "Strip", "content": " ", "start": 1, "stop": 0})", {"  a ", " b"}, " a b"},
      {R"({"type": "Strip", "content": "é", "start": 0, "stop": 2})", {"éxééé", "yé"}, "éxéy"},
      {R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true})",
       {"▁Hi", "▁you", "▁▁x"},
       "Hi you  x"},
      {R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true})",
       {"▁Hi", "▁you"},
       " Hi you"},
      {R"({"type": "WordPiece", "prefix": "##", "cleanup": true})",
       {"un", "##do", "it", "!", "do", "n't"},
       "undo it! don't"},
      {R"({"type": "WordPiece", "prefix": "##", "cleanup": false})", {"un", "##do", "it", "!"}, "undo it !"},
      {R"({"type": "BPEDecoder", "suffix": "</w>"})", {"th", "e</w>", "end</w>"}, "the end"},
      {R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})",
       {"▁Hi", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "▁x"},
       "Hi😀 x"},
  };
  for (const Case& row : cases) {
    std::vector<std::string> pieces = row.pieces;
    decode_pieces(decoders_from_json(parse_json(row.json, "test"), "test"), pieces, "test");
    std::string text;
    for (const std::string& piece : pieces) text += piece;
    EXPECT_EQ(text, row.result) << row.json;
  }
}

TEST(Decoder, StripOfAShortPiece) {
  std::vector<std::string> pieces = {"ee", "", "e"};
  decode_pieces(
      decoders_from_json(parse_json(R"({"type": "Strip", "content": "e", "start": 1, "stop": 2})", "test"), "test"),
      pieces, "test");
  EXPECT_EQ(pieces, (std::vector<std::string>{"", "", ""}));
}

TEST(PostProcessor, PutsTokensAround) {
  struct Case {
    const char* json;
    std::vector<int64_t> before, after;
  };
  const Case cases[] = {
      {"null", {}, {}},
      {R"({"type": "ByteLevel", "trim_offsets": true})", {}, {}},
      {R"({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]})", {0}, {2}},
      {R"({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 4]})", {4}, {3}},
      {R"({"type": "TemplateProcessing",
           "single": [{"SpecialToken": {"id": "B", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                      {"SpecialToken": {"id": "E", "type_id": 0}}, {"SpecialToken": {"id": "B", "type_id": 0}}],
           "special_tokens": {"B": {"id": "B", "ids": [5, 6]}, "E": {"id": "E", "ids": [7]}}})",
       {5, 6},
       {7, 5, 6}},
      {R"({"type": "Sequence", "processors": [
           {"type": "BertProcessing", "sep": ["s", 1], "cls": ["c", 2]},
           {"type": "BertProcessing", "sep": ["s", 3], "cls": ["c", 4]}]})",
       {4, 2},
       {1, 3}},
  };
  for (const Case& row : cases) {
    const SpecialTokens made = special_tokens_from_json(
        parse_json(row.json, "test"), [](int64_t) { return true; }, "test");
    EXPECT_EQ(made.before, row.before) << row.json;
    EXPECT_EQ(made.after, row.after) << row.json;
  }
}

// Files made to fill the memory: a few replacements in a row make a byte into gigabytes.
TEST(Components, RefuseTextsThatGrowWithoutEnd) {
  const std::string grow =
      R"({"type": "Replace", "pattern": {"String": "a"}, "content": ")" + std::string(1000, 'a') + R"("})";
  const auto sequence = [&](const std::string& list) {
    return parse_json(R"({"type": "Sequence", ")" + list + R"(": [)" + grow + "," + grow + "," + grow + "]}", "test");
  };
  std::string text = "aaa";
  EXPECT_THAT(
      testing::error_of([&] { normalize(normalizers_from_json(sequence("normalizers"), "t"), text, "t.json"); }),
      HasSubstr("t.json: the normalizer makes more than 96 bytes of a text of 3; correct the file"));
  EXPECT_LT(text.size(), 1'100u);
  std::vector<std::string> pieces(100, "aaa");
  EXPECT_THAT(
      testing::error_of([&] { decode_pieces(decoders_from_json(sequence("decoders"), "t"), pieces, "t.json"); }),
      HasSubstr("t.json: the decoder makes more than 9600 bytes of pieces of 300; correct the file"));
  EXPECT_LT(pieces[0].size(), 11'000u);
  std::string long_text(10'000'000, 'a');
  normalize(normalizers_from_json(
                parse_json(R"({"type": "Replace", "pattern": {"String": "a"}, "content": "bcdef"})", "t"), "t"),
            long_text, "t");
  EXPECT_EQ(long_text.size(), 50'000'000u);
}

// What the components refuse, and that the message says where and why.
TEST(Components, Refuse) {
  struct Case {
    const char* kind;
    const char* json;
    const char* message;
  };
  const Case cases[] = {
      {"normalizer", R"({"type": "Magic"})", "the normalizer \"Magic\" is not supported (supported: Sequence, NFC"},
      {"normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "AAA"})",
       "here Precompiled: precompiled_charsmap has 3 characters, expected base64"},
      {"normalizer", R"({"type": "Precompiled", "precompiled_charsmap": 3})",
       "\"precompiled_charsmap\" should be a string"},
      {"normalizer", R"({"type": "BertNormalizer", "lowercase": "yes"})", "\"lowercase\" should be true or false"},
      {"normalizer", R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "X"}]})",
       "here Sequence.normalizers[1]: the normalizer \"X\""},
      {"normalizer", R"({"type": "Sequence"})", "expected an array under \"normalizers\""},
      {"normalizer", R"({"type": "Replace", "pattern": {"String": ""}, "content": "x"})", "empty string"},
      {"normalizer", R"({"type": "Replace", "pattern": 3, "content": "x"})", "expected a pattern"},
      {"normalizer", R"({"type": "Replace", "pattern": {"Regex": "("}, "content": "x"})", "does not compile"},
      {"normalizer", R"({"type": "Prepend", "prepend": 4})", "\"prepend\" should be a string"},
      {"normalizer", R"(["NFC"])", "expected an object"},
      {"pre_tokenizer", R"({"type": "UnicodeScripts"})", "the pre-tokenizer \"UnicodeScripts\" is not supported"},
      {"pre_tokenizer", R"({"type": "Split", "pattern": {"String": "x"}, "behavior": "Merged"})",
       "unknown behavior \"Merged\""},
      {"pre_tokenizer", R"({"type": "Split", "pattern": {"Regex": "[a&&b]"}, "behavior": "Removed"})", "set operation"},
      {"pre_tokenizer", R"({"type": "Metaspace", "replacement": "ab"})", "expected a single character"},
      {"pre_tokenizer", R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"})",
       "unknown prepend_scheme"},
      {"pre_tokenizer", R"({"type": "CharDelimiterSplit", "delimiter": ""})", "expected a single character"},
      {"pre_tokenizer", R"({"type": "Sequence", "pretokenizers": [null]})", "found null"},
      {"pre_tokenizer", R"({"type": "ByteLevel"})", "add_prefix_space"},
      {"decoder", R"({"type": "CTC"})", "the decoder \"CTC\" is not supported"},
      {"decoder", R"({"type": "Strip", "content": "ab", "start": 0, "stop": 0})", "expected a single character"},
      {"decoder", R"({"type": "Strip", "content": "a", "start": -1, "stop": 0})", "expected a count"},
      {"decoder", R"({"type": "BPEDecoder", "suffix": ""})", "\"suffix\" is empty"},
      {"decoder", R"({"type": "Sequence", "decoders": {}})", "expected an array under \"decoders\""},
      {"post_processor", R"({"type": "Magic"})", "the post-processor \"Magic\" is not supported"},
      {"post_processor", R"({"type": "BertProcessing", "sep": ["s"], "cls": ["c", 4]})", "should be [\"token\", id]"},
      {"post_processor", R"({"type": "BertProcessing", "sep": ["s", 1], "cls": ["c", 99]})", "adds the id 99"},
      {"post_processor",
       R"({"type": "Sequence", "processors": [{"type": "BertProcessing", "sep": ["s", -1], "cls": ["c", 2]}]})",
       "adds the id -1"},
      {"post_processor", R"({"type": "TemplateProcessing", "single": [], "special_tokens": {}})",
       "0 times, expected once"},
      {"post_processor", R"({"type": "TemplateProcessing", "single": [7], "special_tokens": {}})",
       "neither SpecialToken nor Sequence"},
      {"post_processor",
       R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B"}}], "special_tokens": {}})", "expected A"},
      {"post_processor",
       R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "X"}}, {"Sequence": {"id": "A"}}]})",
       "does not define"},
  };
  for (const Case& row : cases) {
    const Json json = parse_json(row.json, "test");
    const std::string kind = row.kind;
    try {
      if (kind == "normalizer") normalizers_from_json(json, "here");
      if (kind == "pre_tokenizer") pre_tokenizers_from_json(json, "here");
      if (kind == "decoder") decoders_from_json(json, "here");
      if (kind == "post_processor") {
        special_tokens_from_json(
            json, [](int64_t id) { return id >= 0 && id < 10; }, "here");
      }
      ADD_FAILURE() << "accepted: " << row.json;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(row.message)) << row.json;
      EXPECT_THAT(error.what(), HasSubstr("here")) << row.json;
    }
  }
}

}  // namespace
}  // namespace spikescope
