#include "report/assets.h"

namespace spikescope {

const std::string_view page_style = R"css(
:root {
  color-scheme: light;
  --paper: #ffffff; --ink: #1d1e20; --muted: #62656a; --line: #e3e3de; --grid: #ebebe8; --card: #f7f7f3;
  --accent: #0068a3; --spike: #d55e00; --heat: 0 104 173; --heat-ink: #ffffff;
  --sans: -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Liberation Sans", "DejaVu Sans Condensed",
    sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) { :root:not([data-theme="light"]) {
  color-scheme: dark;
  --paper: #131417; --ink: #e6e4df; --muted: #a0a19d; --line: #303236; --grid: #292b2f; --card: #1b1d21;
  --accent: #74b9ea; --spike: #f08a3c; --heat: 58 140 205; --heat-ink: #ffffff;
} }
:root[data-theme="dark"] {
  color-scheme: dark;
  --paper: #131417; --ink: #e6e4df; --muted: #a0a19d; --line: #303236; --grid: #292b2f; --card: #1b1d21;
  --accent: #74b9ea; --spike: #f08a3c; --heat: 58 140 205; --heat-ink: #ffffff;
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1.5rem; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.6 var(--sans); overflow-wrap: break-word; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: 2px; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.page { max-width: 58rem; margin: 0 auto; padding: 0 1.25rem 5rem; }
.top { display: flex; justify-content: space-between; align-items: center; padding: 1.1rem 0; color: var(--muted);
  font-size: .85rem; }
.top b { color: var(--ink); font-weight: 600; letter-spacing: .01em; }
.theme { display: none; font: inherit; color: inherit; background: none; border: 1px solid var(--line);
  border-radius: 99px; padding: .3rem .85rem; cursor: pointer; }
.theme:hover { color: var(--ink); border-color: var(--muted); }
.js .theme { display: block; }
h1 { font-size: clamp(1.8rem, 1.2rem + 2.6vw, 2.7rem); line-height: 1.12; letter-spacing: -.018em; font-weight: 700;
  margin: 1.6rem 0 .9rem; }
.lede { font-size: clamp(1.06rem, 1rem + .4vw, 1.22rem); line-height: 1.55; max-width: 46rem; margin: 0 0 1.8rem; }
.cards { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: .8rem;
  margin: 0 0 2rem; padding: 0; list-style: none; }
.cards li { background: var(--card); border-radius: .6rem; padding: .9rem 1.05rem .95rem; }
.cards span, .cards small { display: block; color: var(--muted); font-size: .84rem; line-height: 1.4; }
.cards strong { display: block; font-size: 1.65rem; line-height: 1.25; font-weight: 650; letter-spacing: -.01em;
  font-variant-numeric: tabular-nums; margin: .1rem 0 .15rem; }
.contents ol { display: flex; flex-wrap: wrap; gap: .35rem 1.3rem; list-style: none; margin: 0; padding: .8rem 0;
  border-top: 1px solid var(--line); border-bottom: 1px solid var(--line); font-size: .92rem; }
.contents a { text-decoration: none; }
.contents a:hover { text-decoration: underline; }
section { margin-top: 3.4rem; }
h2 { font-size: 1.5rem; line-height: 1.25; letter-spacing: -.01em; margin: 0 0 .6rem; }
section > p { max-width: 46rem; margin: 0 0 1.4rem; }
figure { margin: 2.2rem 0; }
h3 { font-size: 1.02rem; line-height: 1.4; font-weight: 650; margin: 0 0 .5rem; }
h3 i { color: var(--muted); font-style: normal; font-weight: 400; margin-right: .35rem; }
figcaption { color: var(--muted); font-size: .9rem; line-height: 1.5; max-width: 46rem; }
figcaption p { margin: .55rem 0 .3rem; }
.plot { position: relative; }
.plot > img { display: block; width: 100%; max-width: 46rem; height: auto; background: #fff; border-radius: .4rem; }
.js .plot.waiting > img { display: none; }
.js .plot.live > img { display: none; }
.plot > .canvas { display: none; }
.js .plot.live > .canvas, .js .plot.waiting > .canvas { display: block; }
.canvas { overflow: hidden; }
.canvas .modebar { opacity: 0; transition: opacity .2s; }
.canvas:hover .modebar, .canvas:focus-within .modebar { opacity: 1; }
.downloads { display: flex; flex-wrap: wrap; gap: .1rem .9rem; font-size: .85rem; margin: 0; padding: 0;
  list-style: none; }
.downloads a { display: inline-block; padding: .25rem 0; }
.tokens { font: .9rem/2.05 var(--mono); max-width: 52rem; max-height: 32rem; overflow-y: auto; }
.tokens span { display: inline-block; line-height: 1.45; padding: .08rem .2rem; margin: 0 1px; border-radius: 3px;
  white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; max-width: 100%;
  background: rgb(var(--heat) / var(--v)); cursor: default; }
.tokens .high { color: var(--heat-ink); }
.tokens .mark { box-shadow: 0 0 0 2px var(--spike); }
.tokens .none { background: var(--card); color: var(--muted); }
.tokens span:hover { outline: 1px solid var(--muted); }
.scale { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem .55rem; font-size: .85rem; color: var(--muted);
  margin-top: .7rem; font-variant-numeric: tabular-nums; }
.scale i { width: 9rem; height: .6rem; border-radius: 2px;
  background: linear-gradient(to right, rgb(var(--heat) / 0), rgb(var(--heat) / 1)); border: 1px solid var(--line); }
.reading { min-height: 1.4em; font: .82rem/1.4 var(--mono); color: var(--ink); margin-left: auto; }
.table { margin: 2.2rem 0; }
.scroll { overflow-x: auto; border-top: 1.5px solid var(--ink); border-bottom: 1.5px solid var(--ink); }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums;
  line-height: 1.4; }
th, td { text-align: left; padding: .42rem .9rem .42rem 0; white-space: nowrap; vertical-align: top; }
th:last-child, td:last-child { padding-right: .2rem; }
thead th { font-weight: 600; border-bottom: 1px solid var(--ink); }
tbody tr + tr td { border-top: 1px solid var(--line); }
td.number, th.number { text-align: right; }
td.long { white-space: normal; min-width: 16rem; }
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .35rem 1.4rem; margin: 0;
  font-size: .9rem; }
.facts dt { color: var(--muted); }
.facts dd { margin: 0; font-family: var(--mono); font-size: .84rem; overflow-wrap: anywhere; }
details { margin-top: 1.6rem; font-size: .9rem; }
summary { cursor: pointer; color: var(--muted); }
details h3 { margin-top: 1.2rem; }
pre { white-space: pre-wrap; font: .76rem/1.5 var(--mono); color: var(--muted); margin: .4rem 0 0; }
@media (max-width: 40rem) {
  .page { padding: 0 1rem 3rem; }
  .cards { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .55rem; }
  .cards li { padding: .7rem .75rem .75rem; }
  .cards strong { font-size: 1.3rem; overflow-wrap: anywhere; }
  .reading { flex-basis: 100%; margin: 0; }
  .facts { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .facts dd { margin-bottom: .7rem; }
  .downloads a { padding: .5rem 0; }
  h2 { font-size: 1.32rem; }
  section { margin-top: 2.6rem; }
}
@media print {
  :root, :root[data-theme="dark"] { --paper: #fff; --ink: #000; --muted: #444; --line: #ccc; --card: #f4f4f4; }
  .theme, .contents, .downloads, .reading { display: none !important; }
  .js .plot > img { display: block !important; max-width: 30rem; }
  .js .plot > .canvas { display: none !important; }
  figure, .table, .cards li { break-inside: avoid; }
  .tokens { max-height: none; overflow: visible; }
  .tokens span, .cards li { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  section { margin-top: 2rem; }
  .page { padding-bottom: 0; }
}
)css";

}  // namespace spikescope
