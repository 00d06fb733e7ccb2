// Part 3: copies between global memory and UB, and inside UB.

namespace AscendC {

struct DataCopyParams {  // blockLen and strides in UB blocks of 32 bytes; for DataCopyPad bytes on the side of global memory
  uint16_t blockCount = 1, blockLen = 0, srcStride = 0, dstStride = 0;
};
struct DataCopyExtParams {
  uint16_t blockCount = 1;
  uint32_t blockLen = 0, srcStride = 0, dstStride = 0, rsv = 0;
};
template <class T>
struct DataCopyPadExtParams {
  bool isPad = false;
  uint8_t leftPadding = 0, rightPadding = 0;
  T paddingValue = T();
};
struct DataCopyPadParams {
  bool isPad = false;
  uint8_t leftPadding = 0, rightPadding = 0;
  uint64_t paddingValue = 0;
};

template <class T>
void SetAtomicAdd() {
  static_assert(kwsim::one_of<T, float, half, bfloat16_t, int32_t, int16_t, int8_t>, "SetAtomicAdd: not of this type on 910B");
  kwsim::core().atomic = true;
}
inline void SetAtomicNone() { kwsim::core().atomic = false; }

}  // namespace AscendC

namespace kwsim {

template <class T>
void to_global(const char* api, uint64_t address, const T* from, int64_t count) {
  Core& c = core();
  T* to = reinterpret_cast<T*>(global(api, address, count * static_cast<int64_t>(sizeof(T)), PIPE_MTE3, c.atomic));
  if (!c.atomic) {
    std::memcpy(to, from, count * sizeof(T));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    T old;
    std::memcpy(&old, to + i, sizeof(T));
    const T sum = narrow<T>(widen(old) + widen(from[i]));
    std::memcpy(to + i, &sum, sizeof(T));
  }
}
template <class T>
int64_t whole_blocks(int64_t count) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  if (count <= 0 || bytes % kBlock != 0)
    fail("DataCopy", "%lld elements are %lld bytes, not a multiple of 32; use DataCopyPad for what is not", ll(count), ll(bytes));
  return count;
}
inline void block_count(const char* api, int64_t count, int64_t length) {
  if (count < 1 || count > 4095) fail(api, "blockCount %lld is outside 1 … 4095", ll(count));
  if (length < 1) fail(api, "blockLen is 0");
}

}  // namespace kwsim

namespace AscendC {

template <class T>
void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const DataCopyParams& p) {
  kwsim::block_count("DataCopy", p.blockCount, p.blockLen);
  const int64_t size = sizeof(T), length = p.blockLen * kwsim::kBlock / size, gap = kwsim::kBlock / size;
  const uint64_t when = kwsim::issue(PIPE_MTE2);
  for (int64_t i = 0; i < p.blockCount; ++i) {
    T* to = dst.kwsim_use("DataCopy", i * (length + p.dstStride * gap), length, PIPE_MTE2, true, when);
    const uint64_t from = src.kwsim_address() + i * (p.blockLen + p.srcStride) * kwsim::kBlock;
    std::memcpy(to, kwsim::global("DataCopy", from, length * size, PIPE_MTE2), length * size);
  }
}
template <class T>
void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, uint32_t count) {
  const int64_t length = kwsim::whole_blocks<T>(count), size = sizeof(T);
  T* to = dst.kwsim_use("DataCopy", 0, length, PIPE_MTE2, true, kwsim::issue(PIPE_MTE2));
  std::memcpy(to, kwsim::global("DataCopy", src.kwsim_address(), length * size, PIPE_MTE2), length * size);
}
template <class T>
void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyParams& p) {
  kwsim::block_count("DataCopy", p.blockCount, p.blockLen);
  const int64_t size = sizeof(T), length = p.blockLen * kwsim::kBlock / size, gap = kwsim::kBlock / size;
  const uint64_t when = kwsim::issue(PIPE_MTE3);
  for (int64_t i = 0; i < p.blockCount; ++i) {
    const T* from = src.kwsim_use("DataCopy", i * (length + p.srcStride * gap), length, PIPE_MTE3, false, when);
    kwsim::to_global("DataCopy", dst.kwsim_address() + i * (p.blockLen + p.dstStride) * kwsim::kBlock, from, length);
  }
}
template <class T>
void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src, uint32_t count) {
  const int64_t length = kwsim::whole_blocks<T>(count);
  const T* from = src.kwsim_use("DataCopy", 0, length, PIPE_MTE3, false, kwsim::issue(PIPE_MTE3));
  kwsim::to_global("DataCopy", dst.kwsim_address(), from, length);
}
template <class T>
void DataCopy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyParams& p) {
  kwsim::block_count("DataCopy", p.blockCount, p.blockLen);
  const int64_t length = p.blockLen * kwsim::kBlock / static_cast<int64_t>(sizeof(T)), gap = kwsim::kBlock / static_cast<int64_t>(sizeof(T));
  const uint64_t when = kwsim::issue(PIPE_V);
  for (int64_t i = 0; i < p.blockCount; ++i) {
    const T* from = src.kwsim_use("DataCopy", i * (length + p.srcStride * gap), length, PIPE_V, false, when);
    T* to = dst.kwsim_use("DataCopy", i * (length + p.dstStride * gap), length, PIPE_V, true, when);
    std::memmove(to, from, length * sizeof(T));
  }
}
template <class T>
void DataCopy(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint32_t count) {
  const int64_t length = kwsim::whole_blocks<T>(count);
  const uint64_t when = kwsim::issue(PIPE_V);
  const T* from = src.kwsim_use("DataCopy", 0, length, PIPE_V, false, when);
  std::memmove(dst.kwsim_use("DataCopy", 0, length, PIPE_V, true, when), from, length * sizeof(T));
}

