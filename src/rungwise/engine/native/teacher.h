// Targets that are distributions: part of each target is the teacher's row (data/teacher.py).
#pragma once

#include "rows.h"

struct Teacher {
    const float* rows = nullptr;   // (rows, V); nullptr: there is none
    const int* at = nullptr;       // (tokens,) the row of each target
    const int* targets = nullptr;  // (tokens,) as handed in
    float weight = 0;              // share of the teacher in a target

    // For a member's own rows, turns the gradient of the mean loss, dlogits, and the losses of tokens, nats, into those
    // of the mixed targets. normaliser: of each row of the logits.
    APART void mix(const Batch& b, Part own, int V, Matrix logits, Matrix dlogits, const float* normaliser,
                   float* nats) const {
        const float share = weight / float(b.paths.size());
        for (const Word& word : b.words)
            for (int t = 0; t < word.length; ++t) {
                const int row = b.paths[word.path + t], target = word.targets[t];
                if (row < own.begin || row >= own.end) continue;
                const float* told = rows + long(at[word.targets + t - targets]) * V;
                const float *logit = logits.row(row), z = normaliser[row];
                float *d = dlogits.row(row), sums[4] = {};
                for (int j = 0; j < V; ++j) d[j] -= share * told[j];
                for (int j = 0; j < V; ++j) sums[j % 4] += told[j] * (z - logit[j]);
                d[target] += share;
                nats[word.path + t] += weight * ((sums[0] + sums[1]) + (sums[2] + sums[3]) - (z - logit[target]));
            }
    }
};
