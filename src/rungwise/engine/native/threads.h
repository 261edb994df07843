// The threads that take a step together.
//
// Every thread runs the same functions. Its work comes in phases, between two waits of all: a phase has rows, of which
// each member has its own, then tasks, of which each takes the next one that nobody has. Who does what decides no
// result: each number is computed by one member, its sum in one order. So any number of threads gives the same bits.
//
// Threads live as long as one call from Python. One that waits spins for some microseconds, as the others mostly
// arrive within one, and then sleeps, so that other programs and further threads find a core. Plain system calls, so
// that the library needs no C++ run-time; a browser's module has one thread and nothing of this.
#pragma once

#include <algorithm>
#include <vector>

#include "matrix.h"

#if defined(__wasm__)
constexpr bool ALONE = true;

class Team {
public:
    int size() const { return 1; }
    int take() { return 0; }
    void wait() {}
};

#else
constexpr bool ALONE = false;

#include <atomic>
#if defined(_WIN32)
#define NOMINMAX
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

class Thread {
public:
    bool start(void (*run)(void*), void* with) {
        run_ = run, with_ = with;
        return handle_ = CreateThread(nullptr, 0, &begin, this, 0, nullptr);
    }
    void join() { WaitForSingleObject(handle_, INFINITE), CloseHandle(handle_); }

private:
    static DWORD WINAPI begin(void* self) {
        static_cast<Thread*>(self)->run_(static_cast<Thread*>(self)->with_);
        return 0;
    }
    void (*run_)(void*);
    void* with_;
    HANDLE handle_;
};

class Sleep {  // a lock, and those who sleep until they are woken
public:
    void lock() { AcquireSRWLockExclusive(&lock_); }
    void unlock() { ReleaseSRWLockExclusive(&lock_); }
    void sleep() { SleepConditionVariableSRW(&woken_, &lock_, INFINITE, 0); }
    void wake() { WakeAllConditionVariable(&woken_); }

private:
    SRWLOCK lock_ = SRWLOCK_INIT;
    CONDITION_VARIABLE woken_ = CONDITION_VARIABLE_INIT;
};

#else
#include <pthread.h>

class Thread {
public:
    bool start(void (*run)(void*), void* with) {
        run_ = run, with_ = with;
        return pthread_create(&thread_, nullptr, &begin, this) == 0;
    }
    void join() { pthread_join(thread_, nullptr); }

private:
    static void* begin(void* self) {
        static_cast<Thread*>(self)->run_(static_cast<Thread*>(self)->with_);
        return nullptr;
    }
    void (*run_)(void*);
    void* with_;
    pthread_t thread_;
};

class Sleep {  // a lock, and those who sleep until they are woken
public:
    void lock() { pthread_mutex_lock(&lock_); }
    void unlock() { pthread_mutex_unlock(&lock_); }
    void sleep() { pthread_cond_wait(&woken_, &lock_); }
    void wake() { pthread_cond_broadcast(&woken_); }

private:
    pthread_mutex_t lock_ = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t woken_ = PTHREAD_COND_INITIALIZER;
};

#endif

INLINE void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb");
#endif
}

// Where its members meet, and what hands out their tasks.
class Team {
public:
    int size() const { return size_; }
    int take() { return task_.fetch_add(1, std::memory_order_relaxed); }

    // Until all have come; tasks are numbered from 0 again.
    void wait() {
        const unsigned turn = turn_.load();
        if (arrived_.fetch_add(1) + 1 == size_) {
            arrived_.store(0), task_.store(0);
            turn_.store(turn + 1);
            if (asleep_.load()) {  // whoever goes to sleep later has seen the new turn
                sleep_.lock();
                sleep_.wake();
                sleep_.unlock();
            }
            return;
        }
        for (int i = 0; i < SPINS; ++i) {
            if (turn_.load(std::memory_order_acquire) != turn) return;
            pause();
        }
        sleep_.lock();
        ++asleep_;
        while (turn_.load() == turn) sleep_.sleep();
        --asleep_;
        sleep_.unlock();
    }

    // The members wait until it is known how many they are.
    void begin(int size) {
        sleep_.lock();
        size_ = size;
        sleep_.wake();
        sleep_.unlock();
    }
    void enter() {
        sleep_.lock();
        while (!size_) sleep_.sleep();
        sleep_.unlock();
    }

private:
    static constexpr int SPINS = 2000;
    int size_ = 0;
    alignas(64) std::atomic<int> arrived_{0}, asleep_{0};
    alignas(64) std::atomic<unsigned> turn_{0};
    alignas(64) std::atomic<int> task_{0};
    Sleep sleep_;
};

#endif

// One of the threads, as the functions of a step see it.
class Member {
public:
    Member(Team* team, int place) : team_(team), place_(place), size_(team ? team->size() : 1) {}
    int place() const { return ALONE ? 0 : place_; }
    int size() const { return ALONE ? 1 : size_; }

    // The end of a phase: what was written before, all may read.
    void wait() {
        if (size() > 1) team_->wait();
        before_ = 0, mine_ = -1;
    }

    // This member's own rows of n, in whole tiles.
    Part rows(int n) const {
        if (size() == 1) return Part::all(n);
        const long tiles = (n + TILE_ROWS - 1) / TILE_ROWS;
        auto edge = [&](long i) { return int(std::min<long>(n, tiles * i / size_ * TILE_ROWS)); };
        return {edge(place_), edge(place_ + 1)};
    }

    // Does this member take care of the i-th of some things of like size?
    bool has(long i) const { return i % size() == place(); }

    // The next n tasks of the phase: work(i) for those that this member gets.
    template <class Work>
    void each(int n, const Work& work) {
        if (size() == 1) {
            for (int i = 0; i < n; ++i) work(i);
            return;
        }
        if (mine_ < 0) mine_ = team_->take();
        for (; mine_ < before_ + n; mine_ = team_->take()) work(mine_ - before_);
        before_ += n;
    }
    template <class Work>
    void one(const Work& work) {
        each(1, [&](int) { work(); });
    }

private:
    Team* team_;
    int place_, size_;
    int before_ = 0, mine_ = -1;  // tasks of earlier calls in this phase; the number of the next one of this member
};

// Any function without arguments, called where its type is not known.
class Task {
public:
    template <class Work>
    Task(const Work& work) : work_(&work), run_([](const void* w) { (*static_cast<const Work*>(w))(); }) {}
    void operator()() const { run_(work_); }

private:
    const void* work_;
    void (*run_)(const void*);
};

// work(member) in so many threads, or in as many as the system starts.
template <class Work>
static void together(int threads, const Work& work) {
#if !defined(__wasm__)
    struct Helper {
        Team* team;
        const Work* work;
        int place;
        Thread thread;
    };
    if (threads > 1) {
        Team team;
        std::vector<Helper> helpers(threads - 1);
        int size = 1;
        auto run = [](void* with) {
            Helper& helper = *static_cast<Helper*>(with);
            helper.team->enter();
            Member member(helper.team, helper.place);
            (*helper.work)(member);
        };
        for (Helper& helper : helpers) {
            helper.team = &team, helper.work = &work, helper.place = size;
            if (!helper.thread.start(run, &helper)) break;
            ++size;
        }
        team.begin(size);
        Member member(&team, 0);
        work(member);
        for (int i = 0; i + 1 < size; ++i) helpers[i].thread.join();
        return;
    }
#endif
    Member alone(nullptr, 0);
    work(alone);
}