template <class T>
void DataCopyPad(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const DataCopyExtParams& p, const DataCopyPadExtParams<T>& pad) {
  kwsim::block_count("DataCopyPad", p.blockCount, p.blockLen);
  const int64_t size = sizeof(T), length = p.blockLen / size;
  if (p.blockLen % size != 0) kwsim::fail("DataCopyPad", "blockLen %u is in bytes, and no multiple of the element's %lld", p.blockLen, kwsim::ll(size));
  const int64_t left = pad.isPad ? pad.leftPadding : 0, right = pad.isPad ? pad.rightPadding : 0;
  if (left * size > 32 || right * size > 32) kwsim::fail("DataCopyPad", "leftPadding and rightPadding are at most 32 bytes each");
  const int64_t row = ((left + length + right) * size + kwsim::kBlock - 1) / kwsim::kBlock * kwsim::kBlock / size;
  const uint64_t when = kwsim::issue(PIPE_MTE2);
  for (int64_t i = 0; i < p.blockCount; ++i) {
    T* to = dst.kwsim_use("DataCopyPad", i * (row + p.dstStride * kwsim::kBlock / size), row, PIPE_MTE2, true, when);
    const uint64_t from = src.kwsim_address() + i * (static_cast<uint64_t>(p.blockLen) + p.srcStride);
    const uint8_t* data = kwsim::global("DataCopyPad", from, p.blockLen, PIPE_MTE2);
    if (pad.isPad) for (int64_t k = 0; k < left + length + right; ++k) to[k] = pad.paddingValue;
    std::memset(static_cast<void*>(to + left + length + right), 0xFF, (row - left - length - right) * size);
    std::memcpy(to + left, data, p.blockLen);
  }
}
template <class T>
void DataCopyPad(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const DataCopyParams& p, const DataCopyPadParams& pad) {
  DataCopyPadExtParams<T> wide{pad.isPad, pad.leftPadding, pad.rightPadding, T()};
  std::memcpy(&wide.paddingValue, &pad.paddingValue, sizeof(T));
  DataCopyPad(dst, src, DataCopyExtParams{p.blockCount, p.blockLen, p.srcStride, p.dstStride, 0}, wide);
}
template <class T>
void DataCopyPad(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyExtParams& p) {
  kwsim::block_count("DataCopyPad", p.blockCount, p.blockLen);
  const int64_t size = sizeof(T), length = p.blockLen / size;
  if (p.blockLen % size != 0) kwsim::fail("DataCopyPad", "blockLen %u is in bytes, and no multiple of the element's %lld", p.blockLen, kwsim::ll(size));
  const int64_t row = (p.blockLen + kwsim::kBlock - 1) / kwsim::kBlock * kwsim::kBlock / size;
  const uint64_t when = kwsim::issue(PIPE_MTE3);
  for (int64_t i = 0; i < p.blockCount; ++i) {
    const T* from = src.kwsim_use("DataCopyPad", i * (row + p.srcStride * kwsim::kBlock / size), length, PIPE_MTE3, false, when);
    kwsim::to_global("DataCopyPad", dst.kwsim_address() + i * (static_cast<uint64_t>(p.blockLen) + p.dstStride), from, length);
  }
}
template <class T>
void DataCopyPad(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyParams& p) {
  DataCopyPad(dst, src, DataCopyExtParams{p.blockCount, p.blockLen, p.srcStride, p.dstStride, 0});
}

}  // namespace AscendC
