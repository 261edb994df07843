// The training step of rungwise.model.Transformer, of any family, as one native program: forward, backward, clipping
// and AdamW.
// Here: what Python calls. vectors.h and matrix.h: arithmetic in registers and the matrix product; threads.h: several
// threads a step; rows.h: words as rows; layers.h, linear.h, attention.h, cells.h, teacher.h, adamw.h, muon.h: the
// parts; model.h, passes.h: the model. A file's first lines explain its technique.
//
// The PyTorch model is the reference; tests hold every gradient to it. What is different here, and why it is fast:
//   * Rows, not rectangles. A row is a token with its history; only real tokens have one. Position-wise parts are
//     matrix products over all rows of a batch, and attention walks each word through a list of its rows.
//   * Shared prefixes. The model is causal, so two words that begin alike share the rows of their common prefix:
//     in training, too, since dropout's masks depend on the prefix alone. A gradient flows into a row from every
//     word that uses it.
//   * The first block's norm, queries, keys and values depend on the token alone (and on the place, where positions
//     are learned): computed once a distinct token.
//
// Dimensions: N rows, U distinct tokens, D n_embd, A n_head * head size, K head size, M hidden width of the MLP,
// V vocabulary, T length of a word. Matrices are row-major. Each row begins at a multiple of WIDTH floats; the
// padding behind its last column is zero and stays zero (weights there get no gradient), so that no loop over
// columns has a tail.
//
// No globals: calls run side by side. Sums have one order, so the same input gives the same bits, in any number of
// threads.

#include <memory>

#include "model.h"

APART static double mean(const std::vector<float>& values, size_t n) {
    double total = 0;
    for (size_t i = 0; i < n; ++i) total += values[i];
    return total / double(n);
}

// Nothing else is seen of a shared library.
#if defined(_WIN32)
#define API __declspec(dllexport)
#else
#define API __attribute__((visibility("default")))
#endif

// Where memory runs out, a call says so by what it returns: nothing that C++ throws may reach Python.
#if defined(__cpp_exceptions)
#define TRY try
#define NO_MEMORY(returned) \
    catch (...) {           \
        return returned;    \
    }
#else
#define TRY
#define NO_MEMORY(returned)
#endif

