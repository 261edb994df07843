// Trains and scores once, for a processor that is emulated (test_foreign.py): numbers come in and go out as bytes.
#include "library.cpp"

#include <cstdio>
#if defined(_WIN32)
#include <fcntl.h>
#include <io.h>
#endif

namespace std {
inline namespace __1 {
[[noreturn]] void __libcpp_verbose_abort(char const*, ...) noexcept { __builtin_trap(); }
} // namespace __1
} // namespace std

template <class T>
static std::vector<T> take(size_t n) {
    std::vector<T> found(n);
    if (std::fread(found.data(), sizeof(T), n, stdin) != n) std::abort();
    return found;
}

template <class T>
static void give(const std::vector<T>& values) {
    std::fwrite(values.data(), sizeof(T), values.size(), stdout);
}

static std::vector<float*> parts(std::vector<float>& all, const std::vector<int>& sizes) {
    std::vector<float*> found;
    size_t at = 0;
    for (int size : sizes) found.push_back(&all[at]), at += size;
    return found;
}

int main() {
#if defined(_WIN32)
    _setmode(_fileno(stdin), _O_BINARY), _setmode(_fileno(stdout), _O_BINARY);
#endif
    const auto shape = take<int32_t>(19);
    const auto optimiser = take<double>(4);
    const auto numbers = take<int>(5);  // tensors, their elements, steps, words a step, tokens of a step
    const int tensors = numbers[0], elements = numbers[1], steps = numbers[2], batch = numbers[3], tokens = numbers[4];
    const auto sizes = take<int>(tensors);
    const auto where = take<uint64_t>(2);  // the first step, the key of dropout
    const auto rates = take<double>(steps);
    const auto inputs = take<int>(steps * tokens), targets = take<int>(steps * tokens),
               lengths = take<int>(steps * batch);
    auto weights = take<float>(elements), first = take<float>(elements), second = take<float>(elements);
    const auto* of = reinterpret_cast<const Shape*>(shape.data());
    const auto tables = parts(weights, sizes), firsts = parts(first, sizes), seconds = parts(second, sizes);

    std::vector<float> nats(tokens);
    std::vector<unsigned char> correct(tokens);
    std::vector<double> losses(steps);
    if (!rungwise_score(of, tables.data(), inputs.data(), targets.data(), lengths.data(), batch, nats.data(),
                        correct.data(), 1))
        return 1;
    if (!rungwise_train(of, reinterpret_cast<const Optimiser*>(optimiser.data()), tables.data(), firsts.data(),
                        seconds.data(), inputs.data(), targets.data(), lengths.data(), batch, long(where[0]), steps,
                        rates.data(), where[1], losses.data(), nullptr, 2, 0))
        return 1;
    give(nats), give(losses), give(weights), give(first), give(second);
#if defined(__x86_64__)
    std::fprintf(stderr, "v%d %s", rungwise_level(), rungwise_vectors());
#else
    std::fprintf(stderr, "%s", rungwise_vectors());
#endif
}
