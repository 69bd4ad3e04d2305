#include "report/html.h"

#include <gmock/gmock.h>

#include "figure/markup.h"
#include "figure/samples.h"
#include "io/json.h"

namespace spikescope {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(HtmlText, EscapesForContentAndAttributes) {
  EXPECT_EQ(html_text("<a href=\"x\">'&amp;"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;amp;");
  EXPECT_EQ(html_text("a\nb"), "a\u23CEb");
  EXPECT_EQ(html_text("abcdef", 4), "abc…");
  for (const std::string& text : testing::hostile_strings()) {
    const auto page = testing::read_markup("<p title=\"" + html_text(text) + "\">" + html_text(text) + "</p>", true);
    EXPECT_EQ(page.error, "");
    EXPECT_EQ(page.elements.size(), 1u);
    EXPECT_EQ(page.elements[0].attributes.size(), 1u);
  }
}

TEST(HtmlLines, KeepsLines) {
  EXPECT_EQ(html_lines("a <b>\n\nc"), "a &lt;b&gt;\n\nc\n");
  EXPECT_EQ(html_lines(""), "");
}

TEST(DataUri, IsBase64) {
  EXPECT_EQ(data_uri("text/plain", ""), "data:text/plain;base64,");
  EXPECT_EQ(data_uri("a/b", "f"), "data:a/b;base64,Zg==");
  EXPECT_EQ(data_uri("a/b", "fo"), "data:a/b;base64,Zm8=");
  EXPECT_EQ(data_uri("a/b", "foobar"), "data:a/b;base64,Zm9vYmFy");
  EXPECT_EQ(data_uri("a/b", std::string("\xff\xfe\0", 3)), "data:a/b;base64,//4A");
}

TEST(JsonInScript, HasNoMarkupAndTheSameValue) {
  const Json value = {{"</script><!--", "<b>&\"\\"}};
  const std::string text = json_in_script(value.dump());
  EXPECT_EQ(text.find_first_of("<>&"), std::string::npos);
  EXPECT_EQ(parse_json(text, "test"), value);
}

TEST(JavascriptInScript, BreaksUpTags) {
  EXPECT_EQ(javascript_in_script("a = '</script>'; b = '</SCRIPT '; c = '<!--'; d = 1 < 2"),
            "a = '<\\/script>'; b = '<\\/SCRIPT '; c = '<\\!--'; d = 1 < 2");
  EXPECT_THAT(javascript_in_script("'<script src=x>'"), Not(HasSubstr("<script")));
  EXPECT_THAT(javascript_in_script("'<script src=x>'"), HasSubstr("<\\x73cript src=x>"));
  EXPECT_EQ(javascript_in_script("for (;a<b;) </re/.test(x)"), "for (;a<b;) </re/.test(x)");
}

}  // namespace
}  // namespace spikescope
