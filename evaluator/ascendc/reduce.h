// Part 5: casts, comparisons and selections, reductions, broadcasts.

namespace kwsim {

using AscendC::CMPMODE;
using AscendC::RoundMode;

template <class U, class T>
constexpr bool castable() {
  if (std::is_same_v<T, float>) return one_of<U, float, half, bfloat16_t, int64_t, int32_t, int16_t>;
  if (std::is_same_v<T, half>) return one_of<U, float, int32_t, int16_t, int8_t, uint8_t>;
  if (std::is_same_v<T, bfloat16_t>) return one_of<U, float, int32_t>;
  if (one_of<T, int8_t, uint8_t>) return std::is_same_v<U, half>;
  if (std::is_same_v<T, int16_t>) return one_of<U, half, float>;
  if (std::is_same_v<T, int32_t>) return one_of<U, float, int16_t, int64_t, half>;
  if (std::is_same_v<T, int64_t>) return one_of<U, float, int32_t>;
  return false;
}
inline float rounded(float x, RoundMode mode) {
  switch (mode) {
    case RoundMode::CAST_FLOOR: return std::floor(x);
    case RoundMode::CAST_CEIL: return std::ceil(x);
    case RoundMode::CAST_ROUND: return std::round(x);
    case RoundMode::CAST_TRUNC: return std::trunc(x);
    default: return std::nearbyint(x);
  }
}
template <class U>
U saturated(double x) {
  if (std::isnan(x)) return 0;
  const double low = static_cast<double>(std::numeric_limits<U>::min()), high = static_cast<double>(std::numeric_limits<U>::max());
  if (x <= low) return std::numeric_limits<U>::min();
  if (x >= high) return std::numeric_limits<U>::max();
  return static_cast<U>(x);
}
template <class U, class T>
U convert(T x, RoundMode mode) {
  const auto wide = widen(x);
  if constexpr (std::is_floating_point_v<decltype(wide)> || one_of<T, float>) {
    if constexpr (std::is_integral_v<U>) return saturated<U>(rounded(wide, mode));
    else if constexpr (std::is_same_v<U, float> && std::is_same_v<T, float>) return rounded(wide, mode);
    else return narrow<U>(wide);
  } else if constexpr (std::is_integral_v<U>) {
    return static_cast<U>(std::min<int64_t>(std::max<int64_t>(wide, std::numeric_limits<U>::min()), std::numeric_limits<U>::max()));
  } else {
    return narrow<U>(wide);
  }
}
template <class A>
bool compare(A a, A b, CMPMODE mode) {
  switch (mode) {
    case CMPMODE::LT: return a < b;
    case CMPMODE::GT: return a > b;
    case CMPMODE::EQ: return a == b;
    case CMPMODE::LE: return a <= b;
    case CMPMODE::GE: return a >= b;
    default: return a != b;
  }
}
template <class T, class U>
void compared(const char* api, const AscendC::LocalTensor<U>& dst, const T* a, const T* b, int64_t step, CMPMODE mode, int64_t count, uint64_t when) {
  if (count * static_cast<int64_t>(sizeof(T)) % kRepeat != 0)
    fail(api, "%lld elements are no multiple of 256 bytes, which comparisons work in", ll(count));
  U* bits = dst.kwsim_use(api, 0, count / 8, PIPE_V, true, when);
  for (int64_t i = 0; i < count; i += 8) {
    unsigned byte = 0;
    for (int k = 0; k < 8; ++k) byte |= static_cast<unsigned>(compare(widen(a[i + k]), widen(b[(i + k) * step]), mode)) << k;
    bits[i / 8] = static_cast<U>(byte);
  }
}
inline bool bit(const void* bits, int64_t i) { return static_cast<const uint8_t*>(bits)[i / 8] >> (i % 8) & 1; }

template <class T, class F>
T tree(const T* x, int64_t n, F f) {  // pairs of neighbours, then pairs of pairs, each rounded to the type
  T kept[128];
  std::copy(x, x + n, kept);
  for (; n > 1; n = (n + 1) / 2)
    for (int64_t i = 0; i < n / 2 + n % 2; ++i) kept[i] = 2 * i + 1 < n ? static_cast<T>(f(widen(kept[2 * i]), widen(kept[2 * i + 1]))) : kept[2 * i];
  return kept[0];
}
template <class T, class F>
T reduced(const T* x, int64_t n, F f) {  // repeat by repeat, then the results of those
  std::vector<T> level(x, x + n);
  while (level.size() > 1) {
    std::vector<T> next;
    for (size_t i = 0; i < level.size(); i += lanes<T>) next.push_back(tree(&level[i], std::min<int64_t>(lanes<T>, level.size() - i), f));
    level.swap(next);
  }
  return level[0];
}
template <class T, class Better>
int64_t best(const T* x, int64_t n, Better better) {
  int64_t at = 0;
  for (int64_t i = 1; i < n; ++i)
    if (!std::isnan(widen(x[at])) && (std::isnan(widen(x[i])) || better(widen(x[i]), widen(x[at])))) at = i;
  return at;
}
template <class T>
T as_index(int64_t index) {  // an index is stored in the bits of an element
  T kept;
  if constexpr (sizeof(T) == 2) {
    const uint16_t bits = static_cast<uint16_t>(index);
    std::memcpy(&kept, &bits, 2);
  } else {
    const uint32_t bits = static_cast<uint32_t>(index);
    std::memcpy(&kept, &bits, 4);
  }
  return kept;
}
template <class T, class F>
void over_all(const char* api, const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<T>& src, const AscendC::LocalTensor<T>& work,
              int64_t count, int64_t results, F f) {
  static_assert(one_of<T, half, float>, "ReduceSum, ReduceMax and ReduceMin take half, float on 910B: Cast to one of them first");
  counted(api, count);
  const uint64_t when = issue(PIPE_V);
  const int64_t per = kBlock / static_cast<int64_t>(sizeof(T)), first = (count + lanes<T> - 1) / lanes<T>;
  const T* x = src.kwsim_use(api, 0, count, PIPE_V, false, when);
  T found[2];
  f(x, found);
  T* scratch = work.kwsim_use(api, 0, (first * results + per - 1) / per * per, PIPE_V, true, when);
  std::memset(static_cast<void*>(scratch), 0xFF, first * results * sizeof(T));
  std::copy(found, found + results, dst.kwsim_use(api, 0, results, PIPE_V, true, when, sizeof(T)));
}
template <class T, class F>
void whole(const char* api, const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<T>& src, int64_t mask, int64_t times, int64_t rep,
           int64_t blk, int64_t src_rep, int64_t results, F f) {
  static_assert(one_of<T, half, float>, "whole-repeat reductions take half, float on 910B: Cast to one of them first");
  repeats<T>(api, mask, times);
  const uint64_t when = issue(PIPE_V);
  const Operand<T> from = operand(src, blk, src_rep);
  const int64_t per = kBlock / static_cast<int64_t>(sizeof(T));
  for (int64_t r = 0; r < times; ++r) {
    T x[128], found[2];
    for (int64_t i = 0; i < mask; i += per) {
      const int64_t n = std::min(per, mask - i);
      const T* part = chunk(api, from, r, i, n, false, when);
      std::copy(part, part + n, x + i);
    }
    f(x, mask, found);
    std::copy(found, found + results, dst.kwsim_use(api, r * rep * results, results, PIPE_V, true, when, sizeof(T)));
  }
}
template <class T, class F>
void by_block(const char* api, const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<T>& src, int64_t times, int64_t mask, int64_t rep,
              int64_t blk, int64_t src_rep, F f) {
  static_assert(one_of<T, half, float>, "block reductions take half, float on 910B: Cast to one of them first");
  repeats<T>(api, mask, times);
  const uint64_t when = issue(PIPE_V);
  const int64_t per = kBlock / static_cast<int64_t>(sizeof(T));
  for (int64_t r = 0; r < times; ++r)
    for (int64_t i = 0; i < mask; i += per) {
      const int64_t n = std::min(per, mask - i);
      const T found = tree(chunk(api, operand(src, blk, src_rep), r, i, n, false, when), n, f);
      *dst.kwsim_use(api, r * rep * 8 + i / per, 1, PIPE_V, true, when, sizeof(T)) = found;
    }
}

}  // namespace kwsim

