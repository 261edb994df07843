// Causal attention, word by word and head by head, forward and backward.
//
// Queries lie across the lanes of a vector, so that the softmax over keys has no horizontal sums. Heads share no
// number, so they are tasks; in the forward pass, where words share none either, so are groups of words.
#pragma once

#include <cmath>

#include "rows.h"
#include "threads.h"

// Two halves of a head turned by one position; direction -1 turns back. HALF: their width, where it is known.
template <int HALF>
static INLINE void turn(const float* from, float* to, const float* cosine, const float* sine, float direction,
                        int half) {
    typedef float Part __attribute__((vector_size((HALF ? HALF : 1) * sizeof(float))));
    for (int j = 0; j < half; j += HALF ? HALF : 1) {
        Part p, q, c, s;
        std::memcpy(&p, from + j, sizeof p), std::memcpy(&q, from + half + j, sizeof q);
        std::memcpy(&c, cosine + j, sizeof c), std::memcpy(&s, sine + j, sizeof s);
        s *= direction;
        Part x = p * c - q * s, y = p * s + q * c;
        std::memcpy(to + j, &x, sizeof x), std::memcpy(to + half + j, &y, sizeof y);
    }
}

// (K, queries) of up to WIDTH rows: a head of `from`, at `column`, transposed, so that each lane is a query.
template <int DEPTH>
static INLINE void gather(Matrix from, const int* rows, int n, int column, int vectors, Vec* turned) {
    for (int part = 0; part < (DEPTH ? 1 : vectors); ++part) {
        Vec square[WIDTH];
        EACH(i, WIDTH) square[i] = i < n ? load(from.row(rows[i]) + column + part * WIDTH) : Vec{};
        transpose(square);
        EACH(i, (DEPTH ? DEPTH : WIDTH)) turned[part * WIDTH + i] = square[i];
    }
}

// x . each of the columns of `turned`: the score of one key with every query.
template <int DEPTH>
static INLINE Vec dot(const float* x, const Vec* turned, int vectors) {
    Vec even{}, odd{};
    EACH(k, (DEPTH ? DEPTH : vectors * WIDTH) / 2) {
        even += x[2 * k] * turned[2 * k];
        odd += x[2 * k + 1] * turned[2 * k + 1];
    }
    return even + odd;
}

// For `n` results, four at a time: out(i, the sum over j < depth of weights[i * by_i + j * by_j] * in(j)).
template <int TOGETHER = 4, class In, class Out>
static INLINE void combine(const float* weights, long by_i, long by_j, int n, int depth, In in, Out out, int i = 0) {
    for (; i + TOGETHER <= n; i += TOGETHER) {
        Vec sums[TOGETHER] = {};
        for (int j = 0; j < depth; ++j) {
            const Vec x = in(j);
            EACH(k, TOGETHER) sums[k] += weights[(i + k) * by_i + j * by_j] * x;
        }
        EACH(k, TOGETHER) out(i + k, sums[k]);
    }
    if constexpr (TOGETHER > 1) combine<TOGETHER / 2>(weights, by_i, by_j, n, depth, in, out, i);
}

class Attention {
public:
    Attention(const Shape& shape, int max_length, int threads, Memory& memory)
        : shape_(shape), cos_(memory.floats(max_length * (shape.head_size / 2))),
          sin_(memory.floats(max_length * (shape.head_size / 2))) {
        for (int i = 0; i < threads; ++i)
            scratch_.push_back({reinterpret_cast<Vec*>(memory.floats(padded(shape.head_size) * WIDTH)),
                                memory.floats(max_length * padded(max_length)),
                                memory.floats(max_length * padded(max_length))});
        const int half = shape.head_size / 2;
        for (int t = 0; t < max_length; ++t)
            for (int j = 0; j < half; ++j) {
                const float angle = t * float(std::pow(10000.0, -2.0 * j / shape.head_size));
                cos_[t * half + j] = std::cos(angle);
                sin_[t * half + j] = std::sin(angle);
            }
    }