extern "C" {

struct Recipe {  // as in library.py
    int32_t muon;
    float teacher_weight;
    const float* teacher_rows;  // nullptr: there is no teacher
    const int* teacher_at;
};

// Can the products be in bf16 here?
API int rungwise_has_bf16() { return HAS_BF16; }

// Multiply-adds in registers alone, `rounds` times as many as keep every unit busy: what no product can exceed. How
// many floating-point operations that is; `sums` (WIDTH,) so that they are not left out.
API double rungwise_multiply_adds(long rounds, float* sums) {
    constexpr int CHAINS = 6 * TILE_VECTORS;  // as in a tile
    Vec chains[CHAINS], factor = load(sums), term = factor * 0.5f;
    EACH(i, CHAINS) chains[i] = factor + float(i);
    for (long n = 0; n < rounds; ++n)
        EACH(i, CHAINS) chains[i] = chains[i] * factor + term;
    Vec total{};
    EACH(i, CHAINS) total += chains[i];
    save(sums, total);
    return 2.0 * WIDTH * CHAINS * double(rounds);
}

// Parameters and moments are read, trained for `steps` batches and written back; losses, (steps,). No recipe: AdamW,
// and words as targets. While a step is computed, one of the threads prepares the next one's batch. False: no memory.
API bool rungwise_train(const Shape* shape, const Optimiser* optimiser, float* const* values, float* const* first,
                        float* const* second, const int* inputs, const int* targets, const int* lengths, int batch_size,
                        long first_step, long steps, const double* learning_rates, uint64_t dropout_key, double* losses,
                        const Recipe* recipe, int threads, int bf16) TRY {
    std::vector<Sequence> words = unpack(inputs, targets, lengths, steps * batch_size);
    const Room room(*shape, words, batch_size);
    threads = std::max(1, threads);
    Model model(*shape, values, room, true, threads, bf16);
    model.parameters.read(first, model.parameters.first);
    model.parameters.read(second, model.parameters.second);
    Muon muon(model.parameters, recipe && recipe->muon ? threads : 0);
    AdamW adamw(model.parameters, muon);
    Teacher teacher;
    if (recipe) teacher = {recipe->teacher_rows, recipe->teacher_at, targets, recipe->teacher_weight};
    Batch batches[2] = {Batch(*shape, room), Batch(*shape, room)};
    std::vector<float> nats(room.rows);
    auto prepare = [&](long i) {
        if (i == steps) return;
        std::sort(&words[i * batch_size], &words[i * batch_size] + batch_size);
        batches[i % 2].fill(&words[i * batch_size], batch_size);
    };
    prepare(0);
    together(threads, [&](Member& me) {
        for (long i = 0; i < steps; ++i) {
            const Batch& batch = batches[i % 2];
            const Dropout dropout(*shape, dropout_key, first_step + i);
            model.forward(me, batch, dropout);
            model.loss(me, batch, nats.data(), nullptr, teacher);
            model.backward(me, batch, dropout, [&] {
                losses[i] = mean(nats, batch.paths.size());
                prepare(i + 1);
            });
            adamw.update(me, *optimiser, learning_rates[i], first_step + i + 1);
            me.wait();
        }
    });
    model.parameters.write(model.parameters.weights, values);
    model.parameters.write(model.parameters.first, first);
    model.parameters.write(model.parameters.second, second);
    return true;
}
NO_MEMORY(false)

// Loss, -1 for no memory, and gradients of one batch; step < 0: no dropout.
API double rungwise_gradients(const Shape* shape, const float* const* values, const int* inputs, const int* targets,
                              const int* lengths, int n, long step, uint64_t dropout_key, float* const* gradients,
                              int threads, int bf16) TRY {
    std::vector<Sequence> words = unpack(inputs, targets, lengths, n);
    const Room room(*shape, words, n);
    threads = std::max(1, threads);
    Model model(*shape, values, room, true, threads, bf16);
    std::sort(words.begin(), words.end());
    Batch batch(*shape, room);
    batch.fill(words.data(), n);
    std::vector<float> nats(room.rows);
    const Dropout dropout(*shape, dropout_key, step);
    together(threads, [&](Member& me) {
        model.forward(me, batch, dropout);
        model.loss(me, batch, nats.data(), nullptr);
        model.backward(me, batch, dropout, [] {});
    });
    model.parameters.write(model.parameters.gradients, gradients);
    return mean(nats, batch.paths.size());
}
NO_MEMORY(-1)

// Prefixes that grow by a token a step, for generation: what attention needs of their nodes stays.
struct Tree {
    Model model;
    Batch batch;
    Dropout none;
};

// Null: no memory.
API Tree* rungwise_tree(const Shape* shape, const float* const* values, int rows, int length, int nodes) TRY {
    const Room room = Room::of_tree(*shape, rows, length, nodes);
    return new Tree{{*shape, values, room, false}, Batch(*shape, room), Dropout(*shape, 0, -1)};
}
NO_MEMORY(nullptr)

// Logits (n, V) of n new nodes, numbered from `first` on, each the last of its path of T nodes. False: no memory.
API bool rungwise_grow(Tree* tree, const int* tokens, const int* nodes, int n, int T, int first, float* logits) TRY {
    tree->batch.grow(tokens, nodes, n, T, first);
    together(1, [&](Member& me) { tree->model.forward(me, tree->batch, tree->none); });
    const int V = tree->model.vocab_size();
    for (int i = 0; i < n; ++i) std::copy_n(tree->model.logits(i), V, logits + long(i) * V);
    return true;
}
NO_MEMORY(false)

API void rungwise_fell(Tree* tree) { delete tree; }

// What a thread needs to score: made before the threads begin.
struct Scorer {
    Model model;
    Batch batch;
    std::vector<float> nats;
    std::vector<unsigned char> correct;
    APART Scorer(const Shape& shape, const float* const* values, const Room& room)
        : model(shape, values, room, false), batch(shape, room), nats(room.rows), correct(room.rows) {}
    APART ~Scorer() {}
};

// -ln p of each target. Sorted, the words share nearly all their beginnings even if only a few dozen of them, whose
// activations stay in the cache, are together in a batch. Threads take whole batches, each with a model of its own.
// False: no memory.
API bool rungwise_score(const Shape* shape, const float* const* values, const int* inputs, const int* targets,
                        const int* lengths, int n, float* nats, unsigned char* correct, int threads) TRY {
    const int at_once = 128, batches = (n + at_once - 1) / at_once;
    std::vector<Sequence> words = unpack(inputs, targets, lengths, n);
    std::sort(words.begin(), words.end());
    const Room room(*shape, words, at_once);
    const Dropout none(*shape, 0, -1);
    std::vector<std::unique_ptr<Scorer>> scorers(std::max(1, std::min(threads, batches)));
    for (auto& scorer : scorers) scorer = std::make_unique<Scorer>(*shape, values, room);
    together(int(scorers.size()), [&](Member& me) {
        Scorer& own = *scorers[me.place()];
        me.each(batches, [&](int task) {
            const int from = task * at_once, count = std::min(at_once, n - from);
            own.batch.fill(&words[from], count);
            together(1, [&](Member& alone) {
                own.model.forward(alone, own.batch, none);
                own.model.loss(alone, own.batch, own.nats.data(), own.correct.data());
            });
            long at = 0;
            for (int i = from; i < from + count; at += words[i].length, ++i) {
                std::copy_n(&own.nats[at], words[i].length, nats + (words[i].targets - targets));
                std::copy_n(&own.correct[at], words[i].length, correct + (words[i].targets - targets));
            }
        });
    });
    return true;
}
NO_MEMORY(false)

}  // extern "C"