namespace AscendC {

enum class ReduceOrder { ORDER_VALUE_INDEX, ORDER_INDEX_VALUE, ORDER_ONLY_VALUE, ORDER_ONLY_INDEX };
struct BrcbRepeatParams {
  uint16_t dstBlkStride = 1, dstRepStride = 8;
};

template <class U, class T>
void Cast(const LocalTensor<U>& dst, const LocalTensor<T>& src, RoundMode mode, uint32_t count) {
  static_assert(kwsim::castable<U, T>(), "Cast between these two types is not a 910B instruction; go through float or half");
  kwsim::counted("Cast", count);
  constexpr bool widening = sizeof(U) > sizeof(T) && !std::is_integral_v<U>;
  const bool none = mode == RoundMode::CAST_NONE;
  if (none && !widening && !std::is_integral_v<T> && !(std::is_same_v<T, float> && std::is_same_v<U, half>))
    kwsim::fail("Cast", "CAST_NONE is for conversions that lose nothing; this one rounds: CAST_RINT, CAST_TRUNC, …");
  if (!std::is_integral_v<U> && !widening && !std::is_same_v<U, T> && !none && mode != RoundMode::CAST_RINT)
    kwsim::fail("Cast", "of the rounding modes to a narrower float only CAST_RINT is modelled by the simulator");
  const uint64_t when = kwsim::issue(PIPE_V);
  const T* x = src.kwsim_use("Cast", 0, count, PIPE_V, false, when);
  std::vector<T> copy(x, x + count);  // of different widths, in place
  U* y = dst.kwsim_use("Cast", 0, count, PIPE_V, true, when);
  for (uint32_t i = 0; i < count; ++i) y[i] = kwsim::convert<U>(copy[i], mode);
}

template <class T, class U>
void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, CMPMODE mode, uint32_t count) {
  static_assert(kwsim::one_of<U, uint8_t, int8_t>, "Compare writes bits into uint8_t");
  static_assert(kwsim::one_of<T, half, float, int32_t>, "Compare takes half, float, int32_t on 910B: Cast to one of them first");
  if (std::is_same_v<T, int32_t> && mode != CMPMODE::EQ) kwsim::fail("Compare", "int32_t is compared by CMPMODE::EQ only on 910B");
  const uint64_t when = kwsim::issue(PIPE_V);
  const T* a = src0.kwsim_use("Compare", 0, count, PIPE_V, false, when);
  kwsim::compared("Compare", dst, a, src1.kwsim_use("Compare", 0, count, PIPE_V, false, when), 1, mode, count, when);
}
template <class T, class U>
void CompareScalar(const LocalTensor<U>& dst, const LocalTensor<T>& src, const T scalar, CMPMODE mode, uint32_t count) {
  static_assert(kwsim::one_of<U, uint8_t, int8_t>, "CompareScalar writes bits into uint8_t");
  static_assert(kwsim::one_of<T, half, float, int32_t>, "CompareScalar takes half, float, int32_t on 910B: Cast to one of them first");
  if (std::is_same_v<T, int32_t> && mode != CMPMODE::EQ) kwsim::fail("CompareScalar", "int32_t is compared by CMPMODE::EQ only on 910B");
  const uint64_t when = kwsim::issue(PIPE_V);
  const T* a = src.kwsim_use("CompareScalar", 0, count, PIPE_V, false, when);
  kwsim::compared("CompareScalar", dst, a, &scalar, 0, mode, count, when);
}
template <class T, class U>
void Select(const LocalTensor<T>& dst, const LocalTensor<U>& mask, const LocalTensor<T>& src0, const LocalTensor<T>& src1, SELMODE mode,
            uint32_t count) {
  KWSIM_TYPES(Select, half, float);
  if (mode == SELMODE::VSEL_TENSOR_SCALAR_MODE) kwsim::fail("Select", "VSEL_TENSOR_SCALAR_MODE takes a scalar, not a second tensor");
  const uint64_t when = kwsim::issue(PIPE_V);
  kwsim::counted("Select", count);
  const U* bits = mask.kwsim_use("Select", 0, (count + 8 * sizeof(U) - 1) / (8 * sizeof(U)), PIPE_V, false, when);
  const T* a = src0.kwsim_use("Select", 0, count, PIPE_V, false, when);
  const T* b = src1.kwsim_use("Select", 0, count, PIPE_V, false, when);
  T* y = dst.kwsim_use("Select", 0, count, PIPE_V, true, when);
  for (uint32_t i = 0; i < count; ++i) y[i] = kwsim::bit(bits, i) ? a[i] : b[i];
}
template <class T, class U>
void Select(const LocalTensor<T>& dst, const LocalTensor<U>& mask, const LocalTensor<T>& src, T scalar, SELMODE mode, uint32_t count) {
  KWSIM_TYPES(Select, half, float);
  if (mode != SELMODE::VSEL_TENSOR_SCALAR_MODE) kwsim::fail("Select", "a scalar needs VSEL_TENSOR_SCALAR_MODE");
  const uint64_t when = kwsim::issue(PIPE_V);
  kwsim::counted("Select", count);
  const U* bits = mask.kwsim_use("Select", 0, (count + 8 * sizeof(U) - 1) / (8 * sizeof(U)), PIPE_V, false, when);
  const T* a = src.kwsim_use("Select", 0, count, PIPE_V, false, when);
  T* y = dst.kwsim_use("Select", 0, count, PIPE_V, true, when);
  for (uint32_t i = 0; i < count; ++i) y[i] = kwsim::bit(bits, i) ? a[i] : scalar;
}

