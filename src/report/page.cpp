#include "report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/utf8.h"
#include "base/version.h"
#include "figure/color_scale.h"
#include "figure/plotly.h"
#include "figure/text.h"
#include "report/assets.h"
#include "report/html.h"

namespace spikescope {
namespace {

constexpr std::string_view kPlotlyNotice =
    R"(MIT License

Copyright (c) 2016-2026 Plotly Technologies Inc.

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in
all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN
THE SOFTWARE.
)";

constexpr size_t kLongestToken = 40, kLongestTitle = 400, kLongCell = 60;

/// Whether a table cell reads as a number, so that its column is set flush right.
bool numeric(std::string_view cell) {
  static constexpr std::string_view allowed = "0123456789.,+-%eE×^ ";
  bool digit = false;
  for (size_t i = 0; i < cell.size();) {
    const size_t start = i;
    const char32_t code = next_code_point(cell, i);
    digit |= code >= '0' && code <= '9';
    const bool minus_or_dash = code == 0x2212 || code == 0x2013 || code == 0x2014 || code == 0xB1;
    const bool superscript = code == 0xB9 || code == 0xB2 || code == 0xB3 || (code >= 0x2070 && code <= 0x207B);
    if (!minus_or_dash && !superscript && allowed.find(cell.substr(start, i - start)) == std::string_view::npos)
      return false;
  }
  return digit || cell.empty() || cell == "-" || cell == "–" || cell == "—";
}

class PageWriter {
 public:
  PageWriter(const ReportPage& page, const std::map<std::string, FigureFiles>& files, const std::string& plotly,
             const std::string& nonce)
      : page_(page), files_(files), plotly_(plotly), nonce_(nonce) {}

  std::string write() {
    head();
    out_ += "<body>\n<div class=\"page\">\n";
    add("<header class=\"top\"><span><b>Spikescope</b> {}</span>{}</header>\n", html_text(version()),
        page_.interactive
            ? "<button class=\"theme\" type=\"button\" aria-label=\"Switch between light and dark\">Dark</button>"
            : "");
    add("<main>\n<h1>{}</h1>\n", html_text(page_.title, 200));
    if (!page_.summary.empty()) add("<p class=\"lede\">{}</p>\n", html_text(page_.summary));
    findings();
    for (const Figure& figure : page_.lead) write_figure(figure);
    contents();
    for (const ReportSection& section : page_.sections) write_section(section);
    provenance();
    out_ += "</main>\n</div>\n";
    if (page_.interactive) scripts();
    out_ += "</body>\n</html>\n";
    return std::move(out_);
  }

 private:
  template <class... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  void head() {
    out_ +=
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    // Whatever slips through the escaping can neither run nor call home.
    const std::string scripts = page_.interactive ? fmt::format(" script-src 'nonce-{}';", nonce_) : "";
    const char* images = page_.interactive ? "data: blob:" : "'self' file:";
    add("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';{} style-src 'unsafe-inline'; "
        "img-src {}; "
        "base-uri 'none'; form-action 'none'\">\n",
        scripts, images);
    add("<title>{} · Spikescope</title>\n<meta name=\"color-scheme\" content=\"light dark\">\n<style>{}</style>\n",
        html_text(page_.title, 200), page_style);
    if (page_.interactive) add("<script nonce=\"{}\">{}</script>\n", nonce_, head_script);
    out_ += "</head>\n";
  }

  void findings() {
    if (page_.findings.empty()) return;
    add("<ul class=\"cards\" style=\"--columns:{}\">\n", card_columns(page_.findings.size()));
    for (const Finding& finding : page_.findings) {
      add("<li><span>{}</span><strong>{}</strong>", html_text(finding.label, 100), html_text(finding.value, 60));
      if (!finding.note.empty()) add("<small>{}</small>", html_text(finding.note, 240));
      out_ += "</li>\n";
    }
    out_ += "</ul>\n";
  }

  /// Cards a row on a wide screen: so that the last row is full, or nearly so.
  static size_t card_columns(size_t cards) {
    if (cards <= 5) return std::max<size_t>(cards, 3);
    return cards % 4 == 0 ? 4 : cards % 3 == 0 ? 3 : cards % 5 == 0 ? 5 : 4;
  }

