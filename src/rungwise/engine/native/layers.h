// What is computed row by row between the products: dropout's masks, norms, nonlinearities, residual connections.
//
// A function takes the part of the rows that a member of the team has. Where a gradient is a sum over all rows, it is
// a task of its own, which begins when all rows are there.
#pragma once

#include <cmath>

#include "rows.h"
#include "threads.h"

struct Dropout {
    bool on, of_weights;
    uint64_t key;  // of this step

    APART Dropout(const Shape& shape, uint64_t run_key, long step)  // step < 0: none
        : on(shape.dropout && step >= 0), of_weights(shape.dropout_of_weights && step >= 0),
          key(mix64(run_key + GOLDEN * uint64_t(step + 1))) {}
    uint64_t site(int number) const { return mix64(key + GOLDEN * uint64_t(number + 1)); }
};

// What dropout multiplies by, exactly as dropout.dropout_mask: 16 bits an element, from (key, prefix).
APART static void draw_mask(const Batch& b, int dropout, uint64_t key, Matrix kept, Part rows, int width) {
    const IntVec threshold = IntVec{} + dropout;
    const Vec scale = Vec{} + float(65536.0 / (65536.0 - dropout));
    Bits ramp;
    for (int i = 0; i < WIDTH / 4; ++i) ramp[i] = GOLDEN * uint64_t(i + 1);
    for (int n = rows.begin; n < rows.end; ++n) {
        Bits counter = ramp + (key + b.prefix[n]);
        for (int j = 0; j < width; j += WIDTH, counter += GOLDEN * (WIDTH / 4)) {
            const Bits bits = mix64(counter);
            Halves halves;
            std::memcpy(&halves, &bits, sizeof halves);
            save(kept.row(n) + j, __builtin_convertvector(halves, IntVec) >= threshold ? scale : Vec{});
        }
    }
}

// y = x + kept * f, where there is no linear layer to do it. The backward pass of dropout is df = kept * dy.
APART static void join(Matrix x, Matrix f, Matrix kept, Matrix y, Part rows, int width) {
    for (int n = rows.begin; n < rows.end; ++n)
        for (int j = 0; j < width; j += WIDTH) {
            Vec value = load(f.row(n) + j);
            if (kept.data) value *= load(kept.row(n) + j);
            if (x.data) value += load(x.row(n) + j);
            save(y.row(n) + j, value);
        }
}

// LayerNorm (Ba et al. 2016), or RMSNorm, which takes no mean (Zhang & Sennrich 2019); eps 1e-5.
class Norms {
public:
    struct Norm {
        Tensor scale, shift;  // (1, D); RMSNorm has no shift
    };

    Norms(const Shape& shape, const Parameters& parameters, Memory& memory)
        : D_(shape.n_embd), wide_(int(padded(D_))), centred_(shape.norm == Normalisation::layernorm),
          parameters_(parameters), inside_(memory.floats(wide_)), zeros_(memory.floats(wide_)) {
        std::fill_n(inside_, D_, 1.0f);
    }

    // y, and of each row its mean and 1 / deviation: stats (N, 2).
    APART void forward(const Norm& norm, Matrix x, Matrix y, float* stats, Part rows) const {
        const float *scale = parameters_.w(norm.scale), *shift = centred_ ? parameters_.w(norm.shift) : zeros_;
        for (int n = rows.begin; n < rows.end; ++n) {
            const float* in = x.row(n);
            float* out = y.row(n);
            Vec total{}, squares{};
            for (int j = 0; j < wide_; j += WIDTH) total += load(in + j);
            const float mean = centred_ ? sum(total) / D_ : 0;
            for (int j = 0; j < wide_; j += WIDTH) {
                Vec centred = (load(in + j) - mean) * load(inside_ + j);
                squares += centred * centred;
            }
            const float inverse = 1.0f / std::sqrt(sum(squares) / D_ + 1e-5f);
            for (int j = 0; j < wide_; j += WIDTH)
                save(out + j, (load(in + j) - mean) * inverse * load(scale + j) + load(shift + j));
            stats[2 * n] = mean, stats[2 * n + 1] = inverse;
        }
    }