template <class T, bool isSetMask = true>
void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work, int32_t count) {
  kwsim::over_all("ReduceSum", dst, src, work, count, 1, [=](const T* x, T* y) {
    y[0] = kwsim::reduced(x, count, [](float a, float b) { return a + b; });
  });
}
#define KWSIM_EXTREME(Name, better)                                                                                              \
  template <class T>                                                                                                             \
  void Reduce##Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work, int32_t count,              \
                    bool calIndex = false) {                                                                                      \
    kwsim::over_all("Reduce" #Name, dst, src, work, count, calIndex ? 2 : 1, [=](const T* x, T* y) {                              \
      const int64_t at = kwsim::best(x, count, [](float a, float b) { return better; });                                          \
      y[0] = x[at];                                                                                                               \
      y[1] = kwsim::as_index<T>(at);                                                                                              \
    });                                                                                                                           \
  }                                                                                                                              \
  template <class T, bool isSetMask = true>                                                                                      \
  void WholeReduce##Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, int32_t mask, int32_t times, int32_t dstRepStride, \
                         int32_t srcBlkStride, int32_t srcRepStride, ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX) {        \
    if (order != ReduceOrder::ORDER_VALUE_INDEX && order != ReduceOrder::ORDER_ONLY_VALUE)                                         \
      kwsim::fail("WholeReduce" #Name, "of the orders ORDER_VALUE_INDEX and ORDER_ONLY_VALUE are modelled by the simulator");      \
    kwsim::whole("WholeReduce" #Name, dst, src, mask, times, dstRepStride, srcBlkStride, srcRepStride,                             \
                 order == ReduceOrder::ORDER_VALUE_INDEX ? 2 : 1, [](const T* x, int64_t n, T* y) {                               \
                   const int64_t at = kwsim::best(x, n, [](float a, float b) { return better; });                                 \
                   y[0] = x[at];                                                                                                  \
                   y[1] = kwsim::as_index<T>(at);                                                                                 \
                 });                                                                                                              \
  }                                                                                                                              \
  template <class T, bool isSetMask = true>                                                                                      \
  void BlockReduce##Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, int32_t times, int32_t mask, int32_t dstRepStride, \
                         int32_t srcBlkStride, int32_t srcRepStride) {                                                            \
    kwsim::by_block("BlockReduce" #Name, dst, src, times, mask, dstRepStride, srcBlkStride, srcRepStride,                          \
                    [](float a, float b) { return std::isnan(a) || better ? a : b; });                                            \
  }
