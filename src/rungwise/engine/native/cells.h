// What mixes the places of a word in the other families: a cell, applied to each row, forward and backward.
//
// Levels. A state depends on the beginning of a word alone, so words that begin alike share it, as all rows do. Rows
// are numbered place by place (Batch): those of one place are a level, and the step from a level to the next is one
// matrix product, U times the states before it. The input's product, W x, is taken of all rows at once, and in the
// first block of each distinct token. Going back, a row's state gets its gradient from all rows that follow it, which
// are side by side.
//
// Taps. A layer that reads several places is a sum of layers that read one each, so that a product is taken once a row
// and not once a row and place: W [x_t, x_(t-1), ...] = W_0 x_t + W_1 x_(t-1) + ...
//
// Vectors of A numbers (gates, states) begin at whole vectors, and their padding stays zero: every cell maps zeros to
// zeros.
#pragma once

#include "layers.h"
#include "linear.h"

// 1 / (1 + e^-x) and tanh x: to 1e-7.
INLINE Vec sigmoid(Vec x) {
    const Vec zero{}, one = zero + 1.0f, power = exponential(x < zero ? x : -x);
    return (x < zero ? power : one) / (one + power);
}
INLINE Vec hyperbolic(Vec x) {
    const Vec zero{}, one = zero + 1.0f, power = exponential(-2.0f * (x < zero ? -x : x));
    const Vec size = (one - power) / (one + power);
    return x < zero ? -size : size;
}

class Cells {
public:
    struct Kept {
        Matrix before, gates;  // (N, carried A) the state that a row reads; (N, (gates + 1) A) for the backward pass
    };

    Cells(const Shape& shape, const Parameters& parameters)
        : shape_(shape), mixing_(shape.family, shape.reach), A_(int(padded(shape.attention()))),
          products_(parameters, false) {}

    int read() const { return mixing_.taps * mixing_.gates * A_; }  // numbers a row that a cell reads
    int stays() const { return mixing_.carried ? mixing_.carried * A_ : read(); }  // numbers a node that stay
    void make_room(Matrix dbefore, Matrix dx, Matrix du) { dbefore_ = dbefore, dx_ = dx, du_ = du; }

    // heads (N, A) from x, what the input layer gives: of rows or, in the first block, of distinct tokens. nodes: what
    // stays, of each node of a tree or, where there is none, of each row.
    void forward(Member& me, const Batch& b, const Linear& hidden, int block, Matrix x, bool tree, const Kept& kept,
                 Matrix nodes, Matrix heads) const {
        if (tree && !mixing_.carried)
            for (int n = 0; n < b.rows(); ++n) copy(x.row(block ? n : b.which[n]), nodes.row(b.base + n), read());
        for (size_t level = 0; level + 1 < b.levels.size(); ++level) {
            const Part rows = of_level(me, b, level);
            for (int n = rows.begin; n < rows.end && mixing_.carried; ++n) {
                const int before = b.before(n, 1);
                if (before >= 0) copy(nodes.row(before), kept.before.row(n), mixing_.carried * A_);
                else std::fill_n(kept.before.row(n), mixing_.carried * A_, 0.0f);
            }
            if (mixing_.hidden) products_.apply(hidden, kept.before, kept.gates, rows);
            for (int n = rows.begin; n < rows.end; ++n) {
                const float* in = x.row(block ? n : b.which[n]);
                if (mixing_.taps > 1) {
                    copy(in, kept.gates.row(n), mixing_.gates * A_);
                    for (int tap = 1; tap < mixing_.taps; ++tap) {
                        const int from = b.before(n, tap * dilation(block));
                        if (from < 0) break;
                        const float* there = tree ? nodes.row(from) : x.row(block ? from : b.which[from]);
                        accumulate(there + tap * mixing_.gates * A_, kept.gates.row(n), mixing_.gates * A_);
                    }
                    in = kept.gates.row(n);
                }
                float* state = mixing_.carried ? nodes.row(b.base + n) : heads.row(n);
                step(b.position[n], in, kept.before.row(n), kept.gates.row(n), state);
                if (mixing_.carried) copy(state, heads.row(n), A_);
            }
            if (level + 2 < b.levels.size()) me.wait();
        }
    }

