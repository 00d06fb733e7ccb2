// Part 2: global and local tensors, queues, the pipe, flags between pipes.

namespace AscendC {

enum class TPosition { GM, VECIN, VECOUT, VECCALC, A1, B1, C1, A2, B2, C2, CO1, CO2, TSCM };
using QuePosition = TPosition;
using TEventID = int8_t;
using event_t = int8_t;

inline int64_t GetBlockIdx() { return kwsim::core().block; }
inline int64_t GetBlockNum() { return kwsim::core().blocks; }
inline float ToFloat(const bfloat16_t& x) { return kwsim::widen(x); }
inline bfloat16_t ToBfloat16(const float& x) { return kwsim::to_bf16(x); }

template <class T>
class GlobalTensor {
  static_assert(kwsim::modelled<T>, "GlobalTensor: this element type is not modelled");
  uint64_t address_ = 0;
  uint64_t size_ = 0;

 public:
  using PrimType = T;
  void SetGlobalBuffer(kwsim::Gm<T> buffer, uint64_t size = 0) {
    address_ = buffer.at;
    size_ = size;
  }
  GlobalTensor operator[](uint64_t offset) const {
    GlobalTensor moved = *this;
    moved.address_ += offset * sizeof(T);
    return moved;
  }
  T GetValue(uint64_t offset) const {
    T value;
    std::memcpy(&value, kwsim::global("GlobalTensor::GetValue", address_ + offset * sizeof(T), sizeof(T), PIPE_S), sizeof(T));
    return value;
  }
  T operator()(uint64_t offset) const { return GetValue(offset); }
  template <class U = T>
  void SetValue(uint64_t, U) const {
    static_assert(!std::is_same_v<U, U>, "not modelled by the simulator: GlobalTensor::SetValue (scalar stores go through a cache that "
                  "blocks do not share); write in UB and copy out with DataCopyPad");
  }
  uint64_t GetSize() const { return size_; }
  kwsim::Gm<T> GetPhyAddr(uint64_t offset = 0) const { return kwsim::Gm<T>(address_ + offset * sizeof(T)); }
  void SetL2CacheHint(int) const {}
  uint64_t kwsim_address() const { return address_; }
};

template <class T>
class LocalTensor {
  static_assert(kwsim::modelled<T>, "LocalTensor: this element type is not modelled");
  int64_t start_ = 0, end_ = 0;
  int buffer_ = -1;
  uint32_t generation_ = 0;

  void alive(const char* api) const {
    if (buffer_ < 0) kwsim::fail(api, "a LocalTensor that nothing was allocated for; use AllocTensor, DeQue or TBuf::Get");
    const kwsim::Buffer& b = kwsim::core().buffers[buffer_];
    if (b.generation != generation_ || b.state == kwsim::kFree) kwsim::fail(api, "the tensor was freed before (FreeTensor)");
    if (b.state == kwsim::kQueued) kwsim::fail(api, "the tensor is in its queue: it was not DeQue'd after EnQue");
  }