    // Tasks: what dropout multiplies the weights by, laid out as they are, exactly as dropout.attention_mask.
    void draw_mask(Member& me, const Batch& b, uint64_t key, float* kept) const {
        const int H = shape_.n_head, numbers = (H + 3) / 4;
        const float scale = float(65536.0 / (65536.0 - shape_.dropout_of_weights));
        const Groups groups(b, me);
        me.each(groups.n, [&](int group) {
            for (const Word* word = groups.begin(group); word != groups.begin(group + 1); ++word) {
                const long T = word->length, ld = padded(T - word->first);
                for (int t = word->first; t < T; ++t) {
                    const uint64_t place = key + b.prefix[b.paths[word->path + t]];
                    for (int s = 0; s <= t; ++s)
                        for (int h = 0; h < H; ++h) {
                            const uint64_t bits = mix64(place + GOLDEN * (s * numbers + h / 4 + 1)) >> (16 * (h % 4));
                            kept[word->weights + (h * T + s) * ld + t - word->first] =
                                int(bits & 65535) >= shape_.dropout_of_weights ? scale : 0;
                        }
                }
            }
        });
    }

    // Tasks: heads (N, H * K), and the attention weights, from qkv as `spread` gives it. kept: nullptr without dropout.
    void forward(Member& me, const Batch& b, Matrix qkv, const float* kept, float* attention, Matrix heads) {
        const Groups groups(b, me);
        const int H = shape_.n_head;
        by_depth([&](auto depth) {
            me.each(groups.n * H, [&](int task) {
                const Word *begin = groups.begin(task / H), *end = groups.begin(task / H + 1);
                forward_by<decltype(depth)::value>(me, b, begin, end, task % H, qkv, kept, attention, heads);
            });
        });
    }

    // Tasks: dqkv, from dheads: keys and values collect from every query that saw them, in every word. Then, as
    // `spread` on the way back, dlinear: turned back, and those of a token summed. dqkv and dheads are read and written
    // by head.
    void backward(Member& me, const Batch& b, Matrix qkv, const float* kept, const float* attention, Matrix dheads,
                  Matrix dqkv, bool by_token, Matrix dlinear) {
        by_depth([&](auto depth) {
            me.each(shape_.n_head, [&](int head) {
                backward_by<decltype(depth)::value>(me, b, head, qkv, kept, attention, dheads, dqkv);
                for (int which = 0; which < 3; ++which)
                    collect<decltype(depth)::value>(b, which * shape_.n_head + head, dqkv, dlinear, by_token);
            });
        });
    }

    // From the linear layer's queries, keys and values, (3, H, K), of each row, or of each token, to those that meet
    // in attention: turned by RoPE, each head beginning at a whole vector.
    void spread(const Batch& b, Matrix from, bool by_token, Matrix to, Part rows) const {
        const int K = shape_.head_size, H = shape_.n_head;
        for (int n = rows.begin; n < rows.end; ++n) {
            const float* x = from.row(by_token ? b.which[n] : n);
            float* y = to.row(b.base + n);
            for (int part = 0; part < 3 * H; ++part, x += K, y += padded(K)) {
                for (int k = 0; k < K; k += WIDTH) save(y + k, inside(load(x + k), K - k));
                if (shape_.rope() && part < 2 * H) turn_head(y, b.position[n], 1);
            }
        }
    }

private:
    // Words that are a task: few enough that the members end at about the same time.
    struct Groups {
        const Batch& b;
        int n;
        Groups(const Batch& batch, const Member& me)
            : b(batch), n(me.size() == 1 ? 1 : std::min<int>(batch.words.size(), 6 * me.size())) {}
        const Word* begin(long group) const { return b.words.data() + group * long(b.words.size()) / n; }
    };

    // work(a compile-time DEPTH): how many numbers of a head are met one by one, up to a vector; 0: any.
    template <class Work>
    void by_depth(const Work& work) const {
        if (WIDTH > 4 && shape_.head_size <= 4) work(std::integral_constant<int, 4>{});
        else if (WIDTH > 8 && shape_.head_size <= 8) work(std::integral_constant<int, 8>{});
        else if (shape_.head_size <= WIDTH) work(std::integral_constant<int, WIDTH>{});
        else work(std::integral_constant<int, 0>{});
    }

