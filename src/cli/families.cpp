#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/command.h"
#include "families/family.h"

namespace spikescope {
namespace {

std::string joined(const std::vector<std::string_view>& names) { return fmt::format("{}", fmt::join(names, ", ")); }

void print_markdown() {
  const auto code = [](const std::vector<std::string_view>& names) {
    std::vector<std::string> quoted;
    for (const std::string_view name : names) quoted.push_back(fmt::format("`{}`", name));
    return fmt::format("{}", fmt::join(quoted, ", "));
  };
  fmt::print(
      "| family (`--as`) | models | `model_type` in config.json | `general.architecture` in GGUF "
      "|\n|---|---|---|---|\n");
  for (const Family& family : families())
    fmt::print("| `{}` | {} | {} | {} |\n", family.name, family.title, code(family.model_types),
               code(family.gguf_architectures));
}

}  // namespace

void add_families(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("families", "List the model families that are supported");
  command->footer(R"(Examples:
  spikescope families
  spikescope families --markdown     the table of docs/families.md

A checkpoint's family is what its config.json calls model_type, or its GGUF general.architecture. Another name can be tried
with --as FAMILY; how to add a family: docs/adding-a-family.md.)");
  auto markdown = std::make_shared<bool>(false);
  command->add_flag("--markdown", *markdown, "Print a Markdown table");
  command->callback([markdown, &session] {
    session.action = [markdown, &session] {
      if (session.json) {
        Json all = Json::array();
        for (const Family& family : families())
          all.push_back({{"name", family.name},
                         {"models", family.title},
                         {"model_types", family.model_types},
                         {"gguf_architectures", family.gguf_architectures}});
        fmt::print("{}\n", json_text(all));
      } else if (*markdown) {
        print_markdown();
      } else {
        fmt::print("{:<14} {:<36} {:<32} {}\n", "family", "models", "model_type", "GGUF");
        for (const Family& family : families())
          fmt::print("{:<14} {:<36} {:<32} {}\n", family.name, family.title, joined(family.model_types),
                     joined(family.gguf_architectures));
      }
      return 0;
    };
  });
}

}  // namespace spikescope
