// Muon's step of a matrix, as engine/optimiser.py: momentum, made nearly orthogonal by Newton-Schulz iterations.
#pragma once

#include <algorithm>
#include <cmath>

#include "rows.h"

class Muon {
public:
    explicit Muon(const Parameters& parameters) {
        long largest = 0, tall = 0, square = 0;
        for (const Tensor& t : parameters.tensors) {
            if (!t.matrices) continue;
            const int rows = t.rows / t.matrices, M = std::min(rows, t.columns), K = std::max(rows, t.columns);
            largest = std::max(largest, t.rows * t.ld), tall = std::max(tall, K * stride(M));
            square = std::max(square, M * stride(M));
        }
        step_ = memory_.floats(largest);
        for (Matrix* x : {&x_, &y_}) x->data = memory_.floats(tall);
        for (Matrix* x : {&gram_, &left_, &p_, &all_}) x->data = memory_.floats(square);
    }

    // Change weights and momentum by a gradient, of which `clip` is the share that is left.
    void update(const Tensor& t, float* __restrict weights, float* __restrict momentum,
                const float* __restrict gradient, float clip, double learning_rate, double weight_decay) {
        const long size = t.rows * t.ld;
        for (long j = 0; j < size; ++j) {
            const float d = gradient[j] * clip;
            momentum[j] += (1 - MOMENTUM) * (d - momentum[j]);
            step_[j] = d + MOMENTUM * (momentum[j] - d);
        }
        const int rows = t.rows / t.matrices;
        for (int i = 0; i < t.matrices; ++i) orthogonalise({step_ + i * rows * t.ld, t.ld}, rows, t.columns);
        const float keep = float(1 - learning_rate * weight_decay);
        const float rate = float(learning_rate * RMS * std::sqrt(double(std::max(rows, t.columns))));
        for (long j = 0; j < size; ++j) weights[j] = keep * weights[j] - rate * step_[j];
    }

private:
    static constexpr float MOMENTUM = 0.95f, A = 3.4445f, B = -4.7750f, C = 2.0315f;
    static constexpr double RMS = 0.2;
    static constexpr int ITERATIONS = 5;

    // In place. The iterations are on the tall one, X (K, M), of the matrix and its transpose: X^T X and X P, P
    // symmetric, read their operands as the product likes them.
    void orthogonalise(Matrix g, int rows, int columns) {
        const bool wide = rows < columns;
        const int K = std::max(rows, columns), M = std::min(rows, columns);
        for (Matrix* x : {&x_, &y_, &gram_, &left_, &p_, &all_}) x->ld = stride(M);
        Vec squares{};
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < columns; j += WIDTH) squares += load(g.row(i) + j) * load(g.row(i) + j);
        const float scale = 1 / std::max(std::sqrt(sum(squares)), 1e-7f);
        if (wide) flip(g, rows, columns, x_, scale);
        else copy(g, rows, columns, x_, scale);
        // X^T X of the next iteration is P (X^T X) P, too: cheaper where X is tall, and exact enough for a few in a row.
        const int in_a_row = 2 * M <= K ? 3 : 1;
        for (int n = 0; n < ITERATIONS; ++n) {
            const bool begins = n % in_a_row == 0, ends = n % in_a_row == in_a_row - 1 || n == ITERATIONS - 1;
            if (begins) symmetric(x_.data, 1, x_.ld, x_, gram_, K, M);
            copy(gram_, M, M, left_, C);
            for (int i = 0; i < M; ++i) left_.row(i)[i] += B;
            symmetric(left_.data, left_.ld, 1, gram_, p_, M, M);  // (C G + B) G
            for (int i = 0; i < M; ++i) p_.row(i)[i] += A;
            if (!ends) {
                symmetric(p_.data, p_.ld, 1, gram_, left_, M, M);
                symmetric(p_.data, p_.ld, 1, left_, gram_, M, M);
            }
            if (begins) std::swap(p_, all_);
            else symmetric(p_.data, p_.ld, 1, all_, left_, M, M), std::swap(left_, all_);
            if (!ends) continue;
            multiply(x_.data, x_.ld, 1, all_, y_, K, M, M);
            std::swap(x_, y_);
        }
        if (wide) flip(x_, K, M, g, 1);
        else copy(x_, K, M, g, 1);
    }

    // c (M, M) = a b where that is symmetric: of its four quarters, one is the transpose of another.
    static void symmetric(const float* a, long a_row, long a_column, Matrix b, Matrix c, int depth, int M) {
        const int half = M / 2 / (2 * WIDTH) * (2 * WIDTH);
        if (!half) return multiply(a, a_row, a_column, b, c, M, depth, M);
        multiply(a, a_row, a_column, b, c, half, depth, half);
        multiply(a, a_row, a_column, {b.data + half, b.ld}, {c.data + half, c.ld}, M, depth, M - half);
        flip({c.data + half, c.ld}, half, M - half, {c.row(half), c.ld}, 1);
    }

    static void copy(Matrix from, int rows, int columns, Matrix to, float scale) {
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < columns; j += WIDTH) save(to.row(i) + j, scale * load(from.row(i) + j));
    }

    // to (columns, rows) = the transpose of from, scaled.
    static void flip(Matrix from, int rows, int columns, Matrix to, float scale) {
        for (int i = 0; i < rows; i += WIDTH)
            for (int j = 0; j < columns; j += WIDTH) {
                Vec square[WIDTH];
                UNROLL for (int k = 0; k < WIDTH; ++k)
                    square[k] = i + k < rows ? scale * load(from.row(i + k) + j) : Vec{};
                transpose(square);
                for (int k = 0; k < WIDTH && j + k < columns; ++k) save(to.row(j + k) + i, square[k]);
            }
    }

    Memory memory_;
    float* step_;
    Matrix x_, y_, gram_, left_, p_, all_;  // all_: the product of the P since X was made
};
