// What goes in: shapes, parameters, and batches of words as rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "matrix.h"

// SplitMix64's finaliser, as batches.mix64.
template <class T>
INLINE T mix64(T x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}
constexpr uint64_t GOLDEN = 0x9E3779B97F4A7C15u;

enum class Activation : int32_t { none, relu, gelu, swiglu };
enum class Normalisation : int32_t { none, layernorm, rmsnorm };
enum class Position : int32_t { none, learned, rope };
enum class Family : int32_t { transformer, bigram, bow, mlp, rnn, gru, lstm, conv, mingru };

// What mixes the places of a word, where it is not attention (cells.h). In parts of attention() numbers:
struct Mixing {
    int gates = 1;       // what the input layer gives
    int taps = 1;        // how many places it reads, each through a matrix of its own
    int carried = 0;     // the state that goes from a place to the next
    bool input = true, hidden = false;  // is there a layer that reads the stream, and one that reads the state?
    Mixing(Family family, int reach) {
        if (family == Family::bigram) input = false;
        if (family == Family::bow) carried = 1, input = false;
        if (family == Family::mlp) taps = reach;
        if (family == Family::rnn) carried = 1, hidden = true;
        if (family == Family::gru) gates = 3, carried = 1, hidden = true;
        if (family == Family::lstm) gates = 4, carried = 2, hidden = true;
        if (family == Family::conv) gates = 2, taps = 2;
        if (family == Family::mingru) gates = 2, carried = 1;
    }
};

struct Shape {  // as _shape in library.py; the enums in the order of config.py
    int32_t vocab_size, n_layer, n_head, n_embd, head_size, hidden;
    Activation activation;
    Normalisation norm;
    Position position;
    int32_t places;   // learned positions; 0: none
    int32_t projection, residual, final_norm, head_bias, tied;
    int32_t dropout, dropout_of_weights;  // in 1/65536, as in dropout.dropout_mask
    Family family = Family::transformer;
    int32_t reach = 1;  // of family mlp
    bool attends() const { return family == Family::transformer; }
    bool mixes() const { return family != Family::bigram; }  // there is a sublayer before the MLP's
    bool projects() const { return projection && mixes(); }
    int attention() const { return n_head * head_size; }
    bool rope() const { return position == Position::rope; }
    bool normed() const { return norm != Normalisation::none; }
};

struct Optimiser {  // as train_block in library.py hands it in
    double beta1, beta2, weight_decay, grad_clip;
};

struct Tensor {
    long at = 0;  // where it lies in each of the arrays of Parameters
    int rows = 0, columns = 0;
    long ld = 0;
    int group = 0, side = 1;  // of a cell's layer: rows of each gate, without their padding; matrices, side by side
                              // as handed in, and one below the other here
    Matrix transposed = {};                     // of a linear layer's weight: (columns, rows)
    Matrix pairs = {}, transposed_pairs = {};   // in bf16 instead: pairs of its rows, and of its columns
    int matrices = 0;  // hidden matrices, one below the other, that Muon may step; 0: always AdamW
    bool empty() const { return rows == 0; }
    int real(int padded_rows) const { return group ? group : padded_rows; }
};

// All tensors of a kind in one padded array, so that the optimiser is one loop. Tensors are registered in the order
// of Transformer.named_parameters(), which is that of the pointers handed in.
struct Parameters {
    std::vector<Tensor> tensors;
    long size = 0;
    float *weights = nullptr, *gradients = nullptr, *first = nullptr, *second = nullptr;

    Tensor add(int rows, int columns) { return add(rows, columns, stride(columns)); }
    Tensor add(int rows, int columns, long ld) { return add({size, rows, columns, ld}); }

    // Of a linear layer, with its copies.
    Tensor add(int rows, int columns, Memory& memory, bool bf16) {
        auto matrix = [&](int r, int c) { return Matrix{memory.floats(r * stride(c)), stride(c)}; };
        Tensor t{size, rows, columns, stride(columns)};
        if (bf16) t.pairs = matrix(words(rows), columns), t.transposed_pairs = matrix(words(columns), rows);
        else t.transposed = matrix(columns, rows);
        return add(t);
    }
    float* w(const Tensor& t) const { return weights + t.at; }
    float* g(const Tensor& t) const { return gradients + t.at; }

