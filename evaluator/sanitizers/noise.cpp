// Delays between a kernel's memory accesses, so that races show in its outputs.
//
// g++ -fsanitize=thread puts a call before every access. Here those calls are not ThreadSanitizer's (which accuses
// correct OpenMP) but ours: now and then they let another thread go first. A correct kernel computes what it computes
// anyway; a lost update becomes likely. Atomic operations, which are calls too, are carried out as they were written.
#include <sched.h>
#include <time.h>
#include <cstdint>
#include <cstring>

namespace {
constexpr uint32_t kSleeps = 6000;   // a thread, each about 60 us
constexpr uint32_t kBurst = 6;       // a delay soon after a function begins: threads of a team start one by one
constexpr uint32_t kPeriod = 256;    // accesses from a delay to the next, at most; longer as the sleeps are spent
constexpr uint32_t kSpent = 1000;
constexpr uint32_t kWaits = 1200;    // a thread, where another one wrote: 60 us each, one in 24 of them 4 ms

struct Noise {
  uint32_t countdown = 3, period = 8, slept = 0, waited = 0, state = 0;
  uint32_t next() {
    if (!state) state = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(this) >> 4) | 1u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
  }
  void delay() {
    countdown = 1 + next() % period;
    if (period < kPeriod << (slept / kSpent)) period += 1 + period / 16;
    if (slept < kSleeps && next() % 2) {
      ++slept;
      timespec moment = {0, 1000};
      nanosleep(&moment, nullptr);
    } else {
      sched_yield();
    }
  }
};
thread_local Noise noise;

// Who wrote where last, as far as it is remembered: an address that another thread wrote is one where an update may get lost.
constexpr uint32_t kPlaces = 1u << 16;
struct Place {
  uintptr_t address;
  const Noise* writer;
};
Place places[kPlaces];  // written without order on purpose: what is missed costs a delay

inline void access(const volatile void* p = nullptr, bool writes = false) {
  if (--noise.countdown == 0) noise.delay();
  if (p == nullptr) return;
  const uintptr_t address = reinterpret_cast<uintptr_t>(p);
  Place& place = places[(address >> 2) % kPlaces];
  const bool shared = place.address == address && place.writer != &noise;
  if (writes) place = {address, &noise};
  if (shared && noise.waited < kWaits) {
    ++noise.waited;
    // The call comes before the access: a wait ahead of a write is one between reading and writing, and what others write
    // meanwhile is lost. Now and then long, so that a thread that comes behind passes by.
    timespec moment = {0, noise.next() % 24 == 0 ? 4000000 : 1000};
    nanosleep(&moment, nullptr);
  }
}
}  // namespace

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {
  if (noise.slept < kSleeps && noise.next() % 4 == 0) noise.countdown = 1 + noise.next() % kBurst;
}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_read_range(void* p, unsigned long) { access(p, false); }
void __tsan_write_range(void* p, unsigned long) { access(p, true); }
#define ACCESS(size)                                       \
  void __tsan_read##size(void* p) { access(p, false); }              \
  void __tsan_write##size(void* p) { access(p, true); }             \
  void __tsan_unaligned_read##size(void* p) { access(p, false); }    \
  void __tsan_unaligned_write##size(void* p) { access(p, true); }   \
  void __tsan_volatile_read##size(void* p) { access(p, false); }     \
  void __tsan_volatile_write##size(void* p) { access(p, true); }    \
  void __tsan_read_write##size(void* p) { access(p, true); }
ACCESS(1) ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16)
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }
#define FETCH(bits, type, name)                                             \
  type __tsan_atomic##bits##_fetch_##name(volatile type* p, type v, int) { \
    access();                                                               \
    return __atomic_fetch_##name(p, v, __ATOMIC_SEQ_CST);                   \
  }
#define ATOMIC(bits, type)                                                                                  \
  type __tsan_atomic##bits##_load(const volatile type* p, int) {                                            \
    access();                                                                                               \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                            \
  }                                                                                                         \
  void __tsan_atomic##bits##_store(volatile type* p, type v, int) {                                         \
    access();                                                                                               \
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                               \
  }                                                                                                         \
  type __tsan_atomic##bits##_exchange(volatile type* p, type v, int) {                                      \
    access();                                                                                               \
    return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                                     \
  }                                                                                                         \
  FETCH(bits, type, add) FETCH(bits, type, sub) FETCH(bits, type, and) FETCH(bits, type, or)                \
  FETCH(bits, type, xor) FETCH(bits, type, nand)                                                            \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile type* p, type* seen, type v, int, int) {       \
    access();                                                                                               \
    return __atomic_compare_exchange_n(p, seen, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);              \
  }                                                                                                         \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile type* p, type* seen, type v, int, int) {         \
    access();                                                                                               \
    return __atomic_compare_exchange_n(p, seen, v, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);               \
  }                                                                                                         \
  type __tsan_atomic##bits##_compare_exchange_val(volatile type* p, type seen, type v, int, int) {          \
    access();                                                                                               \
    __atomic_compare_exchange_n(p, &seen, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                    \
    return seen;                                                                                            \
  }
ATOMIC(8, uint8_t) ATOMIC(16, uint16_t) ATOMIC(32, uint32_t) ATOMIC(64, uint64_t)
}  // extern "C"
