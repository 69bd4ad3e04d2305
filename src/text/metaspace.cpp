#include "text/metaspace.h"

#include "base/fail.h"
#include "base/utf8.h"
#include "io/printable.h"

namespace spikescope {

MetaspaceOptions metaspace_from_json(const Json& json, const std::string& where) {
  MetaspaceOptions options;
  options.replacement = json_get<std::string>(json, "replacement", where);
  if (options.replacement.empty() || utf8_length(options.replacement[0]) != options.replacement.size()) {
    fail("{}: \"replacement\" is \"{}\", expected a single character", where, printable(options.replacement));
  }
  options.split = json_get_or<bool>(json, "split", true, where);
  const bool prefix = json_get_or<bool>(json, "add_prefix_space", true, where);
  const std::string scheme = json_get_or<std::string>(json, "prepend_scheme", prefix ? "always" : "never", where);
  if (scheme == "always") {
    options.prepend = MetaspacePrepend::kAlways;
  } else if (scheme == "first") {
    options.prepend = MetaspacePrepend::kFirst;
  } else if (scheme == "never") {
    options.prepend = MetaspacePrepend::kNever;
  } else {
    fail("{}: unknown prepend_scheme \"{}\"; known are always, first and never", where, printable(scheme));
  }
  return options;
}

}  // namespace spikescope
