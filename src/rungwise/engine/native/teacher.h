// Targets that are distributions: part of each target is the teacher's row (data/teacher.py).
#pragma once

#include "rows.h"

struct Teacher {
    const float* rows = nullptr;   // (rows, V)
    const int* at = nullptr;       // (tokens,) the row of each target
    const int* targets = nullptr;  // (tokens,) as handed in
    float weight = 0;              // share of the teacher in a target

    // Turns the gradient of the mean loss, dlogits, into that of the mixed targets. Returns what it adds to the sum of
    // the losses. normaliser: of each row of the logits.
    double mix(const Batch& b, int V, Matrix logits, Matrix dlogits, const float* normaliser) const {
        const float share = weight / float(b.paths.size());
        double more = 0;
        for (const Word& word : b.words)
            for (int t = 0; t < word.length; ++t) {
                const int row = b.paths[word.path + t], target = word.targets[t];
                const float* told = rows + long(at[word.targets + t - targets]) * V;
                const float *logit = logits.row(row), z = normaliser[row];
                float *d = dlogits.row(row), sums[4] = {};
                for (int j = 0; j < V; ++j) d[j] -= share * told[j];
                for (int j = 0; j < V; ++j) sums[j % 4] += told[j] * (z - logit[j]);
                d[target] += share;
                more += weight * ((sums[0] + sums[1]) + (sums[2] + sums[3]) - (z - logit[target]));
            }
        return more;
    }
};
