#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <iterator>

#include "base/fail.h"
#include "cli/command.h"
#include "io/output_file.h"
#include "text/tokenizer.h"

namespace spikescope {
namespace {

struct TokenizeOptions {
  std::string model;
  std::optional<std::string> text;
  std::string jsonl;
  bool no_special = false, decode = false, skip_special = false, chat = false;
};

constexpr const char* kExamples = R"(Examples:
  spikescope tokenize --model smollm2-135m "Summer is warm."        {"ids": [...], "tokens": [...]}
  spikescope tokenize --model DIR --jsonl texts.jsonl               a line out for each line in
  echo '{"ids": [34386, 314]}' | spikescope tokenize --model smollm2-135m --decode

DIR may hold tokenizer.json alone.)";

Json encoded(const Tokenizer& tokenizer, const std::string& text, bool special) {
  const std::vector<int64_t> ids = tokenizer.encode(text, special);
  Json tokens = Json::array();
  for (const int64_t id : ids) tokens.push_back(tokenizer.piece(id));
  return {{"ids", ids}, {"tokens", std::move(tokens)}};
}

Json decoded(const Tokenizer& tokenizer, const Json& line, const std::string& where, bool skip_special) {
  if (!line.is_object() || !line.contains("ids") || !line["ids"].is_array())
    fail("{}: expected {{\"ids\": [...]}}", where);
  std::vector<int64_t> ids;
  for (const Json& id : line["ids"]) {
    if (!id.is_number_integer()) fail("{}: 'ids' holds a {}; expected integers", where, id.type_name());
    ids.push_back(id.get<int64_t>());
  }
  return {{"text", tokenizer.decode(ids, skip_special)}};
}

/// Calls `each` with every line of the stream and its number.
template <class Function>
void for_each_line(std::istream& stream, const std::string& name, Function each) {
  std::string line;
  for (int64_t number = 1; std::getline(stream, line); ++number) {
    if (line.ends_with('\r')) line.pop_back();
    const std::string where = fmt::format("{}, line {}", name, number);
    try {
      fmt::print("{}\n", json_text(each(parse_json(line, where), where), -1));
    } catch (const Error& error) {
      const std::string message = error.what();
      if (message.starts_with(name)) throw;
      fail("{}: {}", where, message);
    }
  }
}

int tokenize(const TokenizeOptions& options) {
  if (options.chat) {
    fail_usage(
        "--chat: chat templates are not supported; write the template's special tokens into the text (they are "
        "recognised there), or make ids with transformers' apply_chat_template and give them to capture or run with "
        "--ids");
  }
  const Tokenizer tokenizer = Tokenizer::from_path(resolve_model(options.model));
  const auto each = [&](const Json& line, const std::string& where) {
    if (options.decode) return decoded(tokenizer, line, where, options.skip_special);
    return encoded(tokenizer, json_get<std::string>(line, "text", where), !options.no_special);
  };
  if (!options.jsonl.empty() && options.jsonl != "-") {
    if (options.text) fail_usage("give a text or --jsonl, not both");
    std::ifstream file(options.jsonl);
    if (!file) fail("{}: cannot be opened; is the path right?", options.jsonl);
    for_each_line(file, options.jsonl, each);
  } else if (options.jsonl == "-" || (options.decode && !options.text)) {
    for_each_line(std::cin, "standard input", each);
  } else if (options.decode) {
    fmt::print("{}\n", json_text(each(parse_json(*options.text, "the argument"), "the argument"), -1));
  } else {
    const std::string text = options.text ? *options.text : std::string(std::istreambuf_iterator<char>(std::cin), {});
    fmt::print("{}\n", json_text(encoded(tokenizer, text, !options.no_special), -1));
  }
  return 0;
}

}  // namespace

void add_tokenize(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("tokenize", "Turn text into token ids, or back");
  command->footer(kExamples);
  auto options = std::make_shared<TokenizeOptions>();
  command->add_option("--model", options->model, "Catalogue name, GGUF file, or folder with tokenizer.json")
      ->required();
  command->add_option("text", options->text, "The text (default: standard input, whole)");
  command->add_option("--jsonl", options->jsonl,
                      "File with a JSON object a line: field 'text' (--decode: 'ids'); '-' for standard input");
  command->add_flag("--no-special", options->no_special, "Do not add BOS, EOS and the like");
  command->add_flag("--decode", options->decode, "Ids to text: {\"ids\": [...]} a line in, {\"text\": ...} a line out");
  command->add_flag("--skip-special", options->skip_special, "With --decode: leave special tokens out");
  command->add_flag("--chat", options->chat)->group("");  // hidden: there to say what to do instead
  command->callback([options, &session] { session.action = [options] { return tokenize(*options); }; });
}

}  // namespace spikescope
