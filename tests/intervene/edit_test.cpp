#include "intervene/edit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "error_of.h"

namespace spikescope {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Architecture small() {
  Architecture a;
  a.family = "llama";
  a.n_layers = 4;
  a.d_model = 8;
  a.n_heads = 2;
  a.n_kv_heads = 1;
  a.head_dim = 4;
  a.mlp_width = 16;
  a.vocabulary = 10;
  a.blocks.resize(4);
  a.blocks[3].experts = true;
  return a;
}

std::string message(const std::string& text) {
  return error_of([&] { parse_edits(text, small()); });
}

TEST(ParseEdits, ReadsWhatTheHelpTeaches) {
  const std::vector<Edit> edits =
      parse_edits("zero:layer=1,dims=5 clamp:point=mlp.post,layer=0-2,dims=9+3+9,tokens=all,value=2.5", small());
  ASSERT_THAT(edits, SizeIs(2));
  EXPECT_EQ(edits[0].change, Change::zero);
  EXPECT_EQ(edits[0].point, Point::resid_pre);
  EXPECT_EQ(edits[0].first, 1);
  EXPECT_EQ(edits[0].last, 1);
  EXPECT_EQ(edits[0].tokens, EditTokens::spikes);
  EXPECT_THAT(edits[0].dims, ElementsAre(5));
  EXPECT_EQ(edits[1].change, Change::clamp);
  EXPECT_EQ(edits[1].point, Point::mlp_post);
  EXPECT_EQ(edits[1].last, 2);
  EXPECT_EQ(edits[1].tokens, EditTokens::all);
  EXPECT_EQ(edits[1].value, 2.5);
  EXPECT_THAT(edits[1].dims, ElementsAre(3, 9));
}

TEST(ParseEdits, TextReadsBackAsItself) {
  for (const std::string text :
       {"zero:layer=1,dims=5,tokens=spikes", "mean:point=ln1.out,layer=0-3,dims=all,tokens=ordinary",
        "scale:layer=2,dims=0+7,tokens=0+50,value=-0.5", "set:point=attn.k,layer=0,dims=3,tokens=all,value=1e+30",
        "zero:layer=0,dims=1,tokens=spikes clamp:layer=1,dims=1,tokens=spikes,value=3"})
    EXPECT_EQ(to_text(parse_edits(text, small())), text);
}

TEST(ParseEdits, SaysWhatIsWrong) {
  EXPECT_THAT(message("zeroo:layer=1,dims=5"),
              AllOf(HasSubstr("zeroo:layer=1,dims=5"), HasSubstr("did you mean 'zero'")));
  EXPECT_THAT(message("zero:layr=1,dims=5"), HasSubstr("there is no key 'layr'; did you mean 'layer'?"));
  EXPECT_THAT(message("zero:dims=5"), HasSubstr("it needs a layer"));
  EXPECT_THAT(message("zero:layer=1"), HasSubstr("it needs dims"));
  EXPECT_THAT(message("zero"), HasSubstr("it needs a layer"));
  EXPECT_THAT(message(""), HasSubstr("there is no intervention in it"));
  EXPECT_THAT(message("zero:layer=1,dims=5,value=3"), HasSubstr("zero takes no value"));
  EXPECT_THAT(message("clamp:layer=1,dims=5"), HasSubstr("clamp needs a value"));
  EXPECT_THAT(message("clamp:layer=1,dims=5,value=-1"), HasSubstr("at least 0"));
  EXPECT_THAT(message("set:layer=1,dims=5,value=1e99"), HasSubstr("value=1e99 is no number"));
  EXPECT_THAT(message("zero:layer=4,dims=5"), HasSubstr("not within the model's layers 0 to 3"));
  EXPECT_THAT(message("zero:layer=3-1,dims=5"), HasSubstr("not within"));
  EXPECT_THAT(message("zero:layer=-1,dims=5"), HasSubstr("layer="));
  EXPECT_THAT(message("zero:layer=1,dims=8"), HasSubstr("dimension 8 is outside the 8 of blocks.1.resid_pre"));
  EXPECT_THAT(message("zero:layer=1,dims=5x"), HasSubstr("dims=5x is no number"));
  EXPECT_THAT(message("zero:layer=1,dims="), HasSubstr("dims= is no number"));
  EXPECT_THAT(message("zero:layer=1,dims=5,tokens=spike"), HasSubstr("is not spikes, ordinary, all, or positions"));
  EXPECT_THAT(message("zero:layer=1,dims=5,point=mlp.pots"), HasSubstr("did you mean 'mlp.post'"));
  EXPECT_THAT(message("zero:layer=1,dims=5,point=attn.pattern"), HasSubstr("there is no point"));
  EXPECT_THAT(message("zero:layer=2-3,dims=5,point=mlp.post"), HasSubstr("this model has no blocks.3.mlp.post"));
}

/// Values of two windows of three tokens with eight dimensions: 10 * row + dim.
class Values {
 public:
  Values() : data_(48) {
    for (int64_t i = 0; i < 48; ++i) data_[static_cast<size_t>(i)] = static_cast<float>(10 * (i / 8) + i % 8);
  }
  /// Calls the hooks of the point with rows [first, first + count).
  void call(const Hooks& hooks, const HookPoint& point, int64_t first, int64_t count) {
    hooks.call({point, first, {data_.data() + first * 8, {count, 8}, 8}});
  }
  float at(int64_t row, int64_t dim) const { return data_[static_cast<size_t>(row * 8 + dim)]; }