    static INLINE Vec inside(Vec x, int n) { return lane_numbers() < n ? x : Vec{}; }  // 0 from the n-th lane on

    APART void turn_head(float* x, int position, float direction) const {
        const int half = shape_.head_size / 2;
        const float *cosine = cos_ + position * half, *sine = sin_ + position * half;
        if (half == 8) turn<8>(x, x, cosine, sine, direction, 8);
        else if (WIDTH > 4 && half == 2) turn<2>(x, x, cosine, sine, direction, 2);
        else turn<0>(x, x, cosine, sine, direction, half);
    }

    // One head's queries, keys or values, of all rows: the way back of `spread`.
    template <int DEPTH>
    void collect(const Batch& b, int part, Matrix from, Matrix to, bool by_token) const {
        const int K = shape_.head_size;
        auto each = [&](auto work) {  // of a head; the compiler mostly knows how many
            if (WIDTH > 4 && K == DEPTH)
                for (int k = 0; k < DEPTH; ++k) work(k);
            else
                for (int k = 0; k < K; ++k) work(k);
        };
        if (by_token)
            for (size_t u = 0; u < b.distinct.size(); ++u) each([y = to.row(u) + part * K](int k) { y[k] = 0; });
        for (int n = 0; n < b.rows(); ++n) {
            float *x = from.row(n) + part * padded(K), *y = to.row(by_token ? b.which[n] : n) + part * K;
            if (shape_.rope() && part < 2 * shape_.n_head) turn_head(x, b.position[n], -1);
            if (by_token) each([=](int k) { y[k] += x[k]; });
            else each([=](int k) { y[k] = x[k]; });
        }
    }

    // A head's weights after dropout, for up to WIDTH queries.
    static const float* times(const float* weights, const float* kept, int keys, long ld, int block, float* mixed) {
        for (int s = 0; s < keys; ++s)
            save(mixed + s * ld + block, load(weights + s * ld + block) * load(kept + s * ld + block));
        return mixed;
    }

    // The weights of a head are stored as (keys, queries), queries padded. They are 0 where the query is before the
    // key, and are combined as rectangles: for words that is no slower than triangles, whose short loops are hard to
    // predict.
    template <int DEPTH>
    void forward_by(const Member& me, const Batch& b, const Word* from, const Word* to, int head, Matrix qkv,
                    const float* kept, float* attention, Matrix heads) const {
        const int K = shape_.head_size, H = shape_.n_head, vectors = int(padded(K) / WIDTH);
        const int wide = vectors * WIDTH;
        const float scale = 1.0f / std::sqrt(float(K));
        const IntVec lanes = lane_numbers();
        Vec own[DEPTH ? DEPTH : 1], *turned = DEPTH ? own : scratch_[me.place()].turned;
        const int q_at = head * wide, k_at = q_at + H * wide, v_at = k_at + H * wide;
        for (const Word* one = from; one != to; ++one) {
            const Word& word = *one;
            const int *rows = b.paths.data() + word.path, T = word.length, queries = T - word.first;
            const long ld = padded(queries);
            float* weights = attention + word.weights + head * T * ld;
            for (int block = 0; block < queries; block += WIDTH) {
                const int begin = word.first + block, keys = std::min(T, begin + WIDTH);
                const IntVec position = lanes + begin;
                gather<DEPTH>(qkv, rows + begin, keys - begin, q_at, vectors, turned);
                Vec most = Vec{} - INFINITY, total{};
                for (int s = 0; s < keys; ++s) {
                    Vec score = scale * dot<DEPTH>(qkv.row(rows[s]) + k_at, turned, vectors);
                    save(weights + s * ld + block, score);
                    most = larger(position >= s ? score : most, most);
                }
                for (int s = 0; s < keys; ++s) {
                    Vec weight = exponential(load(weights + s * ld + block) - most);
                    weight = position >= s ? weight : Vec{};
                    save(weights + s * ld + block, weight);
                    total += weight;
                }
                total = 1.0f / total;
                for (int s = 0; s < T; ++s)
                    save(weights + s * ld + block, s < keys ? load(weights + s * ld + block) * total : Vec{});
                const float* mixed =
                    kept ? times(weights, kept + (weights - attention), T, ld, block, scratch_[me.place()].mixed)
                         : weights;
                for (int at = 0; at < K; at += WIDTH) {
                    auto value = [&](int s) { return load(qkv.row(rows[s]) + v_at + at); };
                    auto result = [&](int t, Vec mean) {
                        float* out = heads.row(rows[begin + t] - b.base) + head * K;
                        if (at + WIDTH <= K) save(out + at, mean);
                        else
                            for (int k = at; k < K; ++k) out[k] = mean[k - at];
                    };
                    combine(mixed + block, 1, ld, keys - begin, keys, value, result);
                }
            }
        }
    }