    // The copies of some of a weight's rows, WIDTH of them or its last ones: squares, transposed in registers.
    APART void renew(const Tensor& t, Part rows) const {
        if (!t.transposed.data && !t.pairs.data) return;
        for (int j = 0; j < t.columns; j += WIDTH) {
            Vec square[WIDTH];
            EACH(k, WIDTH) square[k] = rows.begin + k < rows.end ? load(w(t) + (rows.begin + k) * t.ld + j) : Vec{};
            if constexpr (HAS_BF16)
                if (t.pairs.data) {
                    EACH(k, WIDTH / 2)
                        if (rows.begin + 2 * k < rows.end)
                            save(t.pairs.row(rows.begin / 2 + k) + j, pair(square[2 * k], square[2 * k + 1]));
                    transpose(square);
                    EACH(k, WIDTH / 2)
                        if (j + 2 * k < t.columns)
                            save(t.transposed_pairs.row(j / 2 + k) + rows.begin,
                                 pair(square[2 * k], square[2 * k + 1]));
                    continue;
                }
            transpose(square);
            for (int k = 0; k < WIDTH && j + k < t.columns; ++k) save(t.transposed.row(j + k) + rows.begin, square[k]);
        }
    }
    void renew() const {
        for (const Tensor& t : tensors)
            for (int row = 0; row < t.rows; row += WIDTH) renew(t, {row, std::min(t.rows, row + WIDTH)});
    }

    void read(const float* const* from, float* to) const {
        each_row(
            [=](size_t n, long handed, long here, int columns) { std::copy_n(from[n] + handed, columns, to + here); });
    }
    void write(const float* from, float* const* to) const {
        each_row(
            [=](size_t n, long handed, long here, int columns) { std::copy_n(from + here, columns, to[n] + handed); });
    }

private:
    // work(number of the tensor, where a row of it lies as handed in, where it lies here, columns)
    template <class Work>
    void each_row(const Work& work) const {
        for (size_t n = 0; n < tensors.size(); ++n) {
            const Tensor& t = tensors[n];
            const long group = t.real(t.rows), all = t.group ? padded(group) : group, groups = t.rows / all / t.side;
            for (long i = 0; i < t.rows; ++i) {
                const long side = i / all / groups, row = i / all % groups * group + i % all;
                if (i % all < group) work(n, (row * t.side + side) * t.columns, t.at + i * t.ld, t.columns);
            }
        }
    }

    APART Tensor add(const Tensor& t) {
        size += t.rows * t.ld;
        tensors.push_back(t);
        return t;
    }
};

// A word, or a window of the stream: what is read, and what follows each of its tokens.
struct Sequence {
    const int *inputs, *targets;
    int length;  // T
    bool operator<(const Sequence& other) const {
        return std::lexicographical_compare(inputs, inputs + length, other.inputs, other.inputs + other.length);
    }
};

// From tokens packed one after the other.
APART static std::vector<Sequence> unpack(const int* inputs, const int* targets, const int* lengths, long n) {
    std::vector<Sequence> found;
    for (long i = 0; i < n; inputs += lengths[i], targets += lengths[i], ++i)
        found.push_back({inputs, targets, lengths[i]});
    return found;
}

// What the largest of the batches of n sequences can need.
struct Room {
    int words = 0, rows = 0, length = 0;
    long weights = 0;  // of attention
    int nodes = 0;     // of a tree of prefixes: rows whose keys and values stay; 0: there is none

    APART Room(const Shape& shape, const std::vector<Sequence>& sequences, size_t n) {
        for (size_t from = 0; from < sequences.size(); from += n) {
            Room one;
            one.words = int(std::min(sequences.size() - from, n));
            for (size_t i = from; i < from + one.words; ++i) {
                const int T = sequences[i].length;
                one.rows += T;
                one.weights += shape.n_head * T * padded(T);
                length = std::max(length, T);
            }
            words = std::max(words, one.words), rows = std::max(rows, one.rows);
            weights = std::max(weights, one.weights);
        }
    }

    // For steps of up to so many rows in a tree of prefixes.
    static Room of_tree(const Shape& shape, int rows, int length, int nodes) {
        Room room;
        room.rows = rows, room.length = length, room.nodes = nodes, room.weights = shape.n_head * length * padded(1);
        return room;
    }

private:
    Room() = default;
};

struct Word {
    int path;      // where its rows begin in Batch::paths
    int length;    // T
    int first;     // its rows before this one belong to an earlier word with the same beginning
    long weights;  // where its attention weights begin
    const int* targets;  // what was handed in
};

struct Batch {
    std::vector<int> token, position;  // of each row
    std::vector<uint64_t> prefix;      // of each row: dropout.prefix_hashes, for dropout
    std::vector<int> uses;             // of each row: words that it is part of
    std::vector<int> distinct, which;  // one row for each distinct key; the place of each row's key among them
    std::vector<int> paths, targets;   // of each token of each word: its row, and what comes next
    std::vector<int> ends;             // of each row: where in `paths` it is
    std::vector<int> levels, children; // for a cell's states: where the rows of each place begin, where each row's next
                                       // ones do; and the end
    std::vector<Word> words;
    int base = 0; // what `paths` calls the first row: in a tree, the number of its node
    int rows() const { return int(token.size()); }

