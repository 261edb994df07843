// Muon's step of the hidden matrices, as engine/optimiser.py: momentum, made nearly orthogonal by Newton-Schulz
// iterations. A matrix is a task; the member that takes it has room of its own.
#pragma once

#include <cmath>

#include "rows.h"
#include "threads.h"

// Room for the iterations on one matrix, as large as the largest.
class Orthogonal {
public:
    // In place. The iterations are on the tall one, X (K, M), of the matrix and its transpose: X^T X and X P, P
    // symmetric, read their operands as the product likes them.
    APART void make(Matrix g, int rows, int columns) {
        const bool wide = rows < columns;
        const int K = std::max(rows, columns), M = std::min(rows, columns);
        for (Matrix* x : {&x_, &y_, &gram_, &left_, &p_, &all_}) x->ld = stride(M);
        Vec squares{};
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < columns; j += WIDTH) squares += load(g.row(i) + j) * load(g.row(i) + j);
        const float scale = 1 / std::max(std::sqrt(sum(squares)), 1e-7f);
        if (wide) flip(g, rows, columns, x_, scale);
        else scaled(g, rows, columns, x_, scale);
        // X^T X of the next iteration is P (X^T X) P, too: cheaper where X is tall, and exact enough for a few in a
        // row.
        const int in_a_row = 2 * M <= K ? 3 : 1;
        for (int n = 0; n < ITERATIONS; ++n) {
            const bool begins = n % in_a_row == 0, ends = n % in_a_row == in_a_row - 1 || n == ITERATIONS - 1;
            if (begins) symmetric(Left::transposed(x_), x_, gram_, K, M);
            scaled(gram_, M, M, left_, C);
            for (int i = 0; i < M; ++i) left_.row(i)[i] += B;
            symmetric(Left::of(left_), gram_, p_, M, M);  // (C G + B) G
            for (int i = 0; i < M; ++i) p_.row(i)[i] += A;
            if (!ends) {
                symmetric(Left::of(p_), gram_, left_, M, M);
                symmetric(Left::of(p_), left_, gram_, M, M);
            }
            if (begins) std::swap(p_, all_);
            else symmetric(Left::of(p_), all_, left_, M, M), std::swap(left_, all_);
            if (!ends) continue;
            multiply(Left::of(x_), all_, y_, Part::all(K), M, Part::all(M));
            std::swap(x_, y_);
        }
        if (wide) flip(x_, K, M, g, 1);
        else scaled(x_, K, M, g, 1);
    }

    // tall, square: floats of the largest (K, M) and (M, M).
    APART void make_room(Memory& memory, long tall, long square) {
        for (Matrix* x : {&x_, &y_}) x->data = memory.floats(tall);
        for (Matrix* x : {&gram_, &left_, &p_, &all_}) x->data = memory.floats(square);
    }

private:
    static constexpr float A = 3.4445f, B = -4.7750f, C = 2.0315f;
    static constexpr int ITERATIONS = 5;

    // c (M, M) = a b where that is symmetric: of its four quarters, one is the transpose of another.
    APART static void symmetric(Left a, Matrix b, Matrix c, int depth, int M) {
        const int half = M / 2 / (2 * WIDTH) * (2 * WIDTH);
        multiply(a, b, c, {0, half}, depth, {0, half});
        multiply(a, b, c, Part::all(M), depth, {half, M});
        flip({c.data + half, c.ld}, half, M - half, {c.row(half), c.ld}, 1);
    }

    APART static void scaled(Matrix from, int rows, int columns, Matrix to, float scale) {
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < columns; j += WIDTH) save(to.row(i) + j, scale * load(from.row(i) + j));
    }

    // to (columns, rows) = the transpose of from, scaled.
    APART static void flip(Matrix from, int rows, int columns, Matrix to, float scale) {
        for (int i = 0; i < rows; i += WIDTH)
            for (int j = 0; j < columns; j += WIDTH) {
                Vec square[WIDTH];
                EACH(k, WIDTH) square[k] = i + k < rows ? scale * load(from.row(i + k) + j) : Vec{};
                transpose(square);
                for (int k = 0; k < WIDTH && j + k < columns; ++k) save(to.row(j + k) + i, square[k]);
            }
    }

    Matrix x_, y_, gram_, left_, p_, all_;  // all_: the product of the P since X was made
};

