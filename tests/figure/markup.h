// A strict reader of XML and of the HTML that the report is made of: tags balance, attributes are quoted and not
// repeated,
// '<' and '&' are escaped. For tests.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace spikescope::testing {

struct Element {
  std::string name;
  std::map<std::string, std::string> attributes;  ///< values as written, entities and all
  std::string raw;                                ///< contents of script and style
};

struct Markup {
  std::vector<Element> elements;  ///< in order of their start tags
  std::string text;               ///< all text between tags, as written
  std::string error;              ///< empty: well-formed

  size_t count(const std::string& name) const {
    size_t found = 0;
    for (const Element& element : elements) found += element.name == name;
    return found;
  }
};

inline bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
         c == ':' || c == '.';
}

/// "" when every '&' starts an entity and there is no raw '<'.
inline std::string check_text(const std::string& text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '<') return "raw < in text";
    if (text[i] != '&') continue;
    const size_t end = text.find(';', i);
    if (end == std::string::npos || end - i < 3 || end - i > 8) return "bare & in: " + text.substr(i, 20);
  }
  return "";
}

inline Markup read_markup(const std::string& source, bool html) {
  static const std::set<std::string> empty_in_html = {"meta", "br", "img", "link", "hr", "input"};
  Markup out;
  std::vector<std::string> open;
  const auto fail_at = [&](size_t at, const std::string& what) {
    out.error = what + " at byte " + std::to_string(at) + ": " + source.substr(at, 60);
    return out;
  };
  for (size_t i = 0; i < source.size();) {
    if (source[i] != '<') {
      const size_t end = std::min(source.find('<', i), source.size());
      const std::string text = source.substr(i, end - i);
      if (const std::string wrong = check_text(text); !wrong.empty()) return fail_at(i, wrong);
      out.text += text;
      i = end;
      continue;
    }
    if (source.compare(i, 4, "<!--") == 0 || source.compare(i, 2, "<?") == 0 || source.compare(i, 2, "<!") == 0) {
      const std::string close = source.compare(i, 4, "<!--") == 0 ? "-->" : ">";
      const size_t end = source.find(close, i + 2);
      if (end == std::string::npos) return fail_at(i, "unclosed declaration");
      i = end + close.size();
      continue;
    }
    if (source.compare(i, 2, "</") == 0) {
      const size_t end = source.find('>', i);
      const std::string name = source.substr(i + 2, end - i - 2);
      if (open.empty() || open.back() != name) return fail_at(i, "closes what is not open");
      open.pop_back();
      i = end + 1;
      continue;
    }
    const size_t start = i++;
    Element element;
    while (i < source.size() && is_name(source[i])) element.name += source[i++];
    if (element.name.empty()) return fail_at(start, "no tag name");
    bool closed = false;
    while (true) {
      while (i < source.size() && (source[i] == ' ' || source[i] == '\n' || source[i] == '\t' || source[i] == '\r'))
        ++i;
      if (i >= source.size()) return fail_at(start, "unclosed tag");
      if (source[i] == '>') break;
      if (source[i] == '/' && !html) {
        closed = true;
        ++i;
        continue;
      }
      std::string name, value;
      while (i < source.size() && is_name(source[i])) name += source[i++];
      if (name.empty()) return fail_at(start, "bad attribute");
      const auto skip_spaces = [&] {
        while (i < source.size() && source[i] == ' ') ++i;
      };
      skip_spaces();
      if (i < source.size() && source[i] == '=') {
        ++i;
        skip_spaces();
        const char quote = i < source.size() ? source[i] : ' ';
        if (quote != '"' && quote != '\'') return fail_at(start, "unquoted attribute");
        const size_t end = source.find(quote, i + 1);
        if (end == std::string::npos) return fail_at(start, "unclosed attribute");
        value = source.substr(i + 1, end - i - 1);
        if (const std::string wrong = check_text(value); !wrong.empty()) return fail_at(i, wrong);
        i = end + 1;
      }
      if (!element.attributes.emplace(name, value).second) return fail_at(start, "attribute twice");
    }
    ++i;
    if (html && (element.name == "script" || element.name == "style")) {
      const std::string close = "</" + element.name + ">";
      const size_t end = source.find(close, i);
      if (end == std::string::npos) return fail_at(start, "unclosed " + element.name);
      element.raw = source.substr(i, end - i);
      i = end + close.size();
    } else if (!closed && !(html && empty_in_html.count(element.name))) {
      open.push_back(element.name);
    }
    out.elements.push_back(std::move(element));
  }
  if (!open.empty()) out.error = "never closed: " + open.back();
  return out;
}

}  // namespace spikescope::testing
