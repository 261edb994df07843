// Train: the loss of every rung on its way down, and what the chosen one wrote along the way. A point of the curve leads
// to the words of its step.

import { axes, byId, count, el, legend, mark, replace, svg, ticks, word } from "./dom.js";
import { encode, tagOf } from "./text.js";

const [HEIGHT, LEFT, BOTTOM] = [320, 34, 34];

export function train(app) {
  const rung = app.rung();
  replace(byId("train-curves"), curves(app, rung));
  replace(byId("train-legend"), app.rungs.length > 1 && app.rungs.map((r) => el("li", {},
    el("button", { type: "button", "data-key": r.name, "aria-pressed": String(r === rung), onclick: () => app.set({ rung: r.name }) },
      r.title, r.curve.length > 0 && el("span", { class: "number" }, r.curve.at(-1)[1].toFixed(3))))));
  replace(byId("train-words"), rung.snapshots.length ? table(app, rung)
    : el("p", { class: "soft" }, "No words of this training were kept. Train again, into another directory: words are kept by default."));
  const lit = document.querySelector(".snapshots .lit");
  if (lit && app.scrolled !== app.state.snap) lit.scrollIntoView({ block: "nearest" });
  app.scrolled = app.state.snap;
}

function table(app, rung) {
  return el("table", { class: "snapshots" },
    el("caption", {}, `What ${rung.title} wrote after so many steps. ${legend(app.list)}`),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "step"), el("th", { scope: "col" }, "ten words"))),
    el("tbody", {}, rung.snapshots.map(({ step, samples }) => el("tr", { class: step === app.state.snap && "lit" },
      el("th", { scope: "row" }, count(step)), el("td", { dir: app.list.direction }, samples.map((text) => written(app, text)))))));
}

/** A word from along the way, with the mark of its part. */
function written(app, text) {
  const tag = tagOf(app.list, encode(app.list, text).ids);
  return el("span", { class: tag === "in training" ? "sample member" : "sample" }, word(text), mark(tag), " ");
}

/** Loss by step, on an axis that begins at 0 and is logarithmic further on: the first hundreds matter as much as the
 * last thousands. Of the chosen rung the validation loss, too, the step whose weights were kept, and its snapshots. */
function curves(app, rung) {
  const shown = app.rungs.filter(({ curve }) => curve.length);
  if (!shown.length) return el("p", { class: "soft" }, "These runs kept no curve.");
  const width = Math.max(280, byId("train-curves").clientWidth);
  const points = [...shown.flatMap(({ curve }) => curve), ...rung.validation];
  const [first, last] = [Math.min(...points.map(([s]) => s)), Math.max(...points.map(([s]) => s))];
  const [low, high] = [Math.min(...points.map(([, l]) => l)), Math.max(...points.map(([, l]) => l))];
  const x = (step) => LEFT + 8 + ((width - LEFT - 24) * Math.log1p(step / first)) / Math.log1p(last / first);
  const y = (loss) => 22 + ((HEIGHT - BOTTOM - 26) * (high - loss)) / (high - low || 1);
  const path = (curve) => curve.map(([s, l], i) => `${i ? "L" : "M"}${x(s).toFixed(1)} ${y(l).toFixed(1)}`).join("");
  const steps = spaced([0, 250, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000].filter((s) => s < last).concat(last), x);
  const ordered = [...shown.filter((r) => r !== rung), ...shown.filter((r) => r === rung)];
  return [
    svg("svg", { class: "chart curves", viewBox: `0 0 ${width} ${HEIGHT}`, role: "group", "aria-label": said(shown, rung) },
      axes({ width, left: LEFT, y, yTicks: ticks(low, high, high - low > 1 ? 0.5 : 0.2), yLabel: "loss, nats" }),
      steps.map((s) => svg("text", { x: x(s), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, count(s))),
      svg("text", { x: width, y: HEIGHT - 2, "text-anchor": "end" }, "training steps"),
      ordered.map((r) => svg("g", { class: r === rung && "chosen" },
        svg("path", { d: path(r.curve) }), svg("circle", { cx: x(r.curve.at(-1)[0]), cy: y(r.curve.at(-1)[1]), r: 3.5 }))),
      rung.validation.length > 0 && svg("path", { class: "validation", d: path(rung.validation) }),
      rung.kept > 0 && svg("g", { class: "kept" }, svg("path", { d: `M${x(rung.kept)} 22V${HEIGHT - BOTTOM}` }),
        svg("text", { x: x(rung.kept) - 4, y: 34, "text-anchor": "end" }, `kept: step ${count(rung.kept)}`)),
      rung.snapshots.map(({ step }) => snapshot(app, step, x(step), y(at(rung.curve, step))))),
    el("p", { class: "soft small" }, explained(rung)),
  ];
}

/** A step whose words were kept, as a button on the curve. */
function snapshot(app, step, x, y) {
  const go = () => app.set({ snap: step });
  return svg("circle", { class: step === app.state.snap ? "snapshot lit" : "snapshot", cx: x, cy: y, r: 6, role: "button", tabindex: 0,
    "data-key": `snapshot ${step}`, "aria-label": `Words after ${count(step)} steps`, onclick: go,
    onkeydown: ({ key }) => ["Enter", " "].includes(key) && go() });
}

/** A curve's loss at a step; before its first point, that one. */
function at(curve, step) {
  const after = curve.findIndex(([s]) => s >= step);
  if (after <= 0) return curve.at(after)[1];
  const [[s0, l0], [s1, l1]] = [curve[after - 1], curve[after]];
  return l0 + ((l1 - l0) * (step - s0)) / (s1 - s0);
}

/** Steps that leave room for their numbers; the last always stays. */
function spaced(steps, x) {
  return steps.filter((s, i) => i === steps.length - 1 || (x(steps.at(-1)) - x(s) > 48 && (i === 0 || x(s) - x(steps[i - 1]) > 30)));
}

const said = (shown, rung) => `Training loss by step. At the end: ${shown.map((r) => `${r.title} ${r.curve.at(-1)[1].toFixed(3)}`).join("; ")}${
  rung.validation.length ? `; validation loss of ${rung.title} ${rung.validation.at(-1)[1].toFixed(3)}` : ""}`;

const explained = ({ validation, snapshots }) => [
  "Training loss: mean of the batches since the point before.",
  validation.length && "Dashed: loss on the validation words; the weights with the lowest were kept.",
  snapshots.length && "A ring leads to the words of its step.",
].filter(Boolean).join(" ");