  void contents() {
    out_ += "<nav class=\"contents\" aria-label=\"Contents\"><ol>\n";
    for (const ReportSection& section : page_.sections) {
      add("<li><a href=\"#section-{}\">{}</a></li>\n", html_text(section.name), html_text(section.title));
    }
    out_ += "<li><a href=\"#provenance\">How this was made</a></li>\n</ol></nav>\n";
  }

  void write_section(const ReportSection& section) {
    add("<section id=\"section-{}\">\n<h2>{}</h2>\n", html_text(section.name), html_text(section.title));
    if (!section.content.summary.empty()) add("<p>{}</p>\n", html_text(section.content.summary));
    for (const Figure& figure : section.content.figures) write_figure(figure);
    for (const Table& table : section.content.tables) write_table(table);
    out_ += "</section>\n";
  }

  void write_figure(const Figure& figure) {
    add("<figure id=\"figure-{}\">\n<h3><i>Figure {}</i> {}</h3>\n", figure.id, ++figures_, html_text(figure.title));
    const auto* strip = std::get_if<TokenStrip>(&figure.content);
    if (strip) {
      write_tokens(*strip);
    } else {
      const bool live = page_.interactive;
      add("<div class=\"plot{}\"{}>", live ? " waiting" : "",
          live ? fmt::format(" data-figure=\"{}\"", figure.id) : "");
      picture(figure);
      out_ += live ? "<div class=\"canvas\"></div></div>\n" : "</div>\n";
    }
    add("<figcaption><p>{}</p>\n", html_text(figure.caption));
    downloads(figure, strip != nullptr);
    out_ += "</figcaption>\n</figure>\n";
  }

  void picture(const Figure& figure) {
    const std::string& svg = files_.at(figure.id).svg;
    add("<img id=\"picture-{}\" alt=\"{}\" src=\"{}\">", figure.id, html_text(figure.title, kLongestTitle),
        svg.empty() ? link(figure, "svg") : data_uri("image/svg+xml", svg));
  }

  static std::string link(const Figure& figure, std::string_view ending) {
    return fmt::format("figures/{}.{}", figure.id, ending);
  }

  void downloads(const Figure& figure, bool no_picture) {
    const FigureFiles& files = files_.at(figure.id);
    out_ += "<ul class=\"downloads\" aria-label=\"Download\">";
    const auto item = [&](std::string_view ending, std::string_view name, const std::string& href,
                          std::string_view more) {
      add("<li><a download=\"{}.{}\" href=\"{}\"{}>{}</a></li>", figure.id, ending, href, more, name);
    };
    // The picture holds the SVG already; the script points its link there.
    const bool svg_in_picture = !files.svg.empty() && !no_picture;
    item("svg", "SVG", files.svg.empty() || svg_in_picture ? link(figure, "svg") : data_uri("image/svg+xml", files.svg),
         svg_in_picture ? fmt::format(" data-picture=\"picture-{}\"", figure.id) : "");
    item("pdf", "PDF", files.pdf.empty() ? link(figure, "pdf") : data_uri("application/pdf", files.pdf), "");
    item("csv", "Data (CSV)", files.csv.empty() ? link(figure, "csv") : data_uri("text/csv;charset=utf-8", files.csv),
         "");
    out_ += "</ul>\n";
  }

  void write_tokens(const TokenStrip& strip) {
    const Range colors = color_range(strip.values, strip.log, std::nullopt, std::nullopt);
    const std::set<int> marked(strip.marked.begin(), strip.marked.end());
    out_ += "<div class=\"tokens\">";
    for (size_t i = 0; i < strip.tokens.size(); ++i) {
      const std::string& token = strip.tokens[i];
      const double part = std::clamp(colors.position(strip.values[i]), 0.0, 1.0);
      const std::string name = visible_text(token, kLongestToken);
      std::string title = fmt::format("token {} \"{}\": {}", i, name, value_label(strip.values[i]));
      if (!strip.hover.empty()) title = strip.hover[i];
      std::string kind = std::isnan(part) ? "none" : part > 0.55 ? "high" : "low";
      if (marked.count(static_cast<int>(i))) kind += " mark";
      add("<span class=\"{}\" style=\"--v:{:.3f}\" title=\"{}\">{}</span>", kind, std::isnan(part) ? 0 : part,
          hover_attribute(title), name.empty() ? "·" : html_text(name));
      if (!token.empty() && token.back() == '\n') out_ += "<br>";
    }
    add("</div>\n<div class=\"scale\"><span>{}</span><i></i><span>{}</span><span>{}{}</span>{}</div>\n",
        value_label(colors.low), value_label(colors.high), html_text(strip.value_label),
        strip.log ? " (log scale)" : "", page_.interactive ? "<output class=\"reading\"></output>" : "");
  }