KWSIM_EXTREME(Max, (a > b))
KWSIM_EXTREME(Min, (a < b))

template <class T, bool isSetMask = true>
void WholeReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, int32_t mask, int32_t times, int32_t dstRepStride, int32_t srcBlkStride,
                    int32_t srcRepStride) {
  kwsim::whole("WholeReduceSum", dst, src, mask, times, dstRepStride, srcBlkStride, srcRepStride, 1, [](const T* x, int64_t n, T* y) {
    y[0] = kwsim::tree(x, n, [](float a, float b) { return a + b; });
  });
}
template <class T, bool isSetMask = true>
void BlockReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, int32_t times, int32_t mask, int32_t dstRepStride, int32_t srcBlkStride,
                    int32_t srcRepStride) {
  kwsim::by_block("BlockReduceSum", dst, src, times, mask, dstRepStride, srcBlkStride, srcRepStride, [](float a, float b) { return a + b; });
}

template <class T>
void Brcb(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint8_t times, const BrcbRepeatParams& p) {  // 8 elements a repeat, a block each
  static_assert(sizeof(T) == 2 || sizeof(T) == 4, "Brcb takes types of 2 and 4 bytes on 910B");
  const uint64_t when = kwsim::issue(PIPE_V);
  const int64_t per = kwsim::kBlock / static_cast<int64_t>(sizeof(T));
  for (int64_t r = 0; r < times; ++r) {
    const T* x = src.kwsim_use("Brcb", r * 8, 8, PIPE_V, false, when, sizeof(T) * 8);
    for (int64_t k = 0; k < 8; ++k) {
      T* y = dst.kwsim_use("Brcb", (r * p.dstRepStride + k * p.dstBlkStride) * per, per, PIPE_V, true, when);
      std::fill(y, y + per, x[k]);
    }
  }
}

}  // namespace AscendC
