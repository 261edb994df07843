// Climb: one rung compared with another. What it is made of, what changed, what it is worth, and what it writes.

import { ladderChart } from "./chart.js";
import { code } from "./code.js";
import { byId, count, el, interval, legend, mark, replace, word } from "./dom.js";
import { drawModel, trainingFacts } from "./draw.js";
import { drawWord, randomNumbers } from "./sample.js";
import { decode, tagOf } from "./text.js";

const N_NAMES = 10;

export function climb(app) {
  const rung = app.rung();
  const other = app.single ? null : compared(app, rung);
  fillOptions(app, rung);
  replace(byId("climb-chart"), ladderChart(app, byId("climb-chart").clientWidth, rung, other));
  const kind = app.rungs.every(({ model }) => model.family === "transformer") ? "transformer" : "model";
  const [n, trained] = [app.rungs.length, `trained on ${count(app.list.n_train)} words and running in this page`];
  byId("climb-what").textContent = app.single
    ? `One small ${kind}, ${trained}. This is what it is made of.`
    : `${n} small ${kind}s, ${trained}. Each adds one part to the one that it builds on: press Next rung, and what is new lights up.`;
  replace(byId("climb-why"), el("strong", {}, rung.title), rung.why && `: ${rung.why}`, rung.source && el("span", { class: "soft" }, ` (${rung.source})`),
    rung.chapter && el("a", { class: "chapter", href: rung.chapter }, "Read its chapter"));
  replace(byId("climb-panels"), [other, rung].filter(Boolean).map((shown) => panel(app, shown, rung, other)));
  byId("climb-legend").textContent = legend(app.list);
  byId("climb-said").textContent = footnote(app, rung);
  byId("climb-changed").textContent = app.find(rung.on) ? `What changed from ${app.find(rung.on).title} to ${rung.title}` : `What ${rung.title} begins with`;
  replace(byId("climb-changes"), changes(app, rung));
  replace(byId("climb-code"), rung.code.length
    ? rung.code.map(code)
    : el("p", {}, "This rung changes numbers only: no other line of the code runs."));
}

function compared(app, rung) {
  if (app.state.with === "none") return null;
  const named = app.find(app.state.with) ?? app.find(rung.on);
  return named === rung ? null : named;
}

function fillOptions(app, rung) {
  const below = app.find(rung.on);
  const options = [["", below ? `what it builds on (${below.title})` : "what it builds on (nothing)"], ["none", "nothing"],
    ...app.rungs.map(({ name, title }) => [name, title])];
  byId("with").replaceChildren(...options.map(([value, text]) => el("option", { value, selected: value === app.state.with }, text)));
}

function panel(app, shown, rung, other) {
  const changed = new Set(shown === rung && !app.single ? rung.changes.filter(({ before }) => before !== null).map(({ field }) => field) : []);
  const facts = trainingFacts(shown).map(([fields, text]) => el("li", { class: fields.some((f) => changed.has(f)) && "lit" }, text));
  return el("section", { class: "card panel" },
    el("h3", {}, shown.title, other && el("span", { class: "soft" }, shown === rung ? " (this rung)" : " (for comparison)")),
    el("dl", { class: "facts" }, figures(app, shown).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    drawModel(shown.model, changed),
    el("ul", { class: "training" }, facts),
    el("h4", {}, "Ten words, generated now"),
    names(app, shown));
}

function figures(app, rung) {
  const found = [["parameters", count(rung.n_params)]];
  if (rung.test_loss) found.push(["test loss", interval(rung.test_loss)]);
  if (app.single && app.list.ngram) found.push([`best n-gram baseline (${app.list.ngram.order}-gram)`, app.list.ngram.test_loss.toFixed(3)]);
  if (rung.step) found.push(["change from the rung below", interval(rung.step, true)]);
  const { distinct, new: unseen, distance, floor } = rung.words ?? {};
  if (distinct) found.push(["distinct words", interval(distinct)]);
  if (unseen) found.push(["new words", interval(unseen)]);
  if (distance) found.push([floor === null ? "3-grams apart" : `3-grams apart (real words: ${floor.toFixed(3)})`, interval(distance)]);
  if (rung.published !== null) found.push(["article reports", rung.published.toFixed(2)]);
  return found;
}

/** What the figures of the panels are. */
function footnote(app, rung) {
  const words = rung.words ? "Of words drawn at temperature 1: the share of distinct ones, of ones that are not in the list, and how far their 3-grams are from those of training words (bits, 0: the same), beside the noise floor, that of as many real held-out words." : "";
  if (!rung.test_loss) return words;
  const n = rung.test_loss.n;
  return `Losses are in nats a scored character, lower is better: the mean over ${n} seed${n > 1 ? "s \u00b1 95 % CI" : ""}.`
    + (app.rungs.some(({ step }) => step) ? " The change from the rung below is paired by seed: where its interval holds 0, no difference was seen." : "") + (words && ` ${words}`);
}

function names(app, rung) {
  const drawn = Array.from({ length: N_NAMES }, (_, i) =>
    drawWord(app.list, app.model(rung), randomNumbers(app.state.seed, app.fresh * N_NAMES + i)));
  return el("ul", { class: "names", dir: app.list.direction }, drawn.map(({ ids }) =>
    el("li", {}, word(decode(app.list, ids)), mark(tagOf(app.list, ids)))));
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
