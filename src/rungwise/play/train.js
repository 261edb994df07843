// Train: the loss of every rung on its way down, and what the chosen one wrote along the way.

import { axes, byId, count, el, known, replace, svg, ticks, word } from "./dom.js";
import { encode, inTraining } from "./text.js";

export function train(app) {
  const rung = app.rung();
  replace(byId("train-curves"), curves(app, rung));
  replace(byId("train-legend"), app.rungs.map((r) => el("li", {},
    el("button", { type: "button", "data-key": r.name, "aria-pressed": String(r === rung), onclick: () => app.set({ rung: r.name }) },
      r.title, r.curve.length > 0 && el("span", { class: "number" }, r.curve.at(-1)[1].toFixed(3))))));
  replace(byId("train-words"), rung.snapshots.length
    ? el("table", { class: "snapshots" },
      el("caption", {}, `What ${rung.title} wrote after so many steps; \u2217 stands in training`),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "step"), el("th", { scope: "col" }, "ten words"))),
      el("tbody", {}, rung.snapshots.map(({ step, samples }) =>
        el("tr", {}, el("th", { scope: "row" }, count(step)), el("td", { dir: app.list.direction }, samples.map((text) => written(app, text)))))))
    : el("p", { class: "soft" }, "This climb kept no words from along the way: rungwise climb --snapshots keeps them."));
}

/** A word from along the way; one that stands in training is marked. */
function written(app, text) {
  const member = inTraining(app.list, encode(app.list, text).ids);
  return el("span", { class: member ? "sample member" : "sample" }, word(text), member && known(), " ");
}

/** Training loss by step, on a logarithmic axis: the first hundreds matter as much as the last thousands. */
function curves(app, rung) {
  const shown = app.rungs.filter(({ curve }) => curve.length);
  if (!shown.length) return el("p", { class: "soft" }, "These runs kept no curve.");
  const [width, height, left, bottom] = [Math.max(280, byId("train-curves").clientWidth), 320, 34, 34];
  const points = shown.flatMap(({ curve }) => curve);
  const [first, last] = [Math.min(...points.map(([s]) => s)), Math.max(...points.map(([s]) => s))];
  const [low, high] = [Math.min(...points.map(([, l]) => l)), Math.max(...points.map(([, l]) => l))];
  const x = (step) => left + 8 + ((width - left - 24) * Math.log(step / first)) / (Math.log(last / first) || 1);
  const y = (loss) => 22 + ((height - bottom - 26) * (high - loss)) / (high - low || 1);
  const path = ({ curve }) => curve.map(([s, l], i) => `${i ? "L" : "M"}${x(s).toFixed(1)} ${y(l).toFixed(1)}`).join("");
  const steps = [250, 500, 1000, 2000, 5000, 10000, 20000, 50000].filter((s) => s >= first && s <= last);
  const ordered = [...shown.filter((r) => r !== rung), ...shown.filter((r) => r === rung)];
  return svg("svg", { class: "chart curves", viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `Training loss by step. At the end: ${shown.map((r) => `${r.title} ${r.curve.at(-1)[1].toFixed(3)}`).join("; ")}` },
  axes({ width, left, y, yTicks: ticks(low, high, high - low > 1 ? 0.5 : 0.2), yLabel: "training loss, nats" }),
  (steps.length ? steps : [last]).map((s) => svg("text", { x: x(s), y: height - bottom + 16, "text-anchor": "middle" }, count(s))),
  svg("text", { x: width, y: height - 2, "text-anchor": "end" }, "training steps"),
  ordered.map((r) => svg("g", { class: r === rung && "chosen" },
    svg("path", { d: path(r) }), svg("circle", { cx: x(r.curve.at(-1)[0]), cy: y(r.curve.at(-1)[1]), r: 3.5 }))));
}
