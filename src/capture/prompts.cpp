#include "capture/prompts.h"

#include <string_view>

#include "base/fail.h"
#include "capture/builtin_prompts.h"
#include "capture/corpus.h"
#include "io/output_file.h"
#include "stats/sample.h"

namespace spikescope {
namespace {

/// Lines of a text, each without its line end ("\n" or "\r\n"); a last empty line does not count.
std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return lines;
}

class PromptReader {
 public:
  PromptReader(const PromptRequest& request, const Tokenizer* tokenizer) : request_(request), tokenizer_(tokenizer) {
    tokens_.offsets = {0};
    if (request.bos == Bos::always && !(tokenizer && tokenizer->bos()))
      fail_usage("--bos always: this checkpoint's tokenizer names no BOS token");
  }

  DumpTokens take() { return std::move(tokens_); }

  void add_text(const std::string& text, const std::string& where) {
    std::vector<int64_t> ids;
    try {
      ids = tokenizer().encode(text, request_.bos != Bos::never);
    } catch (const Error& error) {
      fail("{}: {}", where, error.what());
    }
    if (request_.bos == Bos::always && (ids.empty() || ids.front() != *tokenizer().bos()))
      ids.insert(ids.begin(), *tokenizer().bos());
    if (ids.empty()) fail("{}: the prompt is empty; give at least one token of text", where);
    add(ids, {{"source", where}, {"text", text}});
  }

  void add_lines(const std::filesystem::path& path) {
    const std::string content = read_file(path), name = path.filename().string();
    const bool jsonl = path.extension() == ".jsonl";
    const std::vector<std::string_view> lines = lines_of(content);
    const size_t before = tokens_.prompts.size();
    for (size_t i = 0; i < lines.size(); ++i) {
      if (lines[i].empty()) continue;  // a blank line separates prompts for the eye
      const std::string where = fmt::format("{}, line {}", name, i + 1);
      add_text(jsonl ? json_get<std::string>(parse_json(lines[i], where), "text", where) : std::string(lines[i]),
               where);
    }
    if (tokens_.prompts.size() == before) fail("{}: there is no prompt in this file", path.string());
  }

  void add_ids(const std::filesystem::path& path) {
    const std::string name = path.filename().string();
    const Json document = read_json_file(path);
    if (!document.is_array() || document.empty()) fail("{}: expected a JSON array of arrays of token ids", name);
    for (size_t p = 0; p < document.size(); ++p) {
      const Json& row = document[p];
      if (!row.is_array() || row.empty()) fail("{}: prompt {} is not an array of token ids, or is empty", name, p);
      std::vector<int64_t> ids;
      for (const Json& id : row) {
        if (!id.is_number_integer())
          fail("{}: prompt {} holds a {}; expected integer token ids", name, p, id.type_name());
        ids.push_back(id.get<int64_t>());
      }
      add(ids, {{"source", fmt::format("{}, prompt {}", name, p)}});
    }
  }

  void add_windows(const std::filesystem::path& path) {
    if (request_.windows < 1) fail_usage("--windows is {}; expected 1 or more", request_.windows);
    const std::string name = path.filename().string();
    const std::vector<int64_t> ids = read_corpus(path, tokenizer());
    const std::optional<int64_t> bos = bos_in_front(request_.bos, tokenizer());
    const int64_t step = request_.length - (bos ? 1 : 0);
    if (step < 1) fail_usage("--length is {}; expected {} or more", request_.length, bos ? 2 : 1);
    const int64_t available = static_cast<int64_t>(ids.size()) / step;
    if (available < request_.windows)
      fail("{}: its {} tokens make {} windows of {}; {} were asked for (lower --windows or --length)", path.string(),
           ids.size(), available, request_.length, request_.windows);
    for (int64_t window = 0; window < request_.windows; ++window) {
      std::vector<int64_t> part(ids.begin() + window * step, ids.begin() + (window + 1) * step);
      if (bos) part.insert(part.begin(), *bos);
      add(part, {{"source", name}, {"window", window}});
    }
  }

 private:
  const Tokenizer& tokenizer() const {
    if (!tokenizer_) fail("the checkpoint has no tokenizer; give token ids with --ids FILE");
    return *tokenizer_;
  }

  void add(const std::vector<int64_t>& ids, Json prompt) {
    for (const int64_t id : ids) {
      tokens_.ids.push_back(id);
      const bool known = tokenizer_ && id >= 0 && id < tokenizer_->size();
      tokens_.strings.push_back(known ? tokenizer_->piece(id) : std::string());
    }
    tokens_.offsets.push_back(tokens_.size());
    tokens_.prompts.push_back(std::move(prompt));
  }

  const PromptRequest& request_;
  const Tokenizer* tokenizer_;
  DumpTokens tokens_;
};

}  // namespace

DumpTokens read_prompts(const PromptRequest& request, const Tokenizer* tokenizer) {
  PromptReader reader(request, tokenizer);
  for (size_t i = 0; i < request.texts.size(); ++i)
    reader.add_text(request.texts[i], fmt::format("--prompt {}", i + 1));
  if (request.prompts_file) reader.add_lines(*request.prompts_file);
  if (request.ids_file) reader.add_ids(*request.ids_file);
  if (request.text_file) reader.add_windows(*request.text_file);
  if (request.texts.empty() && !request.prompts_file && !request.ids_file && !request.text_file) {
    const std::vector<std::string_view> prompts = lines_of(builtin_prompts());
    for (size_t i = 0; i < prompts.size(); ++i)
      reader.add_text(std::string(prompts[i]), fmt::format("built-in prompt {}", i + 1));
  }
  return reader.take();
}

void add_random_first(DumpTokens& tokens, int64_t count, int64_t vocabulary, uint64_t seed,
                      const Tokenizer* tokenizer) {
  if (count > vocabulary) fail_usage("--random-first {}: the model has {} tokens to choose from", count, vocabulary);
  constexpr uint32_t kStream = 0x52460000;  // apart from the streams of windows
  for (const int64_t id : sample_without_replacement(vocabulary, count, seed, kStream)) {
    tokens.ids.push_back(id);
    tokens.offsets.push_back(tokens.size());
    tokens.strings.push_back(tokenizer ? tokenizer->piece(id) : std::string());
    tokens.prompts.push_back({{"source", "--random-first"}, {"seed", seed}, {kRandomFirst, true}});
  }
}

std::string bos_description(const PromptRequest& request, const Tokenizer* tokenizer) {
  const bool from_text = !request.texts.empty() || request.prompts_file || request.text_file || !request.ids_file;
  if (!from_text || !tokenizer || !tokenizer->bos()) return "none";
  const bool with_bos = request.bos == Bos::always || (request.bos == Bos::automatic && tokenizer->adds_bos());
  return bos_text(with_bos ? tokenizer->bos() : std::nullopt, *tokenizer);
}

}  // namespace spikescope
