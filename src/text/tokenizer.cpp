#include "text/tokenizer.h"

#include <algorithm>

#include "base/fail.h"
#include "base/utf8.h"
#include "io/gguf.h"
#include "io/printable.h"
#include "text/text_steps.h"
#include "text/tokenizer_impl.h"

namespace spikescope {
namespace {

namespace fs = std::filesystem;

Tokenizer from_json_file(const fs::path& file) {
  const fs::path config = file.parent_path() / "tokenizer_config.json";
  std::error_code ignored;
  return Tokenizer::from_json(read_json_file(file), fs::exists(config, ignored) ? read_json_file(config) : Json(),
                              file.string());
}

[[noreturn]] void fail_without_json(const fs::path& folder) {
  for (const char* other : {"tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"}) {
    std::error_code ignored;
    if (!fs::exists(folder / other, ignored)) continue;
    fail(
        "{}: has {} but no tokenizer.json; make one with transformers: "
        "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        folder.string(), other);
  }
  fail("{}: has no tokenizer.json; fetch it from the model's page", folder.string());
}

}  // namespace

const std::string* Tokenizer::Impl::piece(int64_t id) const {
  const AddedToken* token = added.find(id);
  return token ? &token->spelling : vocabulary->piece(id);
}

std::optional<int64_t> Tokenizer::Impl::find(const std::string& piece) const {
  if (const AddedToken* token = added.find(piece)) return token->id;
  const int64_t id = vocabulary->find(piece);
  return id < 0 ? std::nullopt : std::optional(id);
}

void Tokenizer::Impl::encode_between_tokens(std::string_view text, bool at_start, Workspace& workspace,
                                            std::vector<int64_t>& ids) const {
  Pieces pieces(text, at_start);
  for (const auto& stage : pre_tokenizers.stages) stage->apply(pieces);
  for (const Piece& piece : pieces.get()) model->encode(piece.text, workspace, ids);
}

void Tokenizer::Impl::encode(std::string_view text, Workspace& workspace, std::vector<int64_t>& ids) const {
  added.split_raw(text, [&](const AddedTokens::Part& raw) {
    if (raw.token) return ids.push_back(raw.token->id);
    const bool at_start = raw.text.data() == text.data();
    std::string changed;
    std::string_view normalized = raw.text;
    if (!normalizers.empty()) {
      changed = this->normalized(std::string(raw.text));
      normalized = changed;
    }
    added.split_normalized(normalized, [&](const AddedTokens::Part& part) {
      if (part.token) return ids.push_back(part.token->id);
      encode_between_tokens(part.text, at_start && part.text.data() == normalized.data(), workspace, ids);
    });
  });
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::from_path(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    if (!fs::exists(path / "tokenizer.json", ignored)) fail_without_json(path);
    return from_json_file(path / "tokenizer.json");
  }
  if (path.extension() == ".json") return from_json_file(path);
  return from_gguf(read_gguf(path).metadata, path.string());
}

std::vector<int64_t> Tokenizer::encode(std::string_view text, bool special) const {
  if (const size_t bad = find_invalid_utf8(text); bad != text.npos) {
    fail("the text is not valid UTF-8 at byte {} (0x{:02x}); convert it to UTF-8", bad,
         static_cast<uint8_t>(text[bad]));
  }
  if (text.size() > kLongestText) {
    fail("the text has {} bytes, more than {}; cut it into parts", text.size(), kLongestText);
  }
  std::vector<int64_t> ids;
  if (special) ids = impl_->special.before;
  if (const std::unique_lock lock(impl_->workspace_mutex, std::try_to_lock); lock) {
    impl_->encode(text, impl_->workspace, ids);
  } else {
    Workspace own;
    impl_->encode(text, own, ids);
  }
  if (special) ids.insert(ids.end(), impl_->special.after.begin(), impl_->special.after.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const int64_t> ids, bool skip_special) const {
  std::vector<std::string> pieces;
  pieces.reserve(ids.size());
  for (const int64_t id : ids) {
    std::string text = piece(id);
    if (!skip_special || !impl_->added.is_special(text)) pieces.push_back(std::move(text));
  }
  decode_pieces(impl_->decoders, pieces, impl_->what);
  std::string text;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i > 0 && impl_->decoders.empty()) text += ' ';
    text += pieces[i];
  }
  return text;
}

std::string Tokenizer::piece(int64_t id) const {
  const std::string* piece = impl_->piece(id);
  if (!piece) fail("the id {} is not in the tokenizer's vocabulary, which has ids from 0 to {}", id, size() - 1);
  return *piece;
}

int64_t Tokenizer::size() const {
  int64_t size = impl_->vocabulary->size();
  for (const AddedToken& token : impl_->added.tokens()) size = std::max(size, token.id + 1);
  return size;
}

std::optional<int64_t> Tokenizer::bos() const { return impl_->bos; }

bool Tokenizer::adds_bos() const {
  return impl_->bos && !impl_->special.before.empty() && impl_->special.before.front() == *impl_->bos;
}

std::string Tokenizer::description() const {
  int64_t special = 0;
  for (const AddedToken& token : impl_->added.tokens()) special += token.special;
  std::string bos = "no BOS";
  if (impl_->bos) {
    bos = fmt::format("BOS {} \"{}\"{}", *impl_->bos, printable(piece(*impl_->bos)),
                      adds_bos() ? ", added to texts" : ", not added to texts");
  }
  return fmt::format("{}, {} ids, {} special tokens, {}", impl_->model->description(), size(), special, bos);
}

}  // namespace spikescope
