// Part 4: vector instructions on elements. Computed in IEEE arithmetic of the operand's type (half in float, rounded once).

namespace AscendC {

struct UnaryRepeatParams {  // strides in UB blocks of 32 bytes
  uint16_t dstBlkStride = 1, srcBlkStride = 1, dstRepStride = 8, srcRepStride = 8;
};
struct BinaryRepeatParams {
  uint8_t dstBlkStride = 1, src0BlkStride = 1, src1BlkStride = 1, dstRepStride = 8, src0RepStride = 8, src1RepStride = 8;
};
enum class RoundMode { CAST_NONE, CAST_RINT, CAST_FLOOR, CAST_CEIL, CAST_ROUND, CAST_TRUNC, CAST_ODD };
enum class CMPMODE { LT, GT, EQ, LE, GE, NE };
enum class SELMODE { VSEL_CMPMASK_SPR, VSEL_TENSOR_SCALAR_MODE, VSEL_TENSOR_TENSOR_MODE };

}  // namespace AscendC

namespace kwsim {

template <class T>
constexpr int64_t lanes = kRepeat / static_cast<int64_t>(sizeof(T));

template <class T>
struct Operand {  // element i of repeat r lies at r * rep + i / block * blk + i % block, in elements
  const AscendC::LocalTensor<T>& tensor;
  int64_t blk, rep;
};
template <class T>
Operand<T> operand(const AscendC::LocalTensor<T>& t, int64_t blk, int64_t rep) {
  return {t, blk * kBlock / static_cast<int64_t>(sizeof(T)), rep * kBlock / static_cast<int64_t>(sizeof(T))};
}
template <class T>
T* chunk(const char* api, const Operand<T>& o, int64_t repeat, int64_t i, int64_t n, bool write, uint64_t when) {
  const int64_t per = kBlock / static_cast<int64_t>(sizeof(T));
  return o.tensor.kwsim_use(api, repeat * o.rep + i / per * o.blk, n, PIPE_V, write, when);
}
template <class T>
void repeats(const char* api, int64_t mask, int64_t times) {
  if (mask < 1 || mask > lanes<T>)
    fail(api, "mask %lld is outside 1 … %lld, the lanes of this type", ll(mask), ll(lanes<T>));
  if (times < 0 || times > 255) fail(api, "repeatTimes %lld is outside 0 … 255", ll(times));
}
inline void counted(const char* api, int64_t count) {
  if (count < 1) fail(api, "a count of %lld elements", ll(count));
}

template <class T, class F>
void map1(const char* api, const AscendC::LocalTensor<T>& d, const AscendC::LocalTensor<T>& a, int64_t count, F f) {
  counted(api, count);
  const uint64_t when = issue(PIPE_V);
  const T* x = a.kwsim_use(api, 0, count, PIPE_V, false, when);
  T* y = d.kwsim_use(api, 0, count, PIPE_V, true, when);
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(f(widen(x[i])));
}
template <class T, class F>
void map2(const char* api, const AscendC::LocalTensor<T>& d, const AscendC::LocalTensor<T>& a, const AscendC::LocalTensor<T>& b, int64_t count,
          F f) {
  counted(api, count);
  const uint64_t when = issue(PIPE_V);
  const T* x = a.kwsim_use(api, 0, count, PIPE_V, false, when);
  const T* z = b.kwsim_use(api, 0, count, PIPE_V, false, when);
  T* y = d.kwsim_use(api, 0, count, PIPE_V, true, when);
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(f(widen(x[i]), widen(z[i])));
}
template <class T, class F>
void map1(const char* api, Operand<T> d, Operand<T> a, int64_t mask, int64_t times, F f) {
  repeats<T>(api, mask, times);
  const int64_t per = kBlock / static_cast<int64_t>(sizeof(T));
  const uint64_t when = issue(PIPE_V);
  for (int64_t r = 0; r < times; ++r)
    for (int64_t i = 0; i < mask; i += per) {
      const int64_t n = std::min(per, mask - i);
      const T* x = chunk(api, a, r, i, n, false, when);
      T* y = chunk(api, d, r, i, n, true, when);
      for (int64_t k = 0; k < n; ++k) y[k] = static_cast<T>(f(widen(x[k])));
    }
}
template <class T, class F>
void map2(const char* api, Operand<T> d, Operand<T> a, Operand<T> b, int64_t mask, int64_t times, F f) {
  repeats<T>(api, mask, times);
  const int64_t per = kBlock / static_cast<int64_t>(sizeof(T));
  const uint64_t when = issue(PIPE_V);
  for (int64_t r = 0; r < times; ++r)
    for (int64_t i = 0; i < mask; i += per) {
      const int64_t n = std::min(per, mask - i);
      const T* x = chunk(api, a, r, i, n, false, when);
      const T* z = chunk(api, b, r, i, n, false, when);
      T* y = chunk(api, d, r, i, n, true, when);
      for (int64_t k = 0; k < n; ++k) y[k] = static_cast<T>(f(widen(x[k]), widen(z[k])));
    }
}
inline float pick_max(float a, float b) { return std::isnan(a) || std::isnan(b) ? NAN : std::max(a, b); }
inline float pick_min(float a, float b) { return std::isnan(a) || std::isnan(b) ? NAN : std::min(a, b); }
inline int64_t pick_max(int64_t a, int64_t b) { return std::max(a, b); }
inline int64_t pick_min(int64_t a, int64_t b) { return std::min(a, b); }
template <class A>
auto common(A x) {
  if constexpr (std::is_floating_point_v<A>) return x;
  else return static_cast<int64_t>(x);
}

}  // namespace kwsim