    // dx = plus, where there is one, + d loss / d x, from dy.
    APART void backward(const Norm& norm, Matrix x, const float* stats, Matrix dy, Matrix dx, Part rows,
                        Matrix plus) const {
        const float* scale = parameters_.w(norm.scale);
        for (int n = rows.begin; n < rows.end; ++n) {
            const float *in = x.row(n), *up = dy.row(n), mean = stats[2 * n], inverse = stats[2 * n + 1];
            float* out = dx.row(n);
            Vec totals{}, products{};
            for (int j = 0; j < wide_; j += WIDTH) {
                Vec unit = (load(in + j) - mean) * inverse, d = load(up + j) * load(scale + j);
                totals += d;
                products += d * unit;
            }
            const float mean_d = centred_ ? sum(totals) / D_ : 0, mean_product = sum(products) / D_;
            for (int j = 0; j < wide_; j += WIDTH) {
                Vec unit = (load(in + j) - mean) * inverse;
                Vec d = (load(up + j) * load(scale + j) - mean_d - unit * mean_product) * inverse;
                d *= load(inside_ + j);
                save(out + j, plus.data ? load(plus.row(n) + j) + d : d);
            }
        }
    }

    // Tasks: the gradients of scale and shift, of all n rows.
    APART void gradient(Member& me, const Norm& norm, Matrix x, const float* stats, Matrix dy, int n) const {
        me.each(wide_ / WIDTH, [&](int vector) {
            const int j = vector * WIDTH;
            Vec dscale{}, dshift{};
            for (int i = 0; i < n; ++i) {
                Vec unit = (load(x.row(i) + j) - stats[2 * i]) * stats[2 * i + 1], d = load(dy.row(i) + j);
                dscale += d * unit;
                dshift += d;
            }
            save(parameters_.g(norm.scale) + j, dscale);
            if (centred_) save(parameters_.g(norm.shift) + j, dshift);
        });
    }

private:
    const int D_, wide_;
    const bool centred_;
    const Parameters& parameters_;
    float *inside_, *zeros_;  // (D,) 1, and 0 in the padding; 0
};

// Exact GELU x Phi(x), and its derivative. Phi(-|x|) = e^(-x^2/2) Q(t), t = 1 / (1 + 0.28 |x|): Q fitted to an error
// of 1e-8.
INLINE Vec gelu(Vec x, Vec& slope) {
    const Vec zero{}, one = zero + 1.0f;
    Vec size = x < zero ? -x : x, bell = exponential(-0.5f * x * x), t = one / (one + 0.28f * size);
    Vec q = t * -0.10580847847f + 0.38987496811f;
    q = q * t - 0.23699500911f;
    q = q * t + 0.26891138595f;
    q = q * t + 0.06749626903f;
    q = q * t + 0.11652085523f;
    Vec tail = q * t * bell, phi = x < zero ? tail : one - tail;
    slope = phi + x * bell * 0.3989422804f;
    return x * phi;
}

// x / (1 + e^-x), and its derivative.
INLINE Vec silu(Vec x, Vec& slope) {
    const Vec zero{}, one = zero + 1.0f;
    Vec power = exponential(x < zero ? x : -x), sigmoid = (x < zero ? power : one) / (one + power);
    slope = sigmoid * (one + x * (one - sigmoid));
    return x * sigmoid;
}

// The MLP's nonlinearity in place, and its derivative (slope), which is all that the backward pass needs. SwiGLU
// multiplies by the gate's: its slope is that of the gate, and the gate keeps what it multiplied by.
static void activate(const Shape& shape, Matrix hidden, Matrix gate, Matrix slopes, Part rows) {
    const Activation kind = shape.activation;
    const Vec zero{}, one = zero + 1.0f;
    for (int n = rows.begin; n < rows.end; ++n) {
        float *h = hidden.row(n), *d = slopes.data ? slopes.row(n) : nullptr;
        for (int j = 0; j < shape.hidden; j += WIDTH) {
            Vec x = load(h + j), y, slope;
            if (kind == Activation::gelu) y = gelu(x, slope);
            else if (kind == Activation::relu) y = x < zero ? zero : x, slope = x > zero ? one : zero;
            else {
                const Vec open = silu(load(gate.row(n) + j), slope);
                save(gate.row(n) + j, open);
                y = open * x, slope *= x;
            }
            save(h + j, y);
            if (d) save(d + j, slope);
        }
    }
}
