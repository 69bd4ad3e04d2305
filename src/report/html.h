// Putting untrusted text and data into HTML.
#pragma once

#include <string>
#include <string_view>

namespace spikescope {

/// `text` for HTML content and for attributes in double quotes: one line, made visible (figure/text.h), with & < > " '
/// escaped. Longer than `max_cells`, it is cut.
std::string html_text(std::string_view text, size_t max_cells = 100000);

/// The same for <pre>: newlines stay.
std::string html_lines(std::string_view text);

/// "data:TYPE;base64,...".
std::string data_uri(std::string_view type, std::string_view bytes);

/// JSON text fit to stand in a <script> element: no '<', '>' or '&' outside of \u escapes.
std::string json_in_script(std::string json);

/// JavaScript fit to stand in a <script> element: "</script", "<script" and "<!--", which outside of comments can only
/// be part of strings or regular expressions, get an escape that means the same there.
std::string javascript_in_script(std::string_view code);

}  // namespace spikescope
