// What is to be trained: the controls of the Train view, and what stands in them.

import { byId, count, el, replace, say } from "./dom.js";
import { fitted } from "./run.js";
import { complete, countParameters } from "./weights.js";

const MOST_STEPS = 50_000;
const LONG_TEXT = 100_000; // characters: a field that holds more would make the page slow
const own = { file: /** @type {File | null} */ (null), text: "" };

export function setUp(page, start) {
  const { words, ladder } = page.train;
  const lists = [words && ["page", `${words.name} (in this page)`], ["own", "my own: paste or drop one"]].filter(Boolean);
  byId("train-list").replaceChildren(...lists.map(([value, text]) => el("option", { value }, text)));
  byId("train-protocol").value = page.list.protocol;
  const groups = [...new Set(ladder.map(({ group }) => group))];
  replace(byId("train-rungs"), groups.map((group) => el("fieldset", {}, el("legend", {}, group, " ", all(group)), ladder.filter((rung) => rung.group === group).map((rung) =>
    el("label", { class: "choice" }, el("input", { type: "checkbox", name: "rung", value: rung.name, checked: group === "article", onchange: told }), ` ${rung.title}`)))));
  byId("train-form").addEventListener("submit", (event) => { event.preventDefault(); start(); });
  byId("train-list").addEventListener("change", told);
  byId("train-file").addEventListener("change", () => take({ file: byId("train-file").files[0] ?? null }));
  byId("train-paste").addEventListener("input", () => take({ text: byId("train-paste").value }));
  byId("train-paste").addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (text.length < LONG_TEXT) return;
    event.preventDefault();
    take({ text });
  });
  const section = byId("train");
  section.addEventListener("dragover", (event) => event.preventDefault());
  section.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    take(file ? { file } : { text: event.dataTransfer.getData("text/plain") });
  });
  told();
}

/** Choose a group's rungs, or, where all are chosen, none of them. */
function all(group) {
  return el("button", { type: "button", "aria-label": `all or none of ${group}`, onclick({ target }) {
    /** @type {HTMLInputElement[]} */
    const boxes = [...target.closest("fieldset").querySelectorAll("input")];
    const checked = boxes.some((box) => !box.checked);
    for (const box of boxes) box.checked = checked;
    told();
  } }, "all");
}

/** A list of one's own; the last one that was given counts. */
function take({ file = null, text = "" }) {
  Object.assign(own, { file, text });
  byId("train-list").value = "own";
  told();
}

function chosenRungs() {
  return [.../** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("#train-rungs input:checked"))].map(({ value }) => value);
}

function told() {
  const mine = byId("train-list").value === "own";
  byId("train-own").hidden = !mine;
  say("train-given", own.file ? `${own.file.name}, ${count(own.file.size)} bytes` : own.text ? `${count(own.text.split("\n").length)} lines` : "");
  const n = chosenRungs().length;
  byId("train-chosen").textContent = `Rungs: ${n} chosen`;
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, Math.round(value) || low));

/** Steps that are asked for; an empty field leaves each rung its own. */
export const asked = (rung) => (byId("train-steps").value === "" ? rung.train.steps : clamp(Number(byId("train-steps").value), 1, MOST_STEPS));

/** What the controls say: { source, protocol, seeds, rungs(list) }. */
export function readSetup({ train }) {
  const how = { column: byId("train-column").value, lowercase: byId("train-lowercase").checked };
  const source = byId("train-list").value === "page" ? { packed: train.words.data, name: train.words.name, sha256: train.words.sha256 }
    : own.file ? { file: own.file, name: own.file.name, ...how } : { file: new Blob([own.text]), name: "pasted words", ...how };
  const names = new Set(chosenRungs());
  return {
    source, protocol: byId("train-protocol").value, seeds: clamp(Number(byId("train-seeds").value), 1, 10),
    rungs: (list) => {
      const chosen = train.ladder.filter(({ name }) => names.has(name));
      if (!chosen.length) throw new Error("Choose a rung to train.");
      return chosen.map((rung) => ({ ...rung, train: fitted(rung.train, asked(rung)), n_params: countParameters(complete(rung.model, list)) }));
    },
  };
}

const ON = ["training", "paused", "stopping"];
export const isBusy = (status) => status === "reading" || ON.includes(status);

/** Which buttons there are now; one that goes hands the focus on. */
export function showSetup(status) {
  const on = ON.includes(status);
  const [go, compare, pause, stop] = ["train-go", "experiment-go", "train-pause", "train-stop"].map(byId);
  const focus = document.activeElement;
  for (const button of [go, compare]) button.setAttribute("aria-disabled", String(isBusy(status)));
  go.textContent = status === "done" ? "Train anew" : "Train";
  pause.hidden = stop.hidden = !on;
  pause.textContent = status === "paused" ? "Continue" : "Pause";
  if (on && [go, compare].includes(focus)) pause.focus();
  if (!on && [pause, stop].includes(focus)) go.focus();
}
