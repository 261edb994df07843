// A session's runs as the views know rungs, and as the data of a page.

import { smoothed, summary } from "./curves.js";

const BLOCK = 256;

/** Runs by their rung, in the order of the ladder. */
function byRung({ runs }) {
  const found = new Map();
  for (const run of runs) found.set(run.rung, [...(found.get(run.rung) ?? []), run]);
  return [...found];
}

/** Rungs as they are now, for the Train view. */
export function liveRungs(session) {
  return byRung(session).map(([rung, runs]) => ({
    name: rung.name, title: rung.title, steps: rung.train.steps, curve: smoothed(runs), validation: runs[0].validation,
    kept: runs[0].done ? runs[0].step : null, snapshots: runs[0].snapshots,
  }));
}

/** The data of a page that shows what was trained: `page` is the one that it was trained in. */
export function trainedPage(session, page) {
  const { list, about, protocol, sha256 } = session.source;
  const groups = byRung(session).filter(([, runs]) => runs[0].done);
  return {
    ...page,
    list: { name: list.name, sha256, characters: list.characters.join(""), block_size: list.block_size, protocol, ...about },
    precision: "float32",
    rungs: groups.map(([rung, runs]) => trainedRung(rung, runs, groups, page)),
  };
}

function trainedRung(rung, runs, groups, page) {
  const [first, done] = [runs[0].done, runs.filter((run) => run.done)];
  const loss = (part) => summary(done.map((run) => run.done.losses[part]));
  return {
    ...rung, code: (rung.code ?? []).map((i) => page.train.sources[i]), chapter: null, published: null,
    model: first.model, train: first.train, word_start: first.word_start, seed: runs[0].seed, weights: first.weights, quantiles: first.quantiles,
    train_loss: loss("train"), test_loss: loss("test"), step: stepFrom(done, groups.find(([other]) => other.name === rung.on)?.[1] ?? []),
    curve: blocks(runs[0]), validation: runs[0].validation, kept: runs[0].step, snapshots: runs[0].snapshots,
  };
}

/** The change of the test loss from the rung below, paired by seed. */
function stepFrom(runs, below) {
  const differences = paired(below, runs);
  return differences.length ? summary(differences) : null;
}

/** Test losses of the second runs less those of the first, of the seeds that both have finished. */
export function paired(before, after) {
  return after.flatMap(({ seed, done }) => {
    const other = before.find((run) => run.seed === seed)?.done;
    return done && other ? [done.losses.test - other.losses.test] : [];
  });
}

/** [[step, mean loss of the block of steps that ends there]] (task.block_means). */
function blocks({ sums, step }) {
  const found = [];
  for (let begin = 0; begin < step; begin += BLOCK) {
    const end = Math.min(step, begin + BLOCK);
    found.push([end, (sums[end] - sums[begin]) / (end - begin)]);
  }
  return found;
}
