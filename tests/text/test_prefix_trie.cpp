#include <gtest/gtest.h>

#include <map>
#include <random>

#include "error_of.h"
#include "text/byte_fallback.h"
#include "text/prefix_trie.h"

namespace spikescope {
namespace {

TEST(PrefixTrie, FindsWhatAMapFinds) {
  std::mt19937 random(5);
  for (int round = 0; round < 50; ++round) {
    std::map<std::string, int32_t> map;
    for (int i = 0; i < 40; ++i) {
      std::string key(1 + random() % 6, ' ');
      for (char& byte : key) byte = static_cast<char>(random() % (round % 2 ? 3 : 256));
      map[key] = i;
    }
    const PrefixTrie trie(std::vector<std::pair<std::string_view, int32_t>>(map.begin(), map.end()));
    for (const auto& [key, value] : map) {
      for (const std::string& text : {key, key + '\1', key.substr(0, key.size() - 1)}) {
        const uint32_t node = trie.walk(PrefixTrie::kRoot, text);
        const auto found = map.find(text);
        const bool is_start = map.lower_bound(text) != map.end() && map.lower_bound(text)->first.starts_with(text);
        ASSERT_EQ(node != PrefixTrie::kNone, is_start);
        if (node == PrefixTrie::kNone) continue;
        ASSERT_EQ(trie.value(node), found == map.end() ? -1 : found->second);
      }
    }
  }
}

TEST(PrefixTrie, OddKeys) {
  using Entries = std::vector<std::pair<std::string_view, int32_t>>;
  EXPECT_EQ(PrefixTrie(Entries()).step(PrefixTrie::kRoot, 'a'), PrefixTrie::kNone);
  const PrefixTrie trie(Entries{{"ab", 1}, {"", 7}, {"ab", 2}});
  EXPECT_EQ(trie.value(trie.walk(PrefixTrie::kRoot, "ab")), 2);
  EXPECT_EQ(trie.value(trie.walk(PrefixTrie::kRoot, "a")), -1);
  Vocabulary vocabulary(2, "v");
  vocabulary.add("a", 0);
  vocabulary.add(std::string(1025, 'x'), 1);
  EXPECT_NE(testing::error_of([&] { PrefixTrie{vocabulary}; }).find("v: piece 1 (\"xxx"), std::string::npos);
}

TEST(ByteFallback, KnowsThePiecesOfBytes) {
  Vocabulary vocabulary(3, "v");
  vocabulary.add("<0xC3>", 4);
  vocabulary.add("<0xA9>", 2);
  vocabulary.add("<0xab>", 3);  // not how they are written
  const ByteFallback bytes(vocabulary);
  EXPECT_EQ(bytes.id('\xc3'), 4);
  EXPECT_EQ(bytes.id('\xab'), -1);
  EXPECT_TRUE(bytes.covers("é"));
  EXPECT_FALSE(bytes.covers("è"));
}

}  // namespace
}  // namespace spikescope