 private:
  std::vector<float> data_;
};

TEST(PlacedEdit, ChangesItsRowsAndDimensionsOnly) {
  for (const auto& [change, value, expected] : {std::tuple(Change::zero, 0.0, 0.0f),
                                                {Change::scale, 0.5, 22.5f},
                                                {Change::clamp, 7.0, 7.0f},
                                                {Change::clamp, 100.0, 45.0f},
                                                {Change::set, -3.0, -3.0f}}) {
    PlacedEdit edit{{.change = change, .value = value, .first = 1, .last = 2, .dims = {5}},
                    {{{0, false}, {4, true}}, {}}};
    Hooks hooks;
    edit.attach(hooks);
    Values values, untouched;
    values.call(hooks, {Point::resid_pre, 2}, 0, 6);  // no rows there
    EXPECT_EQ(values.at(4, 5), 45.0f);
    values.call(hooks, {Point::resid_pre, 1}, 3, 3);
    EXPECT_EQ(values.at(4, 5), expected);
    EXPECT_EQ(values.at(0, 5), 5.0f) << "not in this piece";
    for (int64_t row = 0; row < 6; ++row)
      for (int64_t dim = 0; dim < 8; ++dim)
        EXPECT_EQ(values.at(row, dim), row == 4 && dim == 5 ? expected : untouched.at(row, dim));
  }
}

TEST(PlacedEdit, MeansAreOfFirstTokensAndOthersApart) {
  // Rows 0 and 3 are first tokens, 1 and 5 are not.
  PlacedEdit edit{{.change = Change::mean, .point = Point::ln1_out, .first = 1, .last = 2, .dims = {2, 5}},
                  {{{0, false}, {1, true}, {3, false}, {5, true}}, {}}};
  Hooks observing, hooks;
  MeanCollector mean(edit);
  mean.attach(observing);
  Values values;
  values.call(observing, {Point::ln1_out, 1}, 0, 2);
  values.call(observing, {Point::ln1_out, 1}, 2, 4);
  mean.finish();
  ASSERT_THAT(edit.means, SizeIs(2));
  EXPECT_THAT(edit.means[0][0], ElementsAre(17.0f, 20.0f));
  EXPECT_THAT(edit.means[0][1], ElementsAre(32.0f, 35.0f));
  EXPECT_THAT(edit.means[1], Each(IsEmpty()));
  edit.attach(hooks);
  values.call(hooks, {Point::ln1_out, 1}, 0, 6);
  EXPECT_EQ(values.at(3, 2), 17.0f);
  EXPECT_EQ(values.at(5, 5), 35.0f);
  EXPECT_EQ(values.at(4, 5), 45.0f);
}

TEST(PlacedEdit, NoDimensionsMeansAll) {
  PlacedEdit edit{{.change = Change::mean, .dims = {}}, {{{0, false}, {3, false}}}};
  Hooks observing, hooks;
  MeanCollector mean(edit);
  mean.attach(observing);
  Values values;
  values.call(observing, {Point::resid_pre, 0}, 0, 6);
  mean.finish();
  EXPECT_THAT(edit.means[0][0], ElementsAre(15, 16, 17, 18, 19, 20, 21, 22));
}

}  // namespace
}  // namespace spikescope
