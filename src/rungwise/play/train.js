// Train: how the losses of the rungs come down and what they write on the way, live while this page trains, or as the
// runs of this page kept it.

import { lossChart } from "./curves.js";
import { byId, count, el, legend, mark, minus, say, update, word } from "./dom.js";
import { pageWith, runsZip, save, zipName } from "./download.js";
import { experimentRungs, setUpExperiment, verdict } from "./experiment.js";
import { leftOut } from "./list.js";
import { liveRungs, trainedPage } from "./results.js";
import { Session } from "./session.js";
import { asked, isBusy, readSetup, setUp, showSetup } from "./setup.js";
import { encode, tagOf } from "./text.js";

const REDRAW_MS = 250;
const training = { session: /** @type {Session} */ (/** @type {unknown} */ (null)), at: null, page: /** @type {any} */ (null), redraw: 0, note: "", said: "", tenths: 0 };

/** Once a page: its controls. `page`: the data that the page was written with; `blank`: its HTML. */
export function setUpTraining(app, page, blank) {
  const { session } = Object.assign(training, { page, blank, session: new Session(page.train.engine, (kind, run) => hear(app, kind, run)) });
  training.note = untrainable(page.list);
  setUp(page, () => start(app, false));
  setUpExperiment(page, () => start(app, true));
  byId("train-pause").addEventListener("click", () => { session.status === "paused" ? session.go() : session.pause(); redraw(app); });
  byId("train-stop").addEventListener("click", () => session.stop().then(() => adopt(app)));
  byId("train-zip").addEventListener("click", () => save(runsZip(training.page), zipName(training.page)));
  byId("train-page").addEventListener("click", async () => save(await pageWith(training.blank, training.page, session.source.list), "rungwise.html"));
}

/** Why this page does not train on the list that it was made for; "" where that is not the reason. */
export function untrainable({ name, unit = "character", given = null }) {
  if (unit === "character" && given === null) return "";
  const why = unit === "character" ? `each word of ${name} is given its ${given}` : `${name} was read in ${unit}s`;
  return `A page trains on characters alone, and ${why}: rungwise train reads it so. A list of your own is read in characters here.`;
}

async function start(app, experiment) {
  const { session, page } = training;
  if (isBusy(session.status)) return;
  const wanted = readSetup(page);
  Object.assign(training, { note: "", said: "Reading the list.", tenths: 0, at: null, experiment });
  session.status = "reading";
  redraw(app);
  try {
    const read = await session.read(wanted.source, wanted.protocol);
    const rungs = experiment ? experimentRungs(page, read.list, asked({ train: { steps: 5000 } })) : wanted.rungs(read.list);
    if (!rungs.some(({ name }) => name === app.state.rung)) app.state.rung = rungs.at(-1).name;
    training.said = `Training on ${count(read.parts.train.length)} words of ${read.list.name}${leftOut(read.list.dropped)}.`;
    await session.start(read, rungs, wanted.seeds);
  } catch (error) {
    session.status = "idle";
    Object.assign(training, { note: error.message, said: "" });
  }
  redraw(app);
}

function hear(app, kind, run) {
  if (kind === "failed") training.note = `${run.rung.title}: ${run.failed}`;
  if (kind === "done") {
    training.said = news(training.session, run);
    adopt(app);
  }
  redraw(app);
}

/** What is read aloud: a run that is done, once in a tenth of the work; and the end. */
function news({ status, took, progress }, run) {
  if (status === "done") return `Done in ${duration(took / 1000)}. The other views show what was trained.`;
  const tenths = Math.floor(10 * progress.share);
  if (tenths === training.tenths) return training.said;
  training.tenths = tenths;
  return `${run.rung.title}, seed ${run.seed}: test loss ${run.done.losses.test.toFixed(3)}. Done so far: ${10 * tenths} %.`;
}

/** What is trained becomes what the page shows. */
function adopt(app) {
  const { session, page } = training;
  if (!session.runs.some(({ done, turn }) => done && !turn)) return;
  training.page = trainedPage(session, page);
  app.adopt(training.page);
}

function redraw(app) {
  if (training.redraw) return;
  training.redraw = setTimeout(() => {
    training.redraw = 0;
    if (app.state.view === "train" || !app.rungs.length) train(app);
  }, REDRAW_MS);
}

