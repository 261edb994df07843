// Clipping as torch.nn.utils.clip_grad_norm_, then AdamW (Loshchilov & Hutter 2019) as torch.optim.AdamW.
//
// All tensors of a kind lie in one padded array. Members take turns at its pieces: of gradients, to sum their squares
// piece by piece, always in the same order; of weights, WIDTH rows at a time, whose copies for the products
// (transposed, or in pairs) are renewed while they are in the cache.
#pragma once

#include <cmath>

#include "rows.h"
#include "threads.h"

class AdamW {
public:
    explicit AdamW(Parameters& parameters) : parameters_(parameters), squares_(parameters.size / PIECE + 1) {}

    // `step` counts from 1. All members have finished their gradients.
    void update(Member& me, const Optimiser& o, double learning_rate, long step) {
        const float coefficient = clipping(me, o.grad_clip);
        const float keep = float(1 - learning_rate * o.weight_decay);
        const float beta1 = float(o.beta1), beta2 = float(o.beta2), new1 = float(1 - o.beta1),
                    new2 = float(1 - o.beta2);
        const float size = float(learning_rate / (1 - std::pow(o.beta1, double(step))));
        const float correction = float(1 / std::sqrt(1 - std::pow(o.beta2, double(step))));
        long turn = 0;
        for (const Tensor& tensor : parameters_.tensors)
            for (int row = 0; row < tensor.rows; row += WIDTH) {
                if (!me.has(turn++)) continue;
                const Part rows{row, std::min(tensor.rows, row + WIDTH)};
                const long at = tensor.at + rows.begin * tensor.ld, n = (rows.end - rows.begin) * tensor.ld;
                float* __restrict p = parameters_.weights + at;
                float* __restrict m = parameters_.first + at;
                float* __restrict v = parameters_.second + at;
                const float* __restrict gradient = parameters_.gradients + at;
                for (long j = 0; j < n; ++j) {
                    const float d = gradient[j] * coefficient;
                    m[j] = beta1 * m[j] + new1 * d;
                    v[j] = beta2 * v[j] + new2 * d * d;
                    p[j] = keep * p[j] - size * m[j] / (std::sqrt(v[j]) * correction + 1e-8f);
                }
                parameters_.renew(tensor, rows);
            }
    }

private:
    static constexpr long PIECE = 64 * WIDTH;

    // What gradients are multiplied by.
    float clipping(Member& me, double grad_clip) {
        if (grad_clip <= 0) return 1;
        const long pieces = (parameters_.size + PIECE - 1) / PIECE;
        for (long i = me.place(); i < pieces; i += me.size()) {
            Vec part{};
            for (long j = i * PIECE; j < std::min(parameters_.size, (i + 1) * PIECE); j += WIDTH)
                part += load(parameters_.gradients + j) * load(parameters_.gradients + j);
            squares_[i] = sum(part);
        }
        me.wait();
        double total = 0;
        for (long i = 0; i < pieces; ++i) total += squares_[i];
        const double clip = grad_clip / (std::sqrt(total) + 1e-6);
        return float(clip >= 1 ? 1 : clip);
    }

    Parameters& parameters_;
    std::vector<float> squares_;  // of each piece
};
