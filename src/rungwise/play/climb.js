// Climb: one rung beside another. What it is made of, what changed, what it is worth, and what it writes.

import { axes, byId, count, el, interval, known, replace, svg, ticks, word } from "./dom.js";
import { drawModel, trainingFacts } from "./draw.js";
import { drawWord, randomNumbers } from "./sample.js";
import { decode, inTraining } from "./text.js";

const N_NAMES = 10;

export function climb(app) {
  const rung = app.rung();
  const other = compared(app, rung);
  fillOptions(app, rung);
  replace(byId("climb-chart"), chart(app, rung, other));
  const [n, trained] = [app.rungs.length, `trained on ${count(app.list.n_train)} words and running in this page`];
  byId("climb-what").textContent = n > 1
    ? `${n} small transformers, ${trained}, each one step on from the one that it stands on. Move the slider: what is new lights up.`
    : `One small transformer, ${trained}.`;
  replace(byId("climb-why"), el("strong", {}, rung.title), rung.why && `: ${rung.why}`, rung.source && el("span", { class: "soft" }, ` (${rung.source})`),
    rung.chapter && el("a", { class: "chapter", href: rung.chapter }, "Read its chapter"));
  replace(byId("climb-panels"), [other, rung].filter(Boolean).map((shown) => panel(app, shown, rung, other)));
  byId("climb-said").textContent = footnote(app, rung);
  byId("climb-changed").textContent = app.find(rung.on) ? `What changed from ${app.find(rung.on).title} to ${rung.title}` : `What ${rung.title} begins with`;
  replace(byId("climb-changes"), changes(app, rung));
  replace(byId("climb-code"), rung.code.length
    ? rung.code.map(({ where, text }) => el("figure", {}, el("figcaption", {}, where), el("pre", { tabindex: 0, role: "region", "aria-label": where }, python(text))))
    : el("p", {}, "This rung changes numbers only: no other line of the code runs."));
}

function compared(app, rung) {
  if (app.state.with === "none") return null;
  const named = app.find(app.state.with) ?? app.find(rung.on);
  return named === rung ? null : named;
}

function fillOptions(app, rung) {
  const below = app.find(rung.on);
  const options = [["", below ? `the rung below (${below.title})` : "the rung below (none)"], ["none", "nothing"],
    ...app.rungs.map(({ name, title }) => [name, title])];
  byId("with").replaceChildren(...options.map(([value, text]) => el("option", { value, selected: value === app.state.with }, text)));
}

function panel(app, shown, rung, other) {
  const changed = new Set(shown === rung ? rung.changes.filter(({ before }) => before !== null).map(({ field }) => field) : []);
  const facts = trainingFacts(shown).map(([fields, text]) => el("li", { class: fields.some((f) => changed.has(f)) && "lit" }, text));
  return el("section", { class: "card panel" },
    el("h3", {}, shown.title, other && el("span", { class: "soft" }, shown === rung ? " (this rung)" : " (for comparison)")),
    el("dl", { class: "facts" }, figures(shown).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    drawModel(shown.model, changed),
    el("ul", { class: "training" }, facts),
    el("h4", {}, "Ten words, just written"),
    names(app, shown));
}

function figures(rung) {
  const found = [["parameters", count(rung.n_params)]];
  if (rung.test_loss) found.push(["test loss", interval(rung.test_loss)]);
  if (rung.step) found.push(["step from below", interval(rung.step, true)]);
  if (rung.published !== null) found.push(["article printed", rung.published.toFixed(2)]);
  return found;
}

/** What the figures of the panels are. */
function footnote(app, rung) {
  if (!rung.test_loss) return "";
  const n = rung.test_loss.n;
  return `Losses are in nats a scored character, lower is better: the mean over ${n} seed${n > 1 ? "s \u00b1 half the 95 % interval" : ""}.`
    + (app.rungs.some(({ step }) => step) ? " The step is the change from the rung below, paired by seed: where its interval holds 0, no difference was seen." : "");
}

function names(app, rung) {
  const drawn = Array.from({ length: N_NAMES }, (_, i) =>
    drawWord(app.list, app.model(rung), randomNumbers(app.state.seed, app.fresh * N_NAMES + i)));
  return el("ul", { class: "names", dir: app.list.direction }, drawn.map(({ ids }) =>
    el("li", {}, word(decode(app.list, ids)), inTraining(app.list, ids) && known())));
}

function changes(app, rung) {
  if (!rung.changes.length) return el("p", {}, "Nothing is known of what this rung changes.");
  const ground = rung.changes.every(({ before }) => before === null);
  const show = (value) => (value === null ? "" : { true: "yes", false: "no" }[value] ?? String(value));
  const below = app.find(rung.on);
  const grown = below && below.n_params !== rung.n_params;
  const rows = grown ? [...rung.changes, { field: "parameters", before: count(below.n_params), after: count(rung.n_params) }] : rung.changes;
  return el("table", { class: "changes" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "configuration"),
      !ground && el("th", { scope: "col" }, below?.title ?? rung.on), el("th", { scope: "col" }, rung.title))),
    el("tbody", {}, rows.map(({ field, before, after }) =>
      el("tr", {}, el("th", { scope: "row" }, field), !ground && el("td", {}, show(before)), el("td", {}, show(after))))));
}

