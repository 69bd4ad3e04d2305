// spikescope models: what the catalogue offers, and fetching it. Both return the exit code and throw Error / UsageError.
#pragma once

#include <string>

namespace spikescope {

/// Prints the catalogue to standard output: a table (name, family, size, licence, fetched or not), or with `json`
/// {"cache": folder, "models": [{name, title, family, size, licence, licence_url, source, file, sha256, fetched, path}]}.
int list_models(bool json);

struct FetchModelOptions {
  std::string name;    ///< of the catalogue
  bool yes = false;    ///< the licence is accepted
  bool quiet = false;  ///< no progress bar, no word but the result
  bool json = false;   ///< the result as {"name", "path"} instead of the path alone
};

/// Brings a model into the cache and prints its path to standard output. Shows the licence first; where its terms must be
/// accepted and --yes was not given, asks on a terminal (1 when the answer is no) and throws UsageError without one.
/// Throws UsageError for a name that is not in the catalogue.
int fetch_model(const FetchModelOptions& options);

}  // namespace spikescope
