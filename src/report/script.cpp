#include "report/assets.h"

namespace spikescope {

const std::string_view head_script = R"js(
(() => {
  'use strict';
  const root = document.documentElement;
  let errors = 0;
  const note = (text) => {
    errors += 1;
    root.dataset.errors = String(errors);
    root.dataset.firstError = root.dataset.firstError || String(text).slice(0, 500);
  };
  root.dataset.errors = '0';
  addEventListener('error', (event) => note(event.message || 'error'));
  addEventListener('unhandledrejection', (event) => note(event.reason));
  document.addEventListener('securitypolicyviolation',
                            (event) => note(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  const plain = console.error.bind(console);
  console.error = (...words) => { note(words.join(' ')); plain(...words); };
  root.classList.add('js');
  try {
    const theme = localStorage.getItem('spikescope-theme');
    if (theme === 'dark' || theme === 'light') root.dataset.theme = theme;
  } catch (ignored) { /* no storage: the system's theme */ }
})();
)js";

const std::string_view body_script = R"js(
(() => {
  'use strict';
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById('figure-data').textContent);
  const plots = [...document.querySelectorAll('.plot[data-figure]')];
  const strips = document.querySelectorAll('.tokens').length;
  const most3d = 6;  // browsers keep few WebGL contexts alive
  const live3d = [];
  const narrow = () => innerWidth < 640;
  const touch = matchMedia('(pointer: coarse)').matches;

  const drawn = new Set();
  const count = () => { root.dataset.figures = `${drawn.size + strips}/${plots.length + strips}`; };
  count();

  const hasWebgl = (() => {
    try {
      const context = document.createElement('canvas').getContext('webgl');
      if (!context) return false;
      context.getExtension('WEBGL_lose_context')?.loseContext();
      return true;
    } catch (ignored) { return false; }
  })();

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // plotly.js puts entries that do not fit into one row into columns as wide as the widest.
  const legendRows = (traces, width) => {
    const wide = traces.filter((trace) => trace.showlegend).map((trace) => 52 + 7 * trace.name.length);
    if (wide.length === 0) return 0;
    if (wide.reduce((sum, one) => sum + one, 0) <= width) return 1;
    return Math.ceil(wide.length / Math.max(1, Math.floor(width / Math.max(...wide))));
  };

  // Brighter shades of the two darkest colours, for a dark page.
  const onDark = { '#0072b2': '#3b9ad8', '#2a6f9e': '#5ba7d6', '#d55e00': '#ee7a2b' };
  const systemDark = matchMedia('(prefers-color-scheme: dark)');
  const dark = () => root.dataset.theme ? root.dataset.theme === 'dark' : systemDark.matches;
  const coloured = (spec) => !dark() ? spec.data :
    JSON.parse(JSON.stringify(spec.data, (key, value) => (key === 'color' && onDark[value]) || value));

  // Panels one above the other: each takes its title, as many rows of legend as the width makes of it, and its plot.
  const stack = (spec, layout, width, bands) => {
    const plot = narrow() ? 130 : 150, gap = 18, title = 24, row = 21;
    let from = 0;
    const heads = spec.panels.map((panel, i) => {
      const traces = spec.data.slice(from, from += panel.traces);
      return { legend: 6 + row * legendRows(traces, width - 60), bands: i === 0 ? bands : 0 };
    });
    const all = heads.reduce((sum, head) => sum + title + head.legend + head.bands + plot + gap, -gap);
    let top = 0;  // pixels from the upper end
    const at = (pixels) => 1 - pixels / all;
    spec.panels.forEach((panel, i) => {
      const note = layout.annotations[panel.title];
      Object.assign(note, { y: at(top + title), yanchor: 'bottom' });
      if (narrow()) Object.assign(note, { xshift: -42, font: { ...note.font, size: 11 } });
      top += title;
      Object.assign(layout[panel.legend], { y: at(top), yanchor: 'top' });
      top += heads[i].legend + heads[i].bands;
      layout[panel.axis].domain = [Math.max(0, at(top + plot)), at(top)];
      top += plot + gap;
    });
    layout.margin = { l: 10, r: 14, b: 45, t: 6 };
    layout.height = all + 51;
  };

  // The figure's layout with the theme's colours and the window's size.
  const fitted = (spec, width) => {
    const layout = structuredClone(spec.layout);
    const ink = colour('--ink'), grid = colour('--grid'), muted = colour('--muted');
    layout.paper_bgcolor = layout.plot_bgcolor = 'rgba(0,0,0,0)';
    layout.font = { family: colour('--sans'), size: narrow() ? 11 : 12.5, color: ink };
    layout.hoverlabel = { bgcolor: colour('--card'), bordercolor: muted, align: 'left',
                          font: { color: ink, size: 12.5 } };
    layout.width = width;
    layout.modebar = { bgcolor: 'rgba(0,0,0,0)', color: muted, activecolor: ink };
    const bands = layout.shapes?.length ? 22 : 0;
    if (spec.panels) {
      stack(spec, layout, width, bands);
    } else {
      const rows = spec.layout.showlegend ? legendRows(spec.data, width - 30) : 0;
      layout.margin = { l: 10, r: 14, b: 10, t: 12 + bands + 21 * rows };
      if (narrow()) layout.height = Math.min(layout.height, Math.max(280, Math.round(width * 0.92)));
      layout.height += 21 * Math.max(0, rows - 2);  // a long legend does not take the plot's room
    }
    for (const [key, axis] of Object.entries(layout)) {
      if (!/^[xy]axis/.test(key)) continue;
      const cells = spec.data[0]?.type === 'heatmap';
      Object.assign(axis, { gridcolor: grid, linecolor: muted, tickcolor: muted, showline: !cells,
                            ticks: 'outside', ticklen: 4 });
      if (key === 'xaxis' && !cells) axis.showgrid = false;
      if (key[0] === 'x' && axis.tickvals && narrow() && axis.tickvals.length > 16) {
        const step = Math.ceil(axis.tickvals.length / 12);
        axis.tickvals = axis.tickvals.filter((v, i) => i % step === 0);
        axis.ticktext = axis.ticktext.filter((v, i) => i % step === 0);
      }
    }
    const titles = new Set((spec.panels || []).map((panel) => panel.title));
    (layout.annotations || []).forEach((note, i) => {
      note.font = { ...note.font, color: titles.has(i) ? ink : muted };
    });
    if (layout.scene) {
      layout.margin = { l: 0, r: 0, b: 0, t: 0 };
      for (const axis of [layout.scene.xaxis, layout.scene.yaxis, layout.scene.zaxis]) {
        Object.assign(axis, { gridcolor: colour('--line'), linecolor: muted, zeroline: false, color: ink,
                              showbackground: false, showspikes: false, tickfont: { size: narrow() ? 10 : 11.5 } });
      }
      // An orthographic scene is about as wide as the box is high, times the aspect ratio.
      const ratio = layout.scene.aspectratio, scale = Math.min(0.8 * width / layout.height, 1.4);
      for (const axis of ['x', 'y', 'z']) ratio[axis] *= scale;
    } else if (touch) {
      layout.dragmode = false;  // a finger scrolls the page
    }
    return layout;
  };

  const config = (spec) => ({
    responsive: false, displaylogo: false, scrollZoom: false, showTips: false,
    showSendToCloud: false, plotlyServerURL: '',
    displayModeBar: !touch && !narrow(),
    modeBarButtons: [spec.webgl ? ['resetCameraDefault3d'] : ['zoom2d', 'pan2d', 'resetScale2d']],
  });

  const still = (plot) => { plot.classList.remove('waiting', 'live'); };

  const sizes = 'ResizeObserver' in window ? new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.clientWidth === 0 || Number(target.dataset.width) === target.clientWidth) continue;
      target.dataset.width = target.clientWidth;
      requestAnimationFrame(() => redraw(target.parentElement));
    }
  }) : null;

  const draw = async (plot) => {
    if (plot.classList.contains('live') || plot.dataset.busy) return;
    const spec = figures[plot.dataset.figure];
    if (spec.webgl && !hasWebgl) {
      still(plot);
    } else {
      plot.dataset.busy = '1';
      const canvas = plot.querySelector('.canvas');
      plot.classList.add('live');
      plot.classList.remove('waiting');
      try {
        await Plotly.newPlot(canvas, coloured(spec), fitted(spec, canvas.clientWidth), config(spec));
      } catch (error) {
        console.error(error);
        still(plot);  // its picture is better than nothing
        return;
      }
      canvas.style.minHeight = '';
      canvas.dataset.width = canvas.clientWidth;
      sizes?.observe(canvas);
      delete plot.dataset.busy;
      if (spec.webgl) {
        live3d.push(plot);
        if (live3d.length > most3d) {
          const oldest = live3d.shift();
          const canvas = oldest.querySelector('.canvas');
          sizes?.unobserve(canvas);
          Plotly.purge(canvas);
          still(oldest);  // shows its picture until it is scrolled to again
        }
      }
    }
    drawn.add(plot);
    count();
  };

  for (const plot of plots) {
    const spec = figures[plot.dataset.figure];
    if (spec.webgl && !hasWebgl) still(plot);
    else plot.querySelector('.canvas').style.minHeight = `${spec.layout.height}px`;
  }

  // The SVG is in the page once, as the picture; its link gets it from there.
  for (const link of document.querySelectorAll('a[data-picture]')) {
    const picture = document.getElementById(link.dataset.picture);
    if (picture) link.href = picture.src;
  }

  const redraw = (plot) => {
    if (!plot.classList.contains('live') || plot.dataset.busy) return;
    const spec = figures[plot.dataset.figure], canvas = plot.querySelector('.canvas');
    Plotly.react(canvas, coloured(spec), fitted(spec, canvas.clientWidth), config(spec));
  };
  const redrawAll = () => plots.forEach(redraw);

  const button = document.querySelector('.theme');
  const label = () => { button.textContent = dark() ? 'Light' : 'Dark'; };
  button.addEventListener('click', () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    try { localStorage.setItem('spikescope-theme', root.dataset.theme); } catch (ignored) { /* for this visit only */ }
    label();
    redrawAll();
  });
  systemDark.addEventListener('change', () => { label(); redrawAll(); });
  label();

  // A token's value: on hover by its title, on a tap in the line below the text.
  for (const strip of document.querySelectorAll('.tokens')) {
    const reading = strip.parentElement.querySelector('.reading');
    const show = (event) => {
      const token = event.target.closest('span[title]');
      if (token) reading.textContent = token.title.replaceAll('\n', ' · ');
    };
    strip.addEventListener('mouseover', show);
    strip.addEventListener('click', show);
  }

  const drawAll = async () => { for (const plot of plots) await draw(plot); };
  if (location.hash === '#all' || !('IntersectionObserver' in window)) {
    drawAll();
  } else {
    const observer = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
    }, { rootMargin: '300px 0px' });
    for (const plot of plots) observer.observe(plot);
    addEventListener('hashchange', () => { if (location.hash === '#all') drawAll(); });
  }
})();
)js";

}  // namespace spikescope
