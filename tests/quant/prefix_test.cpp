// Tokens in front of every text, on which spikes settle.

#include "quant/prefix.h"

#include <gmock/gmock.h>

#include "../error_of.h"

namespace spikescope {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;

/// Three prompts of four tokens.
TokenBatch three() { return {{5, 6, 7, 8, 5, 9, 6, 6, 9, 5, 7, 7}, {0, 4, 8, 12}}; }

TEST(ChoosePrefix, PrefersTokensWithSpikesBehindTheFirstPosition) {
  // 5 has two spikes at first positions, 6 one behind it, 9 one at a first position: 4 in 3 prompts make one id.
  EXPECT_THAT(choose_prefix(three(), std::vector<uint8_t>{1, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}), ElementsAre(6));
  // With 6 spikes, two a prompt: 7 has two behind the first position, 6 one.
  EXPECT_THAT(choose_prefix(three(), std::vector<uint8_t>{1, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1}), ElementsAre(7, 6));
  // At first positions alone: the most frequent one.
  EXPECT_THAT(choose_prefix(three(), std::vector<uint8_t>{1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}), ElementsAre(5));
}

TEST(ChoosePrefix, OneAtLeastWhereThereAreSpikesAndNoneElsewhere) {
  std::vector<uint8_t> spikes(12);
  EXPECT_THAT(choose_prefix(three(), spikes), IsEmpty());
  spikes[11] = 1;
  EXPECT_THAT(choose_prefix(three(), spikes), ElementsAre(7));
  spikes[9] = 1;  // as often as 7: the lower id
  EXPECT_THAT(choose_prefix(three(), spikes), ElementsAre(5));
}

TEST(ParsePrefix, ReadsIdsAndWords) {
  EXPECT_EQ(parse_prefix("auto"), std::nullopt);
  EXPECT_THAT(parse_prefix("none"), Optional(IsEmpty()));
  EXPECT_THAT(parse_prefix("198"), Optional(ElementsAre(198)));
  EXPECT_THAT(parse_prefix("198,0,28"), Optional(ElementsAre(198, 0, 28)));
  for (const char* wrong : {"", "x", "1,", ",1", "1 2", "-1", "1;2", "99999999999999999999"})
    EXPECT_THAT(error_of([&] { parse_prefix(wrong); }), HasSubstr("token ids with commas")) << wrong;
}

TEST(WithPrefix, PutsItInFrontOfEveryPrompt) {
  const TokenBatch batch{{1, 2, 3, 4, 5}, {0, 2, 5}};
  const TokenBatch prefixed = with_prefix(batch, std::vector<int64_t>{8, 9});
  EXPECT_THAT(prefixed.ids, ElementsAre(8, 9, 1, 2, 8, 9, 3, 4, 5));
  EXPECT_THAT(prefixed.offsets, ElementsAre(0, 4, 9));
  const std::vector<uint8_t> rows = prefix_rows(prefixed, 2);
  EXPECT_THAT(rows, ElementsAre(1, 1, 0, 0, 1, 1, 0, 0, 0));
  EXPECT_THAT(own_rows(rows), ElementsAre(2, 3, 6, 7, 8));
  EXPECT_EQ(unmarked(prefixed.ids, rows), batch.ids);
  EXPECT_EQ(with_prefix(batch, {}).ids, batch.ids);
  EXPECT_EQ(unmarked(batch.ids, prefix_rows(batch, 0)), batch.ids);
}

TEST(WithPrefix, PromptsThatGoOnHaveTheirParents) {
  const TokenBatch batch{{1, 2, 3, 4, 5}, {0, 2, 3, 5}, {}, {-1, 0, 0}};
  const TokenBatch prefixed = with_prefix(batch, std::vector<int64_t>{9});
  EXPECT_THAT(prefixed.ids, ElementsAre(9, 1, 2, 3, 4, 5));
  EXPECT_THAT(prefixed.offsets, ElementsAre(0, 3, 4, 6));
  EXPECT_EQ(prefixed.parents, batch.parents);
  EXPECT_THAT(prefix_rows(prefixed, 1), ElementsAre(1, 0, 0, 0, 0, 0));
}

}  // namespace
}  // namespace spikescope