    // One that fits into the room asks for no memory when it is filled: in a thread, nobody could say that none is
    // left.
    APART Batch(const Shape& shape, const Room& room)
        : n_head_(shape.n_head), vocab_size_(shape.vocab_size), seen_(shape.vocab_size * std::max(1, shape.places), -1),
          by_place_(shape.places > 0), by_level_(!shape.attends() && Mixing(shape.family, 1).carried) {
        for (auto* list : {&token, &position, &uses, &distinct, &which, &paths, &targets}) list->reserve(room.rows);
        prefix.reserve(room.rows), words.reserve(room.words);
        for (auto* list : {&ends, &children, &to_, &old_}) list->reserve(room.rows + 1);
        old_prefix_.reserve(room.rows), levels.reserve(room.length + 2), next_.reserve(room.length + 2);
    }
    APART ~Batch() {}

    // The words are sorted, and each takes over the rows of the beginning that it has in common with the one before.
    // In that order no earlier word has more in common with it.
    void fill(const Sequence* sequences, int n) {
        clear();
        long weights = 0;
        for (int w = 0; w < n; ++w) {
            const Sequence& now = sequences[w];
            const int path = int(paths.size());
            int first = 0;
            if (w) {
                const Sequence& before = sequences[w - 1];
                const int shorter = std::min(now.length, before.length);
                while (first < shorter && now.inputs[first] == before.inputs[first]) ++first;
                for (int t = 0; t < first; ++t) {
                    paths.push_back(paths[words.back().path + t]);
                    ++uses[paths.back()];
                }
            }
            for (int t = first; t < now.length; ++t) {
                ends.push_back(int(paths.size()));
                paths.push_back(rows());
                add_row(now.inputs[t], t, t ? prefix[paths[path + t - 1]] : 0);
            }
            targets.insert(targets.end(), now.targets, now.targets + now.length);
            words.push_back({path, now.length, first, weights, now.targets});
            weights += long(n_head_) * now.length * padded(now.length - first);
        }
        if (by_level_) sort_by_level();
        else levels = {0, rows()};
    }

    // The row so many places before a row, in a tree: the node; -1: the word had not begun.
    int before(int row, int places) const { return position[row] < places ? -1 : paths[ends[row] - places]; }

    // A step in a tree of prefixes: n new nodes, numbered from `first` on, each the last of its path of T nodes. Each
    // is a word of which all but the last row is known; nobody asks for its attention weights, so they share their
    // place.
    void grow(const int* tokens, const int* nodes, int n, int T, int first) {
        clear();
        base = first;
        paths.assign(nodes, nodes + long(n) * T);
        for (int i = 0; i < n; ++i) {
            ends.push_back(i * T + T - 1);
            add_row(tokens[i], T - 1, 0);
            words.push_back({i * T, T, T - 1, 0, nullptr});
        }
        levels = {0, n};
    }

private:
    void clear() {
        for (int row : distinct) seen_[key(row)] = -1;
        for (auto* list : {&token, &position, &uses, &distinct, &which, &paths, &targets, &ends}) list->clear();
        prefix.clear(), words.clear();
    }

    void add_row(int its_token, int time, uint64_t before) {
        token.push_back(its_token), position.push_back(time), uses.push_back(1);
        prefix.push_back(mix64(before + GOLDEN * uint64_t(its_token + 1)));
        int& found = seen_[key(rows() - 1)];
        if (found < 0) {
            found = int(distinct.size());
            distinct.push_back(rows() - 1);
        }
        which.push_back(found);
    }

    // Rows are numbered anew, place by place; in each, they keep the order of their words, so that the rows that follow
    // one are side by side.
    APART void sort_by_level() {
        levels.assign(2, 0);
        for (int t : position) {
            levels.resize(std::max<size_t>(levels.size(), t + 2));
            ++levels[t + 1];
        }
        for (size_t t = 1; t < levels.size(); ++t) levels[t] += levels[t - 1];
        next_ = levels, to_.clear();
        for (int t : position) to_.push_back(next_[t]++);
        auto renumber = [&](auto& list, auto& old) {
            old = list;
            for (int row = 0; row < rows(); ++row) list[to_[row]] = old[row];
        };
        renumber(prefix, old_prefix_);
        for (auto* list : {&uses, &which, &ends, &position, &token}) renumber(*list, old_);
        for (int& row : paths) row = to_[row];
        for (int& row : distinct) row = to_[row];
        children.assign(rows() + 1, rows());
        for (int row = rows() - 1; row >= levels[1]; --row) children[before(row, 1)] = row;
        for (int row = rows() - 1; row >= 0; --row) children[row] = std::min(children[row], children[row + 1]);
    }

    // What the stream is before the first block depends on: the token, and where positions are learned, the place.
    int key(int row) const { return by_place_ ? position[row] * vocab_size_ + token[row] : token[row]; }

    int n_head_, vocab_size_;
    std::vector<int> seen_; // the place of each key among the distinct ones, or -1
    bool by_place_, by_level_;
    std::vector<int> next_, to_, old_; // of sort_by_level
    std::vector<uint64_t> old_prefix_;
};
