// Functional model of one Ascend 910B vector core, part 1: memories, pipes, blocks, violations. Own code, written from public
// documentation; nothing of the vendor's is in it. The parts are joined in order by evaluator/toolchain_ascend.py.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <exception>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __aicore__
#define KERNEL_TASK_TYPE_DEFAULT(type)
#define GM_ADDR kwsim::Gm<uint8_t>

typedef _Float16 half;

struct bfloat16_t {  // on 910B a storage type: vector instructions take it in Cast and copies only
  uint16_t bits;
};

enum pipe_t { PIPE_S, PIPE_V, PIPE_MTE2, PIPE_MTE3, PIPE_ALL, PIPE_M, PIPE_MTE1, PIPE_FIX };

namespace kwsim {

constexpr int64_t kUnified = 196608;  // bytes of the unified buffer (UB) of a 910B vector core
constexpr int64_t kBlock = 32;        // bytes of a UB block: alignment of copies and vector operands
constexpr int64_t kRepeat = 256;      // bytes of one repeat of a vector instruction
constexpr int kPipes = 4;
constexpr uint64_t kSpace = 0x5A5Aull << 48;  // global memory lies at addresses that no host pointer can have

struct Violation {};

struct Clock {  // of one pipe: for each pipe, up to which instruction of it everything is known to be done
  uint64_t at[kPipes] = {};
  void join(const Clock& other) {
    for (int p = 0; p < kPipes; ++p) at[p] = std::max(at[p], other.at[p]);
  }
};

struct Cell {  // one 32-byte block of UB: its last write, and its last read by each pipe
  uint64_t written = 0, read[kPipes] = {};
  int writer = PIPE_S;
};

enum State { kFree, kAllocated, kQueued, kDequeued, kScratch };

struct Buffer {  // what one InitBuffer gave: a queue's slot, or a TBuf
  int64_t start, bytes;
  State state;
  uint32_t generation = 0;
  Clock queued, freed;
};

struct Given {  // of the launcher: one tensor
  uint8_t* data;
  int64_t bytes;
};

struct Region {
  uint8_t* data;
  int64_t bytes;
  std::vector<uint16_t> writer, reader;  // block + 1 that touched a byte; kSeveral: many, or atomically
  std::vector<uint32_t> stored;          // instruction that wrote a byte last, of those of a launch
};
constexpr uint16_t kSeveral = 0xFFFF;

struct Core {
  alignas(64) uint8_t ub[kUnified];
  Cell cells[kUnified / kBlock];
  Clock clocks[kPipes];
  uint64_t now = 0;
  std::vector<Buffer> buffers;
  int64_t used = 0;
  std::vector<Region> regions;
  int64_t block = 0, blocks = 1;
  bool atomic = false;
  Clock flags[kPipes][kPipes][8];
  bool raised[kPipes][kPipes][8] = {};
  int vecin = 0, vecout = 0;
  void* pipe = nullptr;
  bool failed = false;
  char message[600];
};
inline Core& core() {
  static Core* made = new Core();
  return *made;
}
inline const char* pipe_name(int p) {
  static const char* const names[] = {"S", "V", "MTE2", "MTE3"};
  return names[p];
}

inline void note(const char* api, const char* format, va_list more) {  // the first one is the one worth reading
  Core& c = core();
  if (c.failed) return;
  c.failed = true;
  int used = std::snprintf(c.message, sizeof c.message, "block %lld: %s: ", static_cast<long long>(c.block), api);
  std::vsnprintf(c.message + used, sizeof c.message - used, format, more);
}
[[noreturn]] __attribute__((format(printf, 2, 3))) inline void fail(const char* api, const char* format, ...) {
  va_list more;
  va_start(more, format);
  note(api, format, more);
  va_end(more);
  throw Violation();
}
__attribute__((format(printf, 2, 3))) inline void fail_late(const char* api, const char* format, ...) {  // from a destructor
  va_list more;
  va_start(more, format);
  note(api, format, more);
  va_end(more);
}
inline long long ll(int64_t value) { return static_cast<long long>(value); }

template <class T, class... U>
constexpr bool one_of = (std::is_same_v<T, U> || ...);
template <class T>
constexpr bool modelled = one_of<T, half, bfloat16_t, float, int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t>;

inline float widen(float x) { return x; }
inline float widen(half x) { return static_cast<float>(x); }
inline float widen(bfloat16_t x) {
  uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
template <class T, std::enable_if_t<std::is_integral_v<T>, int> = 0>
T widen(T x) { return x; }

inline bfloat16_t to_bf16(float f) {  // to nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if (std::isnan(f)) return {static_cast<uint16_t>((bits >> 16) | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)};
}
template <class T, class V>
T narrow(V x) {
  if constexpr (std::is_same_v<T, bfloat16_t>) return to_bf16(static_cast<float>(x));
  else return static_cast<T>(x);
}

// Instructions in order of issue, and which pipe may take what for done.

inline uint64_t issue(int pipe) {
  Core& c = core();
  return c.clocks[pipe].at[pipe] = ++c.now;
}
inline void order(int from, int to, const Clock& upto) {
  Core& c = core();
  if (to == PIPE_S) {  // the scalar unit issues for all: what it waited for is done for whatever comes next
    for (Clock& clock : c.clocks) clock.join(upto);
  } else {
    c.clocks[to].join(upto);
  }
  (void)from;
}
inline bool done(int writer, uint64_t when, int pipe) { return writer == pipe || when <= core().clocks[pipe].at[writer]; }

inline void hazard(const char* api, const char* what, int from, int to) {
  const char* a = pipe_name(from);
  const char* b = pipe_name(to);
  fail(api, "%s on pipe %s what pipe %s may still be working on; order them by EnQue/DeQue (FreeTensor/AllocTensor), by "
            "SetFlag/WaitFlag<HardEvent::%s_%s> or by PipeBarrier<PIPE_ALL>()", what, b, a, a, b);
}
inline void touch(const char* api, int64_t start, int64_t bytes, int pipe, bool write, uint64_t when) {
  Core& c = core();
  for (int64_t i = start / kBlock; i <= (start + bytes - 1) / kBlock; ++i) {
    Cell& cell = c.cells[i];
    if (!done(cell.writer, cell.written, pipe)) hazard(api, write ? "overwrites" : "reads", cell.writer, pipe);
    if (write) {
      for (int p = 0; p < kPipes; ++p)
        if (!done(p, cell.read[p], pipe)) hazard(api, "overwrites", p, pipe);
      cell.written = when;
      cell.writer = pipe;
    } else if (pipe != PIPE_S) {  // a scalar that was read is in a register when the next instruction is issued
      cell.read[pipe] = when;
    }
  }
}

// Global memory: bounds of the tensors that were passed, and blocks that touch what another one writes.

inline uint64_t address_of(int64_t region) { return kSpace | (static_cast<uint64_t>(region + 1) << 40); }

inline void shadow(const char* api, Region& r, int64_t region, int64_t offset, int64_t bytes, bool write, bool atomic) {
  Core& c = core();
  if (c.blocks == 1) return;
  if (r.writer.empty()) r.writer.resize(r.bytes), r.reader.resize(r.bytes);
  const uint16_t own = static_cast<uint16_t>(c.block + 1);
  for (int64_t i = offset; i < offset + bytes; ++i) {
    uint16_t& w = r.writer[i];
    uint16_t& seen = r.reader[i];
    const bool alien = w != 0 && w != own && !(atomic && w == kSeveral);
    if (alien || (write && seen != 0 && seen != own)) {
      const uint16_t who = alien ? w : seen;
      char other[24] = "another block";
      if (who != kSeveral) std::snprintf(other, sizeof other, "block %d", who - 1);
      fail(api, "race: byte %lld of tensor %lld is %s here and %s by %s; blocks run in no order, so each byte that is written "
                "belongs to one block (or is added to atomically)", ll(i), ll(region), write ? "written" : "read",
           alien ? "written" : "read", other);
    }
    if (write) w = atomic ? kSeveral : own;
    else seen = seen == 0 || seen == own ? own : kSeveral;
  }
}
inline void stored(const char* api, Region& r, int64_t offset, int64_t bytes, int pipe) {  // what a block reads back
  Core& c = core();
  if (pipe == PIPE_MTE3) {
    if (r.stored.empty()) r.stored.resize(r.bytes);
    std::fill_n(r.stored.begin() + offset, bytes, static_cast<uint32_t>(c.now));
  } else if (!r.stored.empty()) {
    for (int64_t i = offset; i < offset + bytes; ++i)
      if (!done(PIPE_MTE3, r.stored[i], pipe)) hazard(api, "reads from global memory", PIPE_MTE3, pipe);
  }
}
inline uint8_t* global(const char* api, uint64_t address, int64_t bytes, int pipe, bool atomic = false) {
  const bool write = pipe == PIPE_MTE3;
  Core& c = core();
  const int64_t region = static_cast<int64_t>((address >> 40) & 0xFF) - 1;
  if ((address >> 48) != (kSpace >> 48) || region < 0 || region >= static_cast<int64_t>(c.regions.size()))
    fail(api, "this address of global memory lies in no tensor that was passed (null, or far out of bounds)");
  Region& r = c.regions[region];
  const int64_t offset = static_cast<int64_t>(address - address_of(region));
  if (offset < 0 || offset + bytes > r.bytes)
    fail(api, "out of bounds of global memory: bytes [%lld, %lld) of tensor %lld, which has %lld; use DataCopyPad for a tail",
         ll(offset), ll(offset + bytes), ll(region), ll(r.bytes));
  shadow(api, r, region, offset, bytes, write, atomic);
  stored(api, r, offset, bytes, pipe);
  return r.data + offset;
}

// What a source writes as `__gm__ T*`: an address that can be moved and read by the scalar unit, never a pointer of the host.
template <class T>
struct Gm {
  uint64_t at = 0;
  Gm() = default;
  Gm(std::nullptr_t) {}
  explicit Gm(uint64_t address) : at(address) {}
  template <class U>
  explicit Gm(const Gm<U>& other) : at(other.at) {}
  struct Loaded {
    T value;
    const T* operator->() const { return &value; }
  };
  T operator[](int64_t i) const {
    T value;
    std::memcpy(static_cast<void*>(&value), global("a read through a __gm__ pointer", at + i * sizeof(T), sizeof(T), PIPE_S), sizeof(T));
    return value;
  }
  T operator*() const { return (*this)[0]; }
  Loaded operator->() const { return {(*this)[0]}; }
  Gm operator+(int64_t n) const { return Gm(at + n * sizeof(T)); }
  Gm operator-(int64_t n) const { return Gm(at - n * sizeof(T)); }
  Gm& operator+=(int64_t n) { return *this = *this + n; }
  Gm& operator++() { return *this += 1; }
  bool operator==(const Gm& other) const { return at == other.at; }
  bool operator!=(const Gm& other) const { return at != other.at; }
  explicit operator uint64_t() const { return at; }
};
struct Key {  // what only the model itself can give: a source cannot say its name
  explicit Key(int) {}
};

// A launch: the blocks one after another, forwards or backwards.

struct Launch {
  int64_t blocks, backwards, tensors;
  const Given* given;
  char* message;
  int64_t capacity;
};

inline void begin_block(int64_t block) {
  Core& c = core();
  std::memset(c.ub, 0xFF, sizeof c.ub);  // uninitialised: NaN in half, bfloat16 and float, -1 in integers
  std::fill(std::begin(c.cells), std::end(c.cells), Cell());
  for (Clock& clock : c.clocks)
    for (uint64_t& upto : clock.at) upto = c.now;  // the blocks before are done
  for (auto& from : c.raised) for (auto& to : from) for (bool& flag : to) flag = false;
  c.buffers.clear();
  c.used = c.vecin = c.vecout = 0;
  c.block = block;
  c.atomic = false;
  c.pipe = nullptr;
}
inline void check_leaks() {
  for (const Buffer& b : core().buffers)
    if (b.state == kAllocated || b.state == kQueued || b.state == kDequeued)
      return fail_late("TPipe", "a tensor of %lld bytes at UB offset %lld was %s and never freed when the kernel ends: FreeTensor is "
                       "missing", ll(b.bytes), ll(b.start), b.state == kQueued ? "put in its queue" : "allocated");
}
inline void end_block() {
  Core& c = core();
  check_leaks();
  for (int from = 0; from < kPipes; ++from)
    for (int to = 0; to < kPipes; ++to)
      for (bool flag : c.raised[from][to])
        if (flag) fail_late("SetFlag", "HardEvent::%s_%s was set and never waited for when the kernel ends", pipe_name(from), pipe_name(to));
  if (c.atomic) fail_late("SetAtomicAdd", "still on when the kernel ends: SetAtomicNone() is missing");
}
template <class Body>
int run(const Launch& launch, Body body) {
  Core& c = core();
  c.failed = false;
  c.blocks = launch.blocks;
  c.regions.clear();
  c.now = 0;
  for (int64_t i = 0; i < launch.tensors; ++i) c.regions.push_back({launch.given[i].data, launch.given[i].bytes, {}, {}, {}});
  for (int64_t i = 0; i < launch.blocks && !c.failed; ++i) {
    begin_block(launch.backwards ? launch.blocks - 1 - i : i);
    try {
      body();
      end_block();
    } catch (const Violation&) {
    } catch (const std::exception& error) {
      fail_late("kernel", "%s", error.what());
    }
  }
  if (c.failed) std::snprintf(launch.message, launch.capacity, "%s", c.message);
  return c.failed ? 1 : 0;
}

}  // namespace kwsim