 public:
  using PrimType = T;
  LocalTensor() = default;
  LocalTensor(kwsim::Key, int64_t start, int64_t end, int buffer, uint32_t generation)
      : start_(start), end_(end), buffer_(buffer), generation_(generation) {}
  LocalTensor operator[](uint32_t offset) const {
    LocalTensor moved = *this;
    moved.start_ += static_cast<int64_t>(offset) * static_cast<int64_t>(sizeof(T));
    return moved;
  }
  template <class U>
  LocalTensor<U> ReinterpretCast() const { return LocalTensor<U>(kwsim::Key(0), start_, end_, buffer_, generation_); }
  uint32_t GetSize() const { return static_cast<uint32_t>((end_ - start_) / static_cast<int64_t>(sizeof(T))); }
  uint32_t GetLength() const { return static_cast<uint32_t>(end_ - start_); }
  T GetValue(uint32_t index) const {
    T value;
    std::memcpy(&value, kwsim_use("LocalTensor::GetValue", index, 1, PIPE_S, false, kwsim::issue(PIPE_S), 1), sizeof(T));
    return value;
  }
  T operator()(uint32_t index) const { return GetValue(index); }
  template <class V>
  void SetValue(uint32_t index, V value) const {
    const T kept = static_cast<T>(value);
    std::memcpy(kwsim_use("LocalTensor::SetValue", index, 1, PIPE_S, true, kwsim::issue(PIPE_S), 1), &kept, sizeof(T));
  }
  // Elements [from, from + count) for an instruction of `pipe`: checked, and taken into account.
  T* kwsim_use(const char* api, int64_t from, int64_t count, int pipe, bool write, uint64_t when, int64_t align = kwsim::kBlock) const {
    alive(api);
    const int64_t size = sizeof(T), first = start_ + from * size;
    if (align > 1 && first % align != 0)
      kwsim::fail(api, "operand at UB offset %lld is not aligned to %lld bytes", kwsim::ll(first), kwsim::ll(align));
    if (from < 0 || count < 0 || first < kwsim::core().buffers[buffer_].start || first + count * size > end_)
      kwsim::fail(api, "elements [%lld, %lld) leave the tensor, which has %lld here", kwsim::ll(from), kwsim::ll(from + count),
                  kwsim::ll((end_ - start_) / size));
    if (count > 0) kwsim::touch(api, first, count * size, pipe, write, when);
    return reinterpret_cast<T*>(kwsim::core().ub + first);
  }
  int kwsim_buffer() const { return buffer_; }
  int64_t kwsim_start() const { return start_; }
};

enum class HardEvent { MTE2_V, V_MTE2, MTE3_V, V_MTE3, MTE2_MTE3, MTE3_MTE2, V_S, S_V, MTE2_S, S_MTE2, MTE3_S, S_MTE3, V_V };

}  // namespace AscendC

namespace kwsim {

struct Route {
  int from, to;
};
constexpr Route route(AscendC::HardEvent event) {
  using E = AscendC::HardEvent;
  switch (event) {
    case E::MTE2_V: return {PIPE_MTE2, PIPE_V};
    case E::V_MTE2: return {PIPE_V, PIPE_MTE2};
    case E::MTE3_V: return {PIPE_MTE3, PIPE_V};
    case E::V_MTE3: return {PIPE_V, PIPE_MTE3};
    case E::MTE2_MTE3: return {PIPE_MTE2, PIPE_MTE3};
    case E::MTE3_MTE2: return {PIPE_MTE3, PIPE_MTE2};
    case E::V_S: return {PIPE_V, PIPE_S};
    case E::S_V: return {PIPE_S, PIPE_V};
    case E::MTE2_S: return {PIPE_MTE2, PIPE_S};
    case E::S_MTE2: return {PIPE_S, PIPE_MTE2};
    case E::MTE3_S: return {PIPE_MTE3, PIPE_S};
    case E::S_MTE3: return {PIPE_S, PIPE_MTE3};
    default: return {PIPE_V, PIPE_V};
  }
}

}  // namespace kwsim

namespace AscendC {

template <HardEvent event>
void SetFlag(int32_t id) {
  constexpr kwsim::Route r = kwsim::route(event);
  kwsim::Core& c = kwsim::core();
  if (id < 0 || id > 7) kwsim::fail("SetFlag", "event id %d is outside 0 … 7", id);
  if (c.raised[r.from][r.to][id]) kwsim::fail("SetFlag", "event id %d is set already and was not waited for", id);
  c.raised[r.from][r.to][id] = true;
  c.flags[r.from][r.to][id] = c.clocks[r.from];
}
template <HardEvent event>
void WaitFlag(int32_t id) {
  constexpr kwsim::Route r = kwsim::route(event);
  kwsim::Core& c = kwsim::core();
  if (id < 0 || id > 7) kwsim::fail("WaitFlag", "event id %d is outside 0 … 7", id);
  if (!c.raised[r.from][r.to][id]) kwsim::fail("WaitFlag", "event id %d was not set: the core would wait for ever", id);
  c.raised[r.from][r.to][id] = false;
  kwsim::order(r.from, r.to, c.flags[r.from][r.to][id]);
}
template <pipe_t pipe>
void PipeBarrier() {
  static_assert(pipe <= PIPE_ALL, "not modelled by the simulator: PipeBarrier of a cube pipe");
  kwsim::Core& c = kwsim::core();
  if (pipe == PIPE_ALL) {
    kwsim::Clock all;
    for (const kwsim::Clock& clock : c.clocks) all.join(clock);
    for (kwsim::Clock& clock : c.clocks) clock.join(all);
  }
}

template <TPosition src, TPosition dst, int32_t depth, auto mask = 0>
class TQueBind {
  static_assert(src == TPosition::VECIN || src == TPosition::VECOUT || src == TPosition::VECCALC,
                "not modelled by the simulator: a queue of a cube position");
  static_assert(depth >= 1, "not modelled by the simulator: TQue of depth 0 (tensors in place)");
  static constexpr int kFrom = src == TPosition::VECIN ? PIPE_MTE2 : PIPE_V;
  static constexpr int kTo = dst == TPosition::VECOUT ? PIPE_MTE3 : PIPE_V;
  std::vector<int> slots_;
  std::deque<int> queue_;