#define KWSIM_TYPES(Name, ...) \
  static_assert(kwsim::one_of<T, __VA_ARGS__>, #Name " takes " #__VA_ARGS__ " on 910B: Cast to one of them first")

#define KWSIM_UNARY(Name, expression, ...)                                                                                      \
  template <class T>                                                                                                            \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, int32_t count) {                                               \
    KWSIM_TYPES(Name, __VA_ARGS__);                                                                                              \
    kwsim::map1(#Name, dst, src, count, [](auto x) { return expression; });                                                      \
  }                                                                                                                             \
  template <class T, bool isSetMask = true>                                                                                     \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint64_t mask, uint8_t times, const UnaryRepeatParams& p) {    \
    KWSIM_TYPES(Name, __VA_ARGS__);                                                                                              \
    kwsim::map1(#Name, kwsim::operand(dst, p.dstBlkStride, p.dstRepStride), kwsim::operand(src, p.srcBlkStride, p.srcRepStride), \
                mask, times, [](auto x) { return expression; });                                                                 \
  }

#define KWSIM_BINARY(Name, expression, ...)                                                                                     \
  template <class T>                                                                                                            \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, int32_t count) {                  \
    KWSIM_TYPES(Name, __VA_ARGS__);                                                                                              \
    kwsim::map2(#Name, dst, src0, src1, count, [](auto x, auto y) { return expression; });                                       \
  }                                                                                                                             \
  template <class T, bool isSetMask = true>                                                                                     \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, uint64_t mask, uint8_t times,     \
            const BinaryRepeatParams& p) {                                                                                       \
    KWSIM_TYPES(Name, __VA_ARGS__);                                                                                              \
    kwsim::map2(#Name, kwsim::operand(dst, p.dstBlkStride, p.dstRepStride),                                                      \
                kwsim::operand(src0, p.src0BlkStride, p.src0RepStride), kwsim::operand(src1, p.src1BlkStride, p.src1RepStride),   \
                mask, times, [](auto x, auto y) { return expression; });                                                         \
  }