export function train(app) {
  const { session } = training;
  const live = session.runs.length > 0;
  const rungs = live ? liveRungs(session) : app.rungs;
  const chosen = rungs.find(({ name }) => name === app.state.rung) ?? rungs.at(-1);
  showSetup(session.status);
  showProgress(session);
  say("train-note", training.note);
  say("train-said", training.said);
  byId("train-take").hidden = !live || !session.runs.some(({ done, turn }) => done && !turn);
  const choose = (name, step) => { training.at = step; app.set({ rung: name }); };
  const ngram = live ? session.source.about.ngram : app.list.ngram;
  update(byId("train-curves"), chosen && lossChart(rungs, chosen, { width: Math.max(280, byId("train-curves").clientWidth), ngram, at: training.at, choose })
    || (session.status === "idle" && app.rungs.length && el("p", { class: "soft" }, "These runs kept no curve.")));
  update(byId("train-legend"), rungs.map((r) => choice(app, r, chosen)));
  update(byId("train-cards"), live && !training.experiment && rungs.filter((r) => r.snapshots.length).map((r) => card(r, chosen)));
  update(byId("train-verdict"), live && training.experiment && verdict(session));
  update(byId("train-words"), chosen && history(app, chosen));
}

export function losses(name, seed) {
  const run = training.session.runs.find((one) => one.rung.name === name && one.seed === seed);
  return run ? Array.from(run.losses.subarray(0, run.step)) : [];
}

/** Milliseconds a step so far, batches included. */
export function msAStep(name) {
  const run = training.session.runs.find((one) => one.rung.name === name);
  return run ? run.ms / run.step : null;
}

const duration = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);

/** Numbers that change all the time: shown, not read aloud. */
function showProgress(session) {
  const on = ["training", "paused"].includes(session.status);
  byId("train-live").hidden = !on;
  if (!on) return;
  const { share, left, tokens } = session.progress;
  byId("train-progress").value = share;
  const told = [`${Math.round(100 * share)} %`, `${count(Math.round(tokens / 1000) * 1000)} tokens a second`,
    left !== null && `about ${duration(left)} left`, session.memory && `${count(Math.ceil(session.memory / 2 ** 20))} MB of memory`];
  byId("train-numbers").textContent = session.status === "paused" ? "Paused." : told.filter(Boolean).join(", ");
}

function choice(app, r, chosen) {
  const last = r.curve.at(-1);
  return el("li", {}, el("button", { type: "button", "data-key": r.name, "aria-pressed": String(r === chosen), onclick: () => app.set({ rung: r.name }) },
    r.title, last && el("span", { class: "number" }, last[1].toFixed(3)),
    r.validation.length > 0 && el("span", { class: "number soft small" }, `val. ${r.validation.at(-1)[1].toFixed(3)}`)));
}

/** What a rung writes now. */
function card(r, chosen) {
  const { step, samples } = r.snapshots.at(-1);
  return el("section", { class: r === chosen ? "card wrote chosen" : "card wrote" },
    el("h3", {}, r.title, el("span", { class: "soft small" }, ` after ${count(step)} steps`)),
    el("p", { dir: "auto" }, samples.map((text) => el("span", { class: "sample" }, word(text), " "))));
}

/** What the chosen rung wrote on the way; the row of a point that was chosen on its curve stands out. */
function history(app, rung) {
  if (!rung.snapshots.length) return el("p", { class: "soft" }, training.session.runs.length ? "" : "No words of this training were kept. Train again, into another directory: words are kept by default.");
  const loss = new Map(rung.validation);
  return el("table", { class: "snapshots" },
    el("caption", {}, `What ${rung.title} wrote after so many steps. ${legend(app.list)}`),
    el("thead", {}, el("tr", {}, ["step", loss.size > 0 && "validation", "ten words"].filter(Boolean).map((title) => el("th", { scope: "col" }, title)))),
    el("tbody", {}, rung.snapshots.map(({ step, samples }) =>
      el("tr", { class: step === training.at && "lit", "aria-current": step === training.at && "true" }, el("th", { scope: "row" }, count(step)),
        loss.size > 0 && el("td", { class: "number" }, loss.has(step) ? minus(loss.get(step), 3) : ""), el("td", { dir: app.list.direction }, samples.map((text) => written(app, text)))))));
}

/** A word from along the way, with the mark of its part. */
function written(app, text) {
  const tag = tagOf(app.list, encode(app.list, text).ids);
  return el("span", { class: tag === "in training" ? "sample member" : "sample" }, word(text), mark(tag), " ");
}