    // The gradient of x from that of heads.
    void backward(Member& me, const Batch& b, const Linear& hidden, int block, const Kept& kept, Matrix heads,
                  Matrix dheads, Matrix dx) const {
        for (size_t level = b.levels.size() - 1; level-- > 0; me.wait()) {
            const Part rows = of_level(me, b, level);
            for (int n = rows.begin; n < rows.end; ++n) step_back(b, n, kept, heads.row(n), dheads.row(n));
            if (mixing_.hidden)
                products_.input_gradient(hidden, kept.before, du(), dbefore_, rows, b.rows(), {}, dbefore_);
        }
        const int width = mixing_.gates * A_, pieces = (width + PIECE - 1) / PIECE;
        me.each(mixing_.taps * pieces, [&](int task) {
            const int tap = task / pieces, from = task % pieces * PIECE, n = std::min(PIECE, width - from);
            const int to = tap * width + from, rows = block ? b.rows() : int(b.distinct.size());
            for (int row = 0; row < rows; ++row) std::fill_n(dx.row(row) + to, n, 0.0f);
            for (int row = 0; row < b.rows(); ++row) {
                const int read = mixing_.taps > 1 ? b.before(row, tap * dilation(block)) : row;
                if (read >= 0) accumulate(dx_.row(row) + from, dx.row(block ? read : b.which[read]) + to, n);
            }
        });
    }

    // Tasks: the gradients of the hidden layer's weights.
    void weight_gradient(Member& me, const Linear& hidden, const Kept& kept, int n) const {
        if (mixing_.hidden) products_.weight_gradient(me, hidden, kept.before, du(), n);
    }

private:
    // (N, gates A) the gradient of what the hidden layer gives; that of x but for a GRU's reset gate
    Matrix du() const { return shape_.family == Family::gru ? du_ : dx_; }

    static constexpr int PIECE = 4 * WIDTH;

    static Part of_level(const Member& me, const Batch& b, size_t level) {
        const int begin = b.levels[level];
        const Part own = me.rows(b.levels[level + 1] - begin);
        return {begin + own.begin, begin + own.end};
    }
    int dilation(int block) const { return shape_.family == Family::conv ? 1 << std::min(block, 30) : 1; }

    // A row's state, its head first, from x and the state before; gates comes with what the hidden layer gives, and
    // keeps what step_back reads.
    void step(int position, const float* x, const float* before, float* gates, float* state) const {
        const int A = A_;
        for (int j = 0; j < A; j += WIDTH) {
            auto in = [&](int gate) { return load(x + gate * A + j); };
            auto gate = [&](int i) { return load(gates + i * A + j); };
            auto keep = [&](int i, Vec value) { return save(gates + i * A + j, value), value; };
            auto give = [&](Vec value) { save(state + j, value); };
            switch (shape_.family) {
                case Family::bigram:
                    give(in(0));
                    break;
                case Family::mlp:
                    give(hyperbolic(in(0)));
                    break;
                case Family::rnn:
                    give(hyperbolic(in(0) + gate(0)));
                    break;
                case Family::bow:
                    give(load(before + j) + (in(0) - load(before + j)) / float(position + 1));
                    break;
                case Family::conv: {
                    const Vec value = keep(0, hyperbolic(in(0))), open = keep(1, sigmoid(in(1)));
                    give(value * open);
                    break;
                }
                case Family::mingru: {
                    const Vec z = keep(0, sigmoid(in(0))), h = load(before + j);
                    give(h + z * (keep(1, in(1)) - h));
                    break;
                }
                case Family::gru: {
                    const Vec r = keep(0, sigmoid(in(0) + gate(0))), z = keep(1, sigmoid(in(1) + gate(1)));
                    const Vec n = keep(3, hyperbolic(in(2) + r * gate(2)));
                    give(n + z * (load(before + j) - n));
                    break;
                }
                case Family::lstm: {
                    const Vec i = keep(0, sigmoid(in(0) + gate(0))), f = keep(1, sigmoid(in(1) + gate(1)));
                    const Vec g = keep(2, hyperbolic(in(2) + gate(2))), o = keep(3, sigmoid(in(3) + gate(3)));
                    const Vec c = f * load(before + A + j) + i * g;
                    save(state + A + j, c);
                    give(o * keep(4, hyperbolic(c)));
                    break;
                }
                case Family::transformer:
                    break;
            }
        }
    }