class Muon {
public:
    // members: how many step together at most; 0: it is not used.
    APART Muon(const Parameters& parameters, int members) : parameters_(parameters), rooms_(members) {
        if (!on()) return;
        long largest = 0, tall = 0, square = 0;
        for (const Tensor& t : parameters.tensors) {
            if (!t.matrices) continue;
            for (int i = 0; i < t.matrices; ++i) matrices_.push_back({&t, i});
            const int rows = t.rows / t.matrices / t.side, columns = t.side * t.columns;
            const int M = std::min(rows, columns), K = std::max(rows, columns);
            largest = std::max(largest, rows * std::max(t.ld, stride(columns))), tall = std::max(tall, K * stride(M));
            square = std::max(square, M * stride(M));
        }
        for (Own& room : rooms_) {
            room.step = memory_.floats(largest);
            room.orthogonal.make_room(memory_, tall, square);
        }
    }
    APART ~Muon() {}
    bool on() const { return !rooms_.empty(); }

    // Change weights and momentum by a gradient, of which `clip` is the share that is left.
    APART void update(Member& me, float clip, double learning_rate, double weight_decay) {
        me.each(int(matrices_.size()), [&](int task) {
            const Tensor& t = *matrices_[task].tensor;
            const int rows = t.rows / t.matrices / t.side, real = t.real(rows), columns = t.side * t.columns;
            float* __restrict step = rooms_[me.place()].step;
            // Its parts lie one below the other; in `step`, side by side.
            const long ld = stride(columns), wide = t.side > 1 ? t.columns : t.ld;
            if (t.side > 1) std::fill_n(step, real * ld, 0.0f);
            auto each_part = [&](const auto& work) {
                for (int i = 0; i < t.side * real; ++i) {
                    const int side = i / real, row = i % real;
                    const long at = t.at + ((side * t.matrices + matrices_[task].number) * rows + row) * t.ld;
                    work(at, step + row * ld + side * t.columns);
                }
            };
            each_part([&](long at, float* __restrict to) {
                float* __restrict momentum = parameters_.first + at;
                const float* __restrict gradient = parameters_.gradients + at;
                for (long j = 0; j < wide; ++j) {
                    const float d = gradient[j] * clip;
                    momentum[j] += (1 - MOMENTUM) * (d - momentum[j]);
                    to[j] = d + MOMENTUM * (momentum[j] - d);
                }
            });
            rooms_[me.place()].orthogonal.make({step, ld}, real, columns);
            const float keep = float(1 - learning_rate * weight_decay);
            const float rate = float(learning_rate * RMS * std::sqrt(double(std::max(real, columns))));
            each_part([&](long at, const float* __restrict from) {
                float* __restrict weights = parameters_.weights + at;
                for (long j = 0; j < wide; ++j) weights[j] = keep * weights[j] - rate * from[j];
            });
        });
        me.wait();  // a matrix may end within the rows that are copied together
        long turn = 0;
        for (const Tensor& t : parameters_.tensors)
            for (int row = 0; t.matrices && row < t.rows; row += WIDTH)
                if (me.has(turn++)) parameters_.renew(t, {row, std::min(t.rows, row + WIDTH)});
    }

private:
    static constexpr float MOMENTUM = 0.95f;
    static constexpr double RMS = 0.2;
    struct Hidden {
        const Tensor* tensor;
        int number;
    };
    struct Own {
        float* step;
        Orthogonal orthogonal;
    };

    const Parameters& parameters_;
    Memory memory_;
    std::vector<Hidden> matrices_;
    std::vector<Own> rooms_;  // of each member
};