  template <class T>
  int mine(const char* api, const LocalTensor<T>& tensor) const {
    for (int slot : slots_)
      if (slot == tensor.kwsim_buffer()) return slot;
    kwsim::fail(api, "the tensor is not of this queue");
  }
  template <class T>
  LocalTensor<T> tensor(int slot) const {
    const kwsim::Buffer& b = kwsim::core().buffers[slot];
    return LocalTensor<T>(kwsim::Key(0), b.start, b.start + b.bytes, slot, b.generation);
  }

 public:
  static constexpr TPosition position = src;
  static constexpr TPosition target = dst;
  template <class T>
  LocalTensor<T> AllocTensor() {
    kwsim::Core& c = kwsim::core();
    if (slots_.empty()) kwsim::fail("AllocTensor", "the queue has no buffers: TPipe::InitBuffer is missing");
    for (int slot : slots_) {
      kwsim::Buffer& b = c.buffers[slot];
      if (b.state != kwsim::kFree) continue;
      b.state = kwsim::kAllocated;
      ++b.generation;
      kwsim::order(kTo, kFrom, b.freed);
      std::memset(c.ub + b.start, 0xFF, b.bytes);
      return tensor<T>(slot);
    }
    kwsim::fail("AllocTensor", "all %zu buffers of the queue are in use: the core would wait for ever; FreeTensor is missing, or "
                               "InitBuffer gave too few", slots_.size());
  }
  template <class T>
  bool EnQue(const LocalTensor<T>& t) {
    kwsim::Buffer& b = kwsim::core().buffers[mine("EnQue", t)];
    if (b.state != kwsim::kAllocated) kwsim::fail("EnQue", "the tensor was not allocated, or was enqueued before");
    if (static_cast<int32_t>(queue_.size()) >= depth)
      kwsim::fail("EnQue", "the queue's depth of %d is exceeded: DeQue first, or declare it deeper", depth);
    b.state = kwsim::kQueued;
    b.queued = kwsim::core().clocks[kFrom];
    queue_.push_back(t.kwsim_buffer());
    return true;
  }
  template <class T>
  LocalTensor<T> DeQue() {
    if (queue_.empty()) kwsim::fail("DeQue", "the queue is empty: the core would wait for ever; EnQue is missing");
    const int slot = queue_.front();
    queue_.pop_front();
    kwsim::Buffer& b = kwsim::core().buffers[slot];
    b.state = kwsim::kDequeued;
    kwsim::order(kFrom, kTo, b.queued);
    return tensor<T>(slot);
  }
  template <class T>
  void FreeTensor(const LocalTensor<T>& t) {
    kwsim::Buffer& b = kwsim::core().buffers[mine("FreeTensor", t)];
    if (b.state == kwsim::kFree) kwsim::fail("FreeTensor", "the tensor was freed before");
    if (b.state == kwsim::kQueued) kwsim::fail("FreeTensor", "the tensor is in its queue: DeQue it first");
    b.state = kwsim::kFree;
    b.freed = kwsim::core().clocks[kTo];
  }
  bool HasTensorInQue() const { return !queue_.empty(); }
  int32_t GetTensorCountInQue() const { return static_cast<int32_t>(queue_.size()); }
  bool VacantInQue() const { return static_cast<int32_t>(queue_.size()) < depth; }
  bool HasIdleBuffer() const {
    for (int slot : slots_)
      if (kwsim::core().buffers[slot].state == kwsim::kFree) return true;
    return false;
  }
  void kwsim_take(int slot) { slots_.push_back(slot); }
};

template <TPosition position, int32_t depth, auto mask = 0>
using TQue = TQueBind<position, position == TPosition::VECIN ? TPosition::VECCALC : position, depth, mask>;

template <TPosition position = TPosition::VECCALC>
class TBuf {
  int slot_ = -1;