#define KWSIM_SCALAR(Name, expression, ...)                                                                                     \
  template <class T>                                                                                                            \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalar, int32_t count) {                              \
    KWSIM_TYPES(Name, __VA_ARGS__);                                                                                              \
    const auto y = kwsim::widen(scalar);                                                                                         \
    kwsim::map1(#Name, dst, src, count, [y](auto x) { return expression; });                                                     \
  }                                                                                                                             \
  template <class T, bool isSetMask = true>                                                                                     \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalar, uint64_t mask, uint8_t times,                 \
            const UnaryRepeatParams& p) {                                                                                        \
    KWSIM_TYPES(Name, __VA_ARGS__);                                                                                              \
    const auto y = kwsim::widen(scalar);                                                                                         \
    kwsim::map1(#Name, kwsim::operand(dst, p.dstBlkStride, p.dstRepStride), kwsim::operand(src, p.srcBlkStride, p.srcRepStride), \
                mask, times, [y](auto x) { return expression; });                                                                \
  }

namespace AscendC {

KWSIM_BINARY(Add, x + y, half, float, int16_t, int32_t)
KWSIM_BINARY(Sub, x - y, half, float, int16_t, int32_t)
KWSIM_BINARY(Mul, x * y, half, float, int16_t, int32_t)
KWSIM_BINARY(Div, x / y, half, float)
KWSIM_BINARY(Max, kwsim::pick_max(kwsim::common(x), kwsim::common(y)), half, float, int16_t, int32_t)
KWSIM_BINARY(Min, kwsim::pick_min(kwsim::common(x), kwsim::common(y)), half, float, int16_t, int32_t)
KWSIM_BINARY(And, x & y, int16_t, uint16_t)
KWSIM_BINARY(Or, x | y, int16_t, uint16_t)

KWSIM_UNARY(Exp, std::exp(x), half, float)
KWSIM_UNARY(Ln, std::log(x), half, float)
KWSIM_UNARY(Abs, std::fabs(x), half, float)
KWSIM_UNARY(Reciprocal, 1.0f / x, half, float)
KWSIM_UNARY(Rsqrt, 1.0f / std::sqrt(x), half, float)
KWSIM_UNARY(Sqrt, std::sqrt(x), half, float)
KWSIM_UNARY(Not, ~x, int16_t, uint16_t)
KWSIM_UNARY(Relu, kwsim::pick_max(kwsim::common(x), decltype(kwsim::common(x))(0)), half, float, int32_t)

KWSIM_SCALAR(Adds, x + y, half, float, int16_t, int32_t)
KWSIM_SCALAR(Muls, x * y, half, float, int16_t, int32_t)
KWSIM_SCALAR(Maxs, kwsim::pick_max(kwsim::common(x), kwsim::common(y)), half, float, int16_t, int32_t)
KWSIM_SCALAR(Mins, kwsim::pick_min(kwsim::common(x), kwsim::common(y)), half, float, int16_t, int32_t)
KWSIM_SCALAR(LeakyRelu, (x >= 0 ? x : x * y), half, float)
KWSIM_SCALAR(ShiftLeft, x << y, int16_t, uint16_t, int32_t, uint32_t)
KWSIM_SCALAR(ShiftRight, x >> y, int16_t, uint16_t, int32_t, uint32_t)

// High-level mathematics: with or without a temporary; what UB the vendor's library takes for itself is not modelled.
#define KWSIM_MATH(Name, expression)                                                                                          \
  template <class T, bool isReuseSource = false>                                                                              \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint32_t count) {                                            \
    KWSIM_TYPES(Name, half, float);                                                                                            \
    kwsim::map1(#Name, dst, src, static_cast<int64_t>(count), [](float x) { return expression; });                             \
  }                                                                                                                           \
  template <class T, bool isReuseSource = false>                                                                              \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint8_t>& temporary, uint32_t count) {     \
    temporary.kwsim_use(#Name, 0, 32, PIPE_V, true, kwsim::issue(PIPE_V));                                                      \
    Name(dst, src, count);                                                                                                     \
  }
KWSIM_MATH(Tanh, std::tanh(x))
KWSIM_MATH(Sigmoid, 1.0f / (1.0f + std::exp(-x)))
KWSIM_MATH(Erf, std::erf(x))
KWSIM_MATH(Sin, std::sin(x))
KWSIM_MATH(Cos, std::cos(x))
KWSIM_MATH(Log, std::log(x))
KWSIM_MATH(Floor, std::floor(x))
KWSIM_MATH(Ceil, std::ceil(x))
KWSIM_MATH(Round, std::nearbyint(x))
KWSIM_MATH(Trunc, std::trunc(x))
KWSIM_MATH(Sign, (x > 0 ? 1.0f : x < 0 ? -1.0f : x))
KWSIM_MATH(Frac, x - std::trunc(x))
KWSIM_MATH(Erfc, std::erfc(x))
KWSIM_MATH(Silu, x / (1.0f + std::exp(-x)))
KWSIM_MATH(Tan, std::tan(x))
KWSIM_MATH(Asin, std::asin(x))
KWSIM_MATH(Acos, std::acos(x))
KWSIM_MATH(Atan, std::atan(x))
KWSIM_MATH(Sinh, std::sinh(x))
KWSIM_MATH(Cosh, std::cosh(x))
KWSIM_MATH(Asinh, std::asinh(x))
KWSIM_MATH(Acosh, std::acosh(x))
KWSIM_MATH(Atanh, std::atanh(x))

template <class T>
void Axpy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalar, int32_t count) {  // dst += scalar * src
  KWSIM_TYPES(Axpy, half, float);
  const float a = kwsim::widen(scalar);
  kwsim::map2("Axpy", dst, src, dst, count, [a](float x, float y) { return y + a * x; });
}
template <class T>
void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, int32_t count) {  // dst += src0 * src1
  KWSIM_TYPES(MulAddDst, half, float);
  kwsim::counted("MulAddDst", count);
  const uint64_t when = kwsim::issue(PIPE_V);
  const T* a = src0.kwsim_use("MulAddDst", 0, count, PIPE_V, false, when);
  const T* b = src1.kwsim_use("MulAddDst", 0, count, PIPE_V, false, when);
  dst.kwsim_use("MulAddDst", 0, count, PIPE_V, false, when);
  T* y = dst.kwsim_use("MulAddDst", 0, count, PIPE_V, true, when);
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(kwsim::widen(y[i]) + kwsim::widen(a[i]) * kwsim::widen(b[i]));
}

