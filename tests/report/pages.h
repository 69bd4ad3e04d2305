// Reports for tests.
#pragma once

#include <string>

#include "figure/samples.h"
#include "report/report.h"

namespace spikescope::testing {

inline ReportPage sample_page() {
  const std::vector<Figure> figures = sample_figures();
  ReportPage page;
  page.title = "SmolLM2-135M-Instruct";
  page.summary = "One token carries an activation of 23,147, 13,450 times the median.";
  page.facts = {{"model", "SmolLM2-135M-Instruct.Q4_1.gguf"}, {"sha256", std::string(64, 'a')}, {"BOS", "none"}};
  page.findings = {{"largest activation", "23,147", "token 0, dimension 507"}, {"sink rate", "0.51", ""}};
  Section spikes{"Two plateaus.", {}, {figures[0], figures[1], figures[2]}};
  spikes.tables = {{"spikes",
                    "Spikes found",
                    "By the automatic rule.",
                    {"string", "dimension", "value", "note"},
                    {{"Summer", "507", "23,147.1", "a"}, {"Summer", "247", "−1,692.8", std::string(100, 'n')}}}};
  Section sinks{"Most heads look at token 0.", {}, {figures[3], figures[4], figures[5]}};
  page.sections = {{"spikes", "Massive activation spikes", spikes}, {"sinks", "Attention sinks", sinks}};
  page.notices = {{"Some library", "Licence, first line\nsecond line"}};
  return page;
}

/// Every string that a model or a prompt could supply is `text`.
inline ReportPage hostile_page(const std::string& text) {
  ReportPage page;
  page.title = page.summary = text;
  page.facts = {{text, text}};
  page.findings = {{text, text, text}};
  page.notices = {{text, text}};
  Figure lines{"lines",
               text,
               text,
               {text, false, {}, {}, {text, text}},
               {text, false, {}, {}, {}},
               {{0, 1, text}},
               Lines{{{text, {0, 1}, {1, 2}, Series::Mark::bars, false, false, {text, text}}}, {}}};
  Figure heat = lines;
  heat.id = "heat";
  heat.content = HeatMap{{0, 1}, {0}, {1, 2}, text, {}, {}, false, {text, text}};
  Figure strip = lines;
  strip.id = "strip";
  strip.content = TokenStrip{{text, "x"}, {1, 2}, text, false, {0}, {text, text}};
  Figure surface = lines;
  surface.id = "surface";
  surface.content = Surface{{0, 1}, {0}, {1, 200}, {text, false, {}, {}, {}}, {text, text}};
  Section section{text, {{"t", text, text, {text, text}, {{text, text}}}}, {lines, heat, strip, surface}};
  page.sections = {{text, text, section}};
  return page;
}

/// As small as a page's needs allow: draws an <svg> with the number of traces.
inline const char* plotly_stub() {
  return R"js(
    window.Plotly = {
      newPlot: (place, data) => { place.innerHTML = '<svg data-traces="' + data.length + '"></svg>'; return Promise.resolve(place); },
      react: () => Promise.resolve(), purge: (place) => { place.innerHTML = ''; } };
    const bait = "</script><script>document.title = 'broken'</script><!--";
  )js";
}

}  // namespace spikescope::testing