    template <int DEPTH>
    void backward_by(const Member& me, const Batch& b, int head, Matrix qkv, const float* kept, const float* attention,
                     Matrix dheads, Matrix dqkv) const {
        const int K = shape_.head_size, H = shape_.n_head, vectors = int(padded(K) / WIDTH);
        const int wide = vectors * WIDTH;
        const float scale = 1.0f / std::sqrt(float(K));
        Vec own[DEPTH ? DEPTH : 1], *turned = DEPTH ? own : scratch_[me.place()].turned;
        float *scores = scratch_[me.place()].scores, *after = scratch_[me.place()].mixed;
        const int q_at = head * wide, k_at = q_at + H * wide, v_at = k_at + H * wide;
        for (int n = 0; n < b.rows(); ++n)
            for (int k = 0; k < wide; k += WIDTH)
                save(dqkv.row(n) + k_at + k, Vec{}), save(dqkv.row(n) + v_at + k, Vec{});
        for (const Word& word : b.words) {
            const int *rows = b.paths.data() + word.path, T = word.length, queries = T - word.first;
            const long ld = padded(queries);
            const float* weights = attention + word.weights + head * T * ld;
            for (int block = 0; block < queries; block += WIDTH) {
                const int begin = word.first + block, keys = std::min(T, begin + WIDTH);
                gather<DEPTH>(dheads, rows + begin, keys - begin, head * K, vectors, turned);
                Vec total{};
                for (int s = 0; s < keys; ++s) {
                    Vec d = dot<DEPTH>(qkv.row(rows[s]) + v_at, turned, vectors);
                    if (kept) d *= load(kept + (weights - attention) + s * ld + block);
                    total += d * load(weights + s * ld + block);
                    save(scores + s * ld + block, d);
                }
                for (int s = 0; s < keys; ++s) {
                    Vec d = load(weights + s * ld + block) * (load(scores + s * ld + block) - total) * scale;
                    save(scores + s * ld + block, d);
                }
                for (int s = keys; s < T; ++s) save(scores + s * ld + block, Vec{});
                if (kept) times(weights, kept + (weights - attention), T, ld, block, after);
            }
            const float* mixed = kept ? after : weights;
            for (int at = 0; at < wide; at += WIDTH) {
                auto key = [&](int s) { return load(qkv.row(rows[s]) + k_at + at); };
                auto query = [&](int t) { return load(qkv.row(rows[word.first + t]) + q_at + at); };
                auto dout = [&](int t) { return load(dheads.row(rows[word.first + t]) + head * K + at); };
                auto dquery = [&](int t, Vec d) { save(dqkv.row(rows[word.first + t]) + q_at + at, d); };
                auto dkey = [&](int s, Vec d) { accumulate(d, dqkv.row(rows[s]) + k_at + at); };
                auto dvalue = [&](int s, Vec d) { accumulate(d, dqkv.row(rows[s]) + v_at + at); };
                combine(scores, 1, ld, queries, T, key, dquery);
                combine(scores, ld, 1, T, queries, query, dkey);
                combine(mixed, ld, 1, T, queries, dout, dvalue);
            }
        }
    }

    struct Scratch {  // of a member
        Vec* turned;     // a head of up to WIDTH queries
        float* scores;   // gradients of a head's scores
        float* mixed;    // a head's weights after dropout
    };

    const Shape shape_;
    std::vector<Scratch> scratch_;
    float *cos_, *sin_;  // (T, K / 2)
};
