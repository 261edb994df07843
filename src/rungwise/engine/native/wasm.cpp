// engine.cpp for a browser. The module imports nothing, so what C++ does in trouble is a trap.
#include <cstddef>
#include <cstdlib>
#include <new>
#include <version>

namespace std {
inline namespace __1 {
[[noreturn]] void __libcpp_verbose_abort(char const*, ...) noexcept { __builtin_trap(); }
} // namespace __1
} // namespace std

static void* found(void* block) {
    if (!block) __builtin_trap();  // no memory left
    return block;
}
void* operator new(size_t n) { return found(std::malloc(n)); }
void* operator new(size_t n, std::align_val_t align) {
    const size_t a = size_t(align);
    return found(std::aligned_alloc(a, (n + a - 1) / a * a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }

#include "engine.cpp"

extern "C" {
void* rungwise_take(size_t n) { return found(std::malloc(n)); }
void rungwise_free(void* p) { std::free(p); }
}