template <class T>
void Duplicate(const LocalTensor<T>& dst, const T& scalar, int32_t count) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4, "Duplicate takes types of 2 and 4 bytes on 910B");
  kwsim::counted("Duplicate", count);
  T* y = dst.kwsim_use("Duplicate", 0, count, PIPE_V, true, kwsim::issue(PIPE_V));
  for (int64_t i = 0; i < count; ++i) y[i] = scalar;
}
template <class T>
void ArithProgression(const LocalTensor<T>& dst, const T first, const T difference, int32_t count) {
  KWSIM_TYPES(ArithProgression, half, float, int16_t, int32_t);
  kwsim::counted("ArithProgression", count);
  T* y = dst.kwsim_use("ArithProgression", 0, count, PIPE_V, true, kwsim::issue(PIPE_V));
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(kwsim::widen(first) + i * kwsim::widen(difference));
}
template <class T>
void CreateVecIndex(const LocalTensor<T>& dst, const T& first, uint32_t count) {
  ArithProgression<T>(dst, first, static_cast<T>(1), static_cast<int32_t>(count));
}
template <class T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& offset, uint32_t base, uint32_t count) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4, "Gather takes types of 2 and 4 bytes on 910B");
  kwsim::counted("Gather", count);
  const uint64_t when = kwsim::issue(PIPE_V);
  const uint32_t* at = offset.kwsim_use("Gather", 0, count, PIPE_V, false, when);
  T* y = dst.kwsim_use("Gather", 0, count, PIPE_V, true, when);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t byte = static_cast<int64_t>(base) + at[i];
    if (byte % static_cast<int64_t>(sizeof(T)) != 0) kwsim::fail("Gather", "offset %lld is in bytes, and no multiple of the element", kwsim::ll(byte));
    y[i] = *src.kwsim_use("Gather", byte / static_cast<int64_t>(sizeof(T)), 1, PIPE_V, false, when, 1);
  }
}

}  // namespace AscendC