 public:
  template <class T>
  LocalTensor<T> Get() const {
    if (slot_ < 0) kwsim::fail("TBuf::Get", "the buffer was not initialised: TPipe::InitBuffer is missing");
    const kwsim::Buffer& b = kwsim::core().buffers[slot_];
    return LocalTensor<T>(kwsim::Key(0), b.start, b.start + b.bytes, slot_, b.generation);
  }
  template <class T>
  LocalTensor<T> Get(uint32_t count) const { return GetWithOffset<T>(count, 0); }
  template <class T>
  LocalTensor<T> GetWithOffset(uint32_t count, uint32_t offset) const {
    const LocalTensor<T> all = Get<T>();
    const kwsim::Buffer& b = kwsim::core().buffers[slot_];
    const int64_t start = b.start + offset, end = start + static_cast<int64_t>(count) * static_cast<int64_t>(sizeof(T));
    if (end > b.start + b.bytes)
      kwsim::fail("TBuf::Get", "%u elements do not fit the %lld bytes of the buffer", count, kwsim::ll(b.bytes));
    return LocalTensor<T>(kwsim::Key(0), start, end, slot_, b.generation);
  }
  void kwsim_take(int slot) { slot_ = slot; }
};

class TPipe {
  int64_t base_ = kwsim::core().used;
  int events_ = 0;

  int slot(int64_t bytes, kwsim::State state) {
    kwsim::Core& c = kwsim::core();
    const int64_t rounded = (bytes + kwsim::kBlock - 1) / kwsim::kBlock * kwsim::kBlock;
    if (bytes <= 0) kwsim::fail("InitBuffer", "a buffer of %lld bytes", kwsim::ll(bytes));
    if (c.used + rounded > kwsim::kUnified)
      kwsim::fail("InitBuffer", "UB overflow: %lld bytes on top of %lld, and a vector core has %lld; take smaller tiles", kwsim::ll(rounded),
                  kwsim::ll(c.used), kwsim::ll(kwsim::kUnified));
    if (c.buffers.size() >= 64) kwsim::fail("InitBuffer", "more than 64 buffers");
    c.buffers.push_back({c.used, rounded, state, 0, {}, {}});
    c.used += rounded;
    return static_cast<int>(c.buffers.size()) - 1;
  }

 public:
  TPipe() { kwsim::core().pipe = this; }
  TPipe(const TPipe&) = delete;
  ~TPipe() {
    if (std::uncaught_exceptions() == 0) kwsim::check_leaks();
  }
  template <TPosition src, TPosition dst, int32_t depth, auto mask>
  bool InitBuffer(TQueBind<src, dst, depth, mask>& queue, int64_t count, int64_t bytes) {
    kwsim::Core& c = kwsim::core();
    int& taken = src == TPosition::VECIN ? c.vecin : c.vecout;
    taken += static_cast<int>(count);
    if (taken > 8)
      kwsim::fail("InitBuffer", "%d queue buffers at one position, and the core has 8 events for them; use TBuf, or fewer queues", taken);
    for (int64_t i = 0; i < count; ++i) queue.kwsim_take(slot(bytes, kwsim::kFree));
    return true;
  }
  template <TPosition position>
  bool InitBuffer(TBuf<position>& buffer, int64_t bytes) {
    buffer.kwsim_take(slot(bytes, kwsim::kScratch));
    return true;
  }
  template <HardEvent event>
  TEventID FetchEventID() { return static_cast<TEventID>(events_ % 8); }
  TEventID FetchEventID(HardEvent) { return static_cast<TEventID>(events_ % 8); }
  template <HardEvent event>
  TEventID AllocEventID() { return static_cast<TEventID>(events_++ % 8); }
  template <HardEvent event>
  void ReleaseEventID(TEventID) {}
};
inline TPipe* GetTPipePtr() {
  if (!kwsim::core().pipe) kwsim::fail("GetTPipePtr", "there is no TPipe");
  return static_cast<TPipe*>(kwsim::core().pipe);
}

}  // namespace AscendC
