// The engine as a shared library: engine.cpp, and what the library says of itself.
#include "engine.cpp"

#if defined(RUNGWISE_SHIPPED)
// A library for everybody has C++'s own library inside. Its operators for memory would be seen from outside, and found
// there first, and on macOS they need version 10.15; so these take their place.
#include <cstdlib>
#if defined(_WIN32)
#include <malloc.h>
static void* aligned(size_t n, size_t to) { return _aligned_malloc(n, to); }
static void release(void* p) { _aligned_free(p); }
#else
static void* aligned(size_t n, size_t to) {
    void* p = nullptr;
    return posix_memalign(&p, to, n) ? nullptr : p;
}
static void release(void* p) { std::free(p); }
#endif
#if defined(__APPLE__)
extern "C" __attribute__((visibility("hidden"))) void* aligned_alloc(size_t to, size_t n) { return aligned(n, to); }
#endif

static void* found(void* p) {
#if defined(__cpp_exceptions)
    if (!p) throw std::bad_alloc();
#else
    if (!p) std::abort();
#endif
    return p;
}
void* operator new(size_t n) { return found(std::malloc(n ? n : 1)); }
void* operator new(size_t n, std::align_val_t to) { return found(aligned(n ? n : 1, size_t(to))); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { release(p); }
#endif

extern "C" {

// The vectors that it was compiled for.
API const char* rungwise_vectors() {
#if defined(__AVX512F__)
    return "AVX-512";
#elif defined(__AVX2__)
    return "AVX2";
#elif defined(__SSE4_2__)
    return "SSE4.2";
#elif defined(__x86_64__)
    return "SSE2";
#elif defined(__ARM_NEON)
    return "NEON";
#else
    return "no vectors";
#endif
}

}  // extern "C"

#if defined(__x86_64__)
#include <cpuid.h>

static bool all(unsigned word, std::initializer_list<int> bits) {
    for (int bit : bits)
        if (!(word >> bit & 1)) return false;
    return true;
}

// The highest level of the x86-64 psABI, 1 to 4, that this processor and its system can run: what the processor has
// (cpuid), and which registers the system saves (xgetbv).
extern "C" API int rungwise_level() {
    unsigned a, b, c, d, basic, extended = 0;
    if (!__get_cpuid(1, &a, &b, &basic, &d) || !all(basic, {0, 9, 13, 19, 20, 23})) return 1;  // SSE3 ... POPCNT
    if (!all(basic, {27}) || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 2;  // no xgetbv
    unsigned saved, high, unused;
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    __get_cpuid(0x80000001, &a, &unused, &extended, &d);
    const bool avx2 = all(basic, {12, 22, 28, 29}) && all(b, {3, 5, 8}) && all(extended, {5});  // FMA ... LZCNT
    if (!avx2 || !all(saved, {1, 2})) return 2;
    return all(b, {16, 17, 28, 30, 31}) && all(saved, {5, 6, 7}) ? 4 : 3;  // AVX-512 F, DQ, CD, BW, VL
}
#endif