    // A row's gradients: of x, of what the hidden layer gave, and of the state before, but what comes through that
    // layer.
    void step_back(const Batch& b, int n, const Kept& kept, const float* head, const float* dhead) const {
        const int A = A_;
        const float *before = kept.before.row(n), *gates = kept.gates.row(n);
        float *dx = dx_.row(n), *du = du_.row(n), *dbefore = dbefore_.row(n);
        for (int j = 0; j < A; j += WIDTH) {
            auto gate = [&](int i) { return load(gates + i * A + j); };
            auto slope = [](Vec open) { return open * (1.0f - open); };      // of a sigmoid, from its value
            auto curve = [](Vec value) { return 1.0f - value * value; };     // of tanh
            auto give = [&](int i, Vec d) { return save(dx + i * A + j, d), d; };
            auto carry = [&](int i, Vec d) { save(dbefore + i * A + j, d); };
            auto state = [&](int i) {  // what comes back to it from the rows that follow
                Vec d{};
                for (int row = b.children[n]; row < b.children[n + 1]; ++row) d += load(dbefore_.row(row) + i * A + j);
                return d;
            };
            Vec d = load(dhead + j);
            if (mixing_.carried) d += state(0);
            switch (shape_.family) {
                case Family::bigram:
                    give(0, d);
                    break;
                case Family::mlp:
                    give(0, d * curve(load(head + j)));
                    break;
                case Family::rnn:
                    give(0, d * curve(load(head + j)));
                    carry(0, Vec{});
                    break;
                case Family::bow: {
                    const Vec share = give(0, d / float(b.position[n] + 1));
                    carry(0, d - share);
                    break;
                }
                case Family::conv:
                    give(0, d * gate(1) * curve(gate(0)));
                    give(1, d * gate(0) * slope(gate(1)));
                    break;
                case Family::mingru:
                    give(0, d * (gate(1) - load(before + j)) * slope(gate(0)));
                    give(1, d * gate(0));
                    carry(0, d * (1.0f - gate(0)));
                    break;
                case Family::gru: {
                    const Vec r = gate(0), z = gate(1), dn = give(2, d * (1.0f - z) * curve(gate(3)));
                    save(du + j, give(0, dn * gate(2) * slope(r)));
                    save(du + A + j, give(1, d * (load(before + j) - gate(3)) * slope(z)));
                    save(du + 2 * A + j, dn * r);
                    carry(0, d * z);
                    break;
                }
                case Family::lstm: {
                    const Vec i = gate(0), f = gate(1), g = gate(2), o = gate(3),
                              dc = state(1) + d * o * curve(gate(4));
                    give(0, dc * g * slope(i));
                    give(1, dc * load(before + A + j) * slope(f));
                    give(2, dc * i * curve(g));
                    give(3, d * gate(4) * slope(o));
                    carry(0, Vec{}), carry(1, dc * f);
                    break;
                }
                case Family::transformer:
                    break;
            }
        }
    }

    const Shape shape_;
    const Mixing mixing_;
    const int A_;  // attention(), padded
    const Products products_;  // from state to state: never in bf16, whose rounding would add up
    Matrix dbefore_, dx_, du_;  // (N, carried A), (N, gates A), (N, gates A)
};