  /// A hover text as an attribute: its line breaks stay.
  static std::string hover_attribute(std::string_view text) {
    std::string out;
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      if (begin > 0) out += "&#10;";
      out += html_text(text.substr(begin, end - begin), kLongestTitle);
      begin = end + 1;
    }
    return out;
  }

  void write_table(const Table& table) {
    std::vector<bool> is_number(table.columns.size(), true), is_long(table.columns.size(), false);
    for (const auto& row : table.rows) {
      for (size_t i = 0; i < std::min(row.size(), is_number.size()); ++i) {
        if (!numeric(row[i])) is_number[i] = false;
        if (display_cells(visible_text(row[i])) > kLongCell) is_long[i] = true;
      }
    }
    const auto kind = [&](size_t i) {
      return i < is_number.size() && is_number[i] && !table.rows.empty() ? " class=\"number\""
             : i < is_long.size() && is_long[i]                          ? " class=\"long\""
                                                                         : "";
    };
    add("<div class=\"table\">\n<h3><i>Table {}</i> {}</h3>\n<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>",
        ++tables_, html_text(table.title));
    for (size_t i = 0; i < table.columns.size(); ++i)
      add("<th scope=\"col\"{}>{}</th>", kind(i), html_text(table.columns[i]));
    out_ += "</tr></thead>\n<tbody>\n";
    for (const auto& row : table.rows) {
      out_ += "<tr>";
      for (size_t i = 0; i < row.size(); ++i) add("<td{}>{}</td>", kind(i), html_text(row[i]));
      out_ += "</tr>\n";
    }
    out_ += "</tbody></table></div>\n";
    if (!table.caption.empty()) add("<figcaption><p>{}</p></figcaption>\n", html_text(table.caption));
    out_ += "</div>\n";
  }

  void provenance() {
    out_ += "<section id=\"provenance\">\n<h2>How this was made</h2>\n<dl class=\"facts\">\n";
    for (const auto& [name, value] : page_.facts) add("<dt>{}</dt><dd>{}</dd>\n", html_text(name), html_text(value));
    out_ += "</dl>\n";
    if (page_.interactive || !page_.notices.empty()) {
      out_ += "<details><summary>Third-party notices</summary>\n";
      if (page_.interactive) add("<h3>plotly.js</h3><pre>{}</pre>\n", html_lines(kPlotlyNotice));
      for (const Notice& notice : page_.notices)
        add("<h3>{}</h3><pre>{}</pre>\n", html_text(notice.name), html_lines(notice.text));
      out_ += "</details>\n";
    }
    out_ += "</section>\n";
  }

  void scripts() {
    Json data = Json::object();
    for (const Figure* figure : figures_of(page_)) {
      if (std::holds_alternative<TokenStrip>(figure->content)) continue;
      Json entry = to_plotly(*figure);
      entry["webgl"] = needs_webgl(*figure);
      data[figure->id] = std::move(entry);
    }
    add("<script type=\"application/json\" id=\"figure-data\">{}</script>\n", json_in_script(data.dump()));
    add("<script nonce=\"{}\">", nonce_);
    out_ += javascript_in_script(plotly_);
    add("</script>\n<script nonce=\"{}\">{}</script>\n", nonce_, body_script);
  }

  const ReportPage& page_;
  const std::map<std::string, FigureFiles>& files_;
  const std::string& plotly_;
  const std::string& nonce_;
  std::string out_;
  int figures_ = 0, tables_ = 0;
};

}  // namespace

std::string report_html(const ReportPage& page, const std::map<std::string, FigureFiles>& files,
                        const std::string& plotly, const std::string& nonce) {
  return PageWriter(page, files, plotly, nonce).write();
}

}  // namespace spikescope
