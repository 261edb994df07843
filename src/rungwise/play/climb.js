// Climb: one rung beside another. What it is made of, what changed, what it is worth, and what it writes.

import { axes, byId, count, el, interval, replace, svg, ticks, word } from "./dom.js";
import { drawModel, trainingFacts } from "./draw.js";
import { drawWord, randomNumbers } from "./sample.js";
import { decode, inTraining } from "./text.js";

const N_NAMES = 10;

export function climb(app) {
  const rung = app.rung();
  const other = compared(app, rung);
  fillOptions(app, rung);
  replace(byId("climb-chart"), chart(app, rung, other));
  replace(byId("climb-why"), rung.why, rung.source && el("span", { class: "soft" }, ` (${rung.source})`),
    rung.chapter && el("a", { class: "chapter", href: rung.chapter }, "Read its chapter"));
  replace(byId("climb-panels"), [other, rung].filter(Boolean).map((shown) => panel(app, shown, rung, other)));
  replace(byId("climb-changes"), changes(app, rung));
  replace(byId("climb-code"), rung.code.length
    ? rung.code.map(({ where, text }) => el("figure", {}, el("figcaption", {}, where), el("pre", { tabindex: 0, "aria-label": where }, text)))
    : el("p", {}, "This rung changes numbers only: no other line of the code runs."));
}

function compared(app, rung) {
  if (app.state.with === "none") return null;
  const named = app.find(app.state.with) ?? app.find(rung.on);
  return named === rung ? null : named;
}

function fillOptions(app, rung) {
  const below = app.find(rung.on);
  const options = [["", below ? `the rung below (${below.title})` : "the rung below"], ["none", "nothing"],
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
    el("h4", {}, "Words that it writes"),
    names(app, shown));
}

function figures(rung) {
  const found = [["parameters", count(rung.n_params)]];
  if (rung.test_loss) found.push(["test loss", interval(rung.test_loss)]);
  if (rung.step) found.push(["step from below", interval(rung.step, true)]);
  if (rung.published !== null) found.push(["article prints", rung.published.toFixed(2)]);
  return found;
}

function names(app, rung) {
  const drawn = Array.from({ length: N_NAMES }, (_, i) =>
    drawWord(app.list, app.model(rung), randomNumbers(app.state.seed, app.fresh * N_NAMES + i)));
  return el("ul", { class: "names" }, drawn.map(({ ids }) =>
    el("li", {}, word(decode(app.list, ids)), inTraining(app.list, ids) && el("span", { class: "known", title: "in training" }, "\u2217"))));
}

function changes(app, rung) {
  if (!rung.changes.length) return el("p", {}, "Nothing is known of what this rung changes.");
  const ground = rung.changes.every(({ before }) => before === null);
  const show = (value) => (value === null ? "" : String(value).replace("true", "yes").replace("false", "no"));
  return el("table", { class: "changes" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "configuration"),
      !ground && el("th", { scope: "col" }, app.find(rung.on)?.title ?? rung.on), el("th", { scope: "col" }, rung.title))),
    el("tbody", {}, rung.changes.map(({ field, before, after }) =>
      el("tr", {}, el("th", { scope: "row" }, field), !ground && el("td", {}, show(before)), el("td", {}, show(after))))));
}

/** The test loss of every rung with its interval: the ladder, downwards being better. */
function chart(app, rung, other) {
  const measured = app.rungs.filter((r) => r.test_loss);
  if (measured.length < 2) return null;
  const [width, height, left] = [Math.max(280, byId("climb-chart").clientWidth), 150, 34];
  const lows = measured.map(({ test_loss: t }) => t.mean - (t.half ?? 0));
  const highs = measured.map(({ test_loss: t }) => t.mean + (t.half ?? 0));
  const [low, high] = [Math.min(...lows), Math.max(...highs, Math.min(...lows) + 0.1)];
  const y = (loss) => 26 + ((high - loss) / (high - low)) * (height - 56);
  const gap = (width - left) / app.rungs.length;
  const roomy = app.rungs.every(({ title }) => title.length * 6.6 < gap);
  const size = [0.1, 0.2, 0.5, 1, 2].find((s) => (high - low) / s <= 4) ?? 5;
  const said = measured.map((r) => `${r.title} ${interval(r.test_loss)}`).join("; ");
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Test loss of each rung: ${said}` },
    axes({ width, left, y, yTicks: ticks(low, high, size), yLabel: "test loss: lower is better" }),
    app.rungs.map((r, i) => {
      const x = left + (i + 0.5) * gap;
      return svg("g", { class: `rung ${r === rung ? "chosen" : ""} ${r === other ? "other" : ""}`, onclick: () => app.set({ rung: r.name }) },
        svg("rect", { class: "catch", x: left + i * gap, y: 14, width: gap, height: height - 14 }),
        r.test_loss?.half && svg("line", { x1: x, x2: x, y1: y(r.test_loss.mean - r.test_loss.half), y2: y(r.test_loss.mean + r.test_loss.half) }),
        r.test_loss && svg("circle", { cx: x, cy: y(r.test_loss.mean), r: r === rung ? 6 : 4 }),
        (roomy || r === rung) && svg("text", { x: Math.min(Math.max(x, left + 34), width - r.title.length * 3.4), y: height - 2, "text-anchor": "middle" }, r.title));
    }));
}
