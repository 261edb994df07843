// What test_sanitizers.py compiles with a sanitizer and runs: every part of the engine, in several threads, on words
// made up here. It prints nothing and ends with 0 where all threads agree; a sanitizer ends it otherwise.
#include "engine.cpp"

struct Words {
    std::vector<int> inputs, targets, lengths;
    Words(int n, int vocabulary, int longest, unsigned seed) {
        auto draw = [&](int below) { return int((seed = seed * 1664525u + 1013904223u) >> 8) % below; };
        for (int i = 0; i < n; ++i) {
            const int length = 1 + draw(longest);
            lengths.push_back(length);
            for (int t = 0, token = 0; t < length; ++t) {
                inputs.push_back(token);
                targets.push_back(token = draw(vocabulary));
            }
        }
    }
};

struct Arrays {  // tensors of a model, and pointers to them
    std::vector<std::vector<float>> tensors;
    std::vector<float*> pointers;
    Arrays(const Shape& shape, bool zero) {
        // One block of memory stands for every tensor: the model only reads it to lay out its own.
        const std::vector<float> block(1 << 16);
        const std::vector<const float*> all(256, block.data());
        const Words words(1, 2, 1, 1);
        const Room room(shape, unpack(words.inputs.data(), words.targets.data(), words.lengths.data(), 1), 1);
        const Model model(shape, all.data(), room, false);
        unsigned seed = 7;
        for (const Tensor& t : model.parameters.tensors) {
            tensors.emplace_back(size_t(t.rows) * t.columns);
            for (float& x : tensors.back())
                x = zero ? 0 : float(int((seed = seed * 1664525u + 1013904223u) >> 8) % 2001 - 1000) / 5000;
        }
        for (auto& tensor : tensors) pointers.push_back(tensor.data());
    }
};

static std::vector<std::vector<float>> everything(const Shape& shape, int threads, int bf16) {
    const int batch = 7, steps = 3;
    const double rates[steps] = {1e-3, 2e-3, 1e-3};
    const Recipe muon{1, 0, nullptr, nullptr};
    const Optimiser optimiser{0.9, 0.99, 0.01, 0.5};
    const Words words(batch * steps, shape.vocab_size, 13, 3), scored(300, shape.vocab_size, 13, 5);
    Arrays values(shape, false), first(shape, true), second(shape, true), gradients(shape, true);
    std::vector<double> losses(steps);
    rungwise_train(&shape, &optimiser, values.pointers.data(), first.pointers.data(), second.pointers.data(),
                   words.inputs.data(), words.targets.data(), words.lengths.data(), batch, 0, steps, rates, 11,
                   losses.data(), shape.final_norm ? &muon : nullptr, threads, bf16);
    rungwise_gradients(&shape, values.pointers.data(), words.inputs.data(), words.targets.data(), words.lengths.data(),
                       batch, 2, 11, gradients.pointers.data(), threads, bf16);
    std::vector<float> nats(scored.inputs.size());
    std::vector<unsigned char> correct(scored.inputs.size());
    rungwise_score(&shape, values.pointers.data(), scored.inputs.data(), scored.targets.data(), scored.lengths.data(),
                   int(scored.lengths.size()), nats.data(), correct.data(), threads);
    const int rows = 3, length = 4;
    Tree* tree = rungwise_tree(&shape, values.pointers.data(), rows, length, rows * length);
    std::vector<float> logits(size_t(rows) * shape.vocab_size);
    const int tokens[rows] = {1, 0, 1}, roots[rows] = {0, 1, 2}, paths[2 * rows] = {0, 3, 1, 4, 1, 5};
    rungwise_grow(tree, tokens, roots, rows, 1, 0, logits.data());
    rungwise_grow(tree, tokens, paths, rows, 2, rows, logits.data());
    rungwise_fell(tree);
    std::vector<std::vector<float>> found = values.tensors;
    found.insert(found.end(), gradients.tensors.begin(), gradients.tensors.end());
    found.push_back(nats), found.push_back(logits), found.emplace_back(losses.begin(), losses.end());
    return found;
}

int main() {
    const Shape shapes[] = {
        {29, 2, 3, 37, 14, 111, Activation::gelu, Normalisation::layernorm, Position::rope, 0, 1, 1, 0, 1, 0, 13107,
         13107},
        {31, 2, 2, 23, 16, 44, Activation::swiglu, Normalisation::rmsnorm, Position::learned, 17, 1, 1, 1, 1, 1, 6554,
         6554},
        {13, 2, 3, 63, 21, 0, Activation::none, Normalisation::none, Position::none, 0, 0, 0, 0, 0, 0, 0, 0},
        {27, 1, 4, 16, 4, 64, Activation::relu, Normalisation::rmsnorm, Position::rope, 0, 1, 1, 1, 0, 0, 0, 0},
        {29, 3, 1, 37, 37, 111, Activation::gelu, Normalisation::layernorm, Position::none, 0, 1, 1, 0, 1, 0, 13107,
         13107, Family::gru},
        {29, 1, 1, 23, 23, 0, Activation::none, Normalisation::none, Position::none, 0, 0, 0, 0, 1, 0, 0, 0,
         Family::lstm},
        {31, 2, 1, 23, 21, 0, Activation::none, Normalisation::rmsnorm, Position::none, 0, 1, 1, 0, 1, 0, 0, 0,
         Family::mlp, 4},
    };
    for (const Shape& shape : shapes)
        for (int bf16 = 0; bf16 <= rungwise_has_bf16(); ++bf16) {
            const auto alone = everything(shape, 1, bf16);
            for (int threads : {2, 5})
                if (everything(shape, threads, bf16) != alone) return 1;
        }
    return 0;
}