const PYTHON = /(#.*)|("""[^]*?"""|"[^"\n]*")|\b(class|def|return|for|in|if|elif|else|not|and|or|is|lambda|raise|with|while|None|True|False)\b/g;

/** Python as it is, with its comments, strings and keywords set apart. */
function python(text) {
  const [parts, kinds] = [[], ["comment", "string", "keyword"]];
  let at = 0;
  for (const found of text.matchAll(PYTHON)) {
    parts.push(text.slice(at, found.index), el("span", { class: kinds[[1, 2, 3].findIndex((i) => found[i])] }, found[0]));
    at = found.index + found[0].length;
  }
  return [...parts, text.slice(at)];
}

/** The test loss of every rung with its interval, downwards being better; lines lead to the rungs that stand on it. */
function chart(app, rung, other) {
  const measured = app.rungs.filter((r) => r.test_loss);
  if (measured.length < 2) return null;
  const [width, height, left] = [Math.max(280, byId("climb-chart").clientWidth), 216, 34];
  const span = measured.flatMap(({ test_loss: t, published }) => [t.mean - (t.half ?? 0), t.mean + (t.half ?? 0), published ?? t.mean]);
  const low = Math.min(...span);
  const high = Math.max(...span, low + 0.1);
  const y = (loss) => 40 + ((high - loss) / (high - low)) * (height - 92);
  const gap = (width - left) / app.rungs.length;
  const x = (r) => left + (app.rungs.indexOf(r) + 0.5) * gap;
  const roomy = app.rungs.every(({ title }) => title.length * 6.6 < gap);
  const size = [0.1, 0.2, 0.5, 1, 2].find((s) => (high - low) / s <= 4) ?? 5;
  const printed = measured.some((r) => r.published !== null);
  const said = measured.map((r) => `${r.title} ${interval(r.test_loss)}`).join("; ");
  const edge = (r, below) => below?.test_loss && svg("path", { class: "edge", d: `M${x(below)} ${y(below.test_loss.mean)} L${x(r)} ${y(r.test_loss.mean)}` });
  const mark = (r) => {
    const { mean, half } = r.test_loss;
    return [
      half && svg("line", { x1: x(r), x2: x(r), y1: y(mean - half), y2: y(mean + half) }),
      r.published !== null && svg("path", { class: "printed", d: `M${x(r) - 11} ${y(r.published)} h22` }),
      svg("circle", { cx: x(r), cy: y(mean), r: r === rung ? 6 : 4 }),
      (roomy || r === rung) && svg("text", { class: "halo", x: x(r), y: y(mean) + 21, "text-anchor": "middle" }, mean.toFixed(3)),
    ];
  };
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Test loss of each rung: ${said}` },
    axes({ width, left, y, yTicks: ticks(low, high, size), yLabel: `test loss, lower is better${printed ? "; dashes: as the article printed it" : ""}` }),
    measured.map((r) => edge(r, app.find(r.on))),
    app.rungs.map((r, i) => svg("g", { class: `rung ${r === rung ? "chosen" : ""} ${r === other ? "other" : ""}`, onclick: () => app.set({ rung: r.name }) },
      svg("rect", { class: "catch", x: left + i * gap, y: 20, width: gap, height: height - 20 }),
      r.test_loss && mark(r),
      (roomy || r === rung) && svg("text", { x: Math.min(Math.max(x(r), left + 34), width - r.title.length * 3.4), y: height - 4, "text-anchor": "middle" }, r.title))));
}
