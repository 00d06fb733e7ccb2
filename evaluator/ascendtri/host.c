/* Runs one Triton-Ascend kernel, lowered to the host, program by program, and looks at every access that it makes.
 *
 * The kernel's code comes with a call before each load and store (`__asan_*`): an address must lie in a tensor of the launch,
 * in a buffer of the program's own, or on its stack. Of global memory it is kept which program read and wrote each byte. */
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char *start; int64_t bytes; const char *name; } Span;
typedef struct { char *pointer; int64_t elements; int64_t integer; double real; } Argument;
typedef struct {
  int64_t grid[3];
  int64_t backwards, compare, spans;
  const Span *span;
  const Argument *argument;
  char *message;
  int64_t capacity;
} Launch;

void kw_program(const Argument *argument, const int32_t *grid, const int32_t *at); /* in the glue of each kernel */

#define MANY UINT32_MAX
#define BUFFERS 65536
#define LOCAL_BYTES (1ll << 30)
#define CONTESTED 65536

typedef struct { char *start; int64_t bytes; } Buffer;
typedef struct { uint32_t *writer, *reader; } Shadow;
typedef struct { char *at; char was; uint32_t other; } Contested;

static const Launch *launch;
static Shadow *shadow;
static Buffer buffer[BUFFERS];
static int64_t buffers, held, last_span, last_buffer, contested_bytes;
static Contested contested[CONTESTED];
static uint32_t program;
static int32_t place[3];
static char *stack_top;
static jmp_buf out;

static void fault(const char *text) {
  snprintf(launch->message, launch->capacity, "program (%d, %d, %d): %s", place[0], place[1], place[2], text);
  longjmp(out, 1);
}

static int64_t span_of(const char *at, int64_t size) {
  for (int64_t i = 0, n = last_span; i < launch->spans; i++, n = n + 1 == launch->spans ? 0 : n + 1) {
    const Span *s = &launch->span[n];
    if (at >= s->start && at + size <= s->start + s->bytes) return last_span = n;
  }
  return -1;
}

static int is_local(const char *at, int64_t size) {
  char here;
  for (int64_t i = 0, n = last_buffer; i < buffers; i++, n = n + 1 == buffers ? 0 : n + 1)
    if (at >= buffer[n].start && at + size <= buffer[n].start + buffer[n].bytes) return last_buffer = n, 1;
  return at >= &here && at < stack_top;
}

static void outside(const char *at, int64_t size, int writes) {
  char text[512];
  int64_t best = INT64_MAX, found = -1;
  for (int64_t n = 0; n < launch->spans; n++) {
    const Span *s = &launch->span[n];
    int64_t away = at < s->start ? s->start - at : at + size - (s->start + s->bytes);
    if (away < best) best = away, found = n;
  }
  if (found < 0) fault("an access outside every tensor of the launch");
  const Span *s = &launch->span[found];
  snprintf(text, sizeof text, "%s %lld bytes outside every tensor of the launch, %lld bytes %s of `%s`", writes ? "writes" : "reads",
           (long long)size, (long long)best, at < s->start ? "before the start" : "past the end", s->name);
  fault(text);
}

static void contest(char *at, uint32_t other) {
  if (contested_bytes == CONTESTED) fault("more than 65536 bytes are written by one program and touched by another");
  contested[contested_bytes++] = (Contested){at, *at, other};
}

static void reads(Shadow *s, int64_t from, int64_t size) {
  int bad = 0;
  for (int64_t i = from; i < from + size; i++) {
    uint32_t w = s->writer[i], r = s->reader[i];
    bad |= w != 0 && w != program;
    s->reader[i] = r == 0 || r == program ? program : MANY;
  }
  if (bad) fault("a race: reads what another program of the launch wrote");
}

static void writes(Shadow *s, char *at, int64_t from, int64_t size) {
  int bad = 0;
  for (int64_t i = from; i < from + size; i++) {
    uint32_t w = s->writer[i], r = s->reader[i];
    bad |= (w != 0 && w != program) | (r != 0 && r != program);
  }
  for (int64_t i = from; i < from + size; i++) {
    uint32_t w = s->writer[i], r = s->reader[i];
    if (bad && ((w != 0 && w != program) || (r != 0 && r != program))) contest(at + (i - from), w != 0 && w != program);
    s->writer[i] = program;
  }
}

static void looked(char *at, int64_t size, int write) {
  if (is_local(at, size)) return;
  int64_t n = span_of(at, size);
  if (n < 0) outside(at, size, write);
  if (!launch->compare) return;
  int64_t from = at - launch->span[n].start;
  if (write) writes(&shadow[n], at, from, size); else reads(&shadow[n], from, size);
}

#define LOOK(n) \
  void __asan_load##n##_noabort(char *at) { looked(at, n, 0); } \
  void __asan_store##n##_noabort(char *at) { looked(at, n, 1); }
LOOK(1) LOOK(2) LOOK(4) LOOK(8) LOOK(16)
void __asan_loadN_noabort(char *at, int64_t size) { looked(at, size, 0); }
void __asan_storeN_noabort(char *at, int64_t size) { looked(at, size, 1); }
void __asan_handle_no_return(void) {}

static void both(char *to, const char *from, int64_t size) {
  if (size > 0) looked((char *)from, size, 0), looked(to, size, 1);
}
void *__asan_memcpy(char *to, const char *from, int64_t size) { both(to, from, size); return memmove(to, from, size); }
void *__asan_memmove(char *to, const char *from, int64_t size) { both(to, from, size); return memmove(to, from, size); }
void *__asan_memset(char *to, int value, int64_t size) {
  if (size > 0) looked(to, size, 1);
  return memset(to, value, size);
}

/* What the lowered code calls. Fresh buffers hold ones in every bit: NaN in floating point. */
void *_mlir_memref_to_llvm_alloc(int64_t bytes) {
  if (bytes < 0 || held + bytes > LOCAL_BYTES || buffers == BUFFERS) fault("takes more memory for its tensors than the host lends");
  char *made = malloc(bytes ? bytes : 1);
  if (!made) fault("takes more memory for its tensors than there is");
  memset(made, 0xff, bytes);
  held += bytes;
  last_buffer = buffers;
  buffer[buffers++] = (Buffer){made, bytes};
  return made;
}
void *_mlir_memref_to_llvm_aligned_alloc(int64_t alignment, int64_t bytes) { (void)alignment; return _mlir_memref_to_llvm_alloc(bytes); }
void _mlir_memref_to_llvm_free(char *start) {
  for (int64_t n = buffers - 1; n >= 0; n--)
    if (buffer[n].start == start) {
      held -= buffer[n].bytes;
      free(start);
      buffer[n] = buffer[--buffers];
      last_buffer = 0;
      return;
    }
}

#ifdef __clang__
__bf16 __truncsfbf2(float value) { /* to nearest, ties to even; older libraries of the compiler lack it */
  union { float f; uint32_t u; } in = {value};
  union { uint16_t u; __bf16 f; } out;
  out.u = value != value ? in.u >> 16 | 0x40 : (in.u + 0x7fff + (in.u >> 16 & 1)) >> 16;
  return out.f;
}
#endif

/* Of the vendor's `libdevice`, as the C library computes them. */
float __hmf_atanf(float x) { return atanf(x); }
float __hmf_log1pf(float x) { return log1pf(x); }
float __hmf_powf(float x, float y) { return powf(x, y); }
float __hmf_recipf(float x) { return 1.0f / x; }
float __hmf_reluf(float x) { return x < 0.0f ? 0.0f : x; }
float __hmf_tanf(float x) { return tanf(x); }
float __hmf_tanhf(float x) { return tanhf(x); }

typedef struct { int64_t rank; void *descriptor; } Unranked;
typedef struct { char *allocated, *aligned; int64_t offset; int64_t sizes[]; } Ranked;

void memrefCopy(int64_t width, const Unranked *source, const Unranked *target) {
  const Ranked *s = source->descriptor, *t = target->descriptor;
  int64_t rank = source->rank, index[8] = {0}, from = s->offset, to = t->offset;
  if (rank > 8) fault("copies a tensor of more than 8 dimensions");
  for (int64_t i = 0; i < rank; i++) if (s->sizes[i] <= 0) return;
  int whole = rank > 0 && s->sizes[2 * rank - 1] == 1 && t->sizes[2 * rank - 1] == 1;
  int64_t inner = whole ? s->sizes[rank - 1] : 1;
  for (;;) {
    char *p = t->aligned + to * width;
    const char *q = s->aligned + from * width;
    both(p, q, inner * width);
    memmove(p, q, inner * width);
    int64_t k = rank - 1 - whole;
    for (; k >= 0; k--) {
      from += s->sizes[rank + k], to += t->sizes[rank + k];
      if (++index[k] < s->sizes[k]) break;
      from -= index[k] * s->sizes[rank + k], to -= index[k] * t->sizes[rank + k];
      index[k] = 0;
    }
    if (k < 0) return;
  }
}

static void end_program(void) {
  for (int64_t n = 0; n < contested_bytes; n++)
    if (*contested[n].at != contested[n].was)
      fault(contested[n].other ? "a race: another program of the launch wrote another value to the same byte"
                               : "a race: writes what another program of the launch read");
  contested_bytes = 0;
}

static void run_all(void) {
  int64_t all = launch->grid[0] * launch->grid[1] * launch->grid[2];
  int32_t grid[3] = {launch->grid[0], launch->grid[1], launch->grid[2]};
  for (int64_t step = 0; step < all; step++) {
    int64_t n = launch->backwards ? all - 1 - step : step;
    program = n + 1;
    place[0] = n % grid[0], place[1] = n / grid[0] % grid[1], place[2] = n / grid[0] / grid[1];
    kw_program(launch->argument, grid, place);
    end_program();
    for (int64_t b = 0; b < buffers; b++) free(buffer[b].start);
    buffers = held = last_buffer = 0;
  }
}

/* 0, or 1 with the message. */
int kw_run(const Launch *given) {
  char here;
  launch = given, stack_top = &here;
  buffers = held = last_span = last_buffer = contested_bytes = 0;
  shadow = calloc(given->spans ? given->spans : 1, sizeof *shadow);
  for (int64_t n = 0; given->compare && n < given->spans; n++) {
    shadow[n].writer = calloc(given->span[n].bytes + 1, sizeof(uint32_t));
    shadow[n].reader = calloc(given->span[n].bytes + 1, sizeof(uint32_t));
  }
  for (int64_t n = 0; given->compare && n < given->spans; n++)
    if (!shadow || !shadow[n].writer || !shadow[n].reader) {
      snprintf(given->message, given->capacity, "no memory to keep who touched %lld bytes", (long long)given->span[n].bytes);
      return 1;
    }
  int failed = setjmp(out);
  if (!failed) run_all();
  for (int64_t b = 0; b < buffers; b++) free(buffer[b].start);
  for (int64_t n = 0; given->compare && n < given->spans; n++) free(shadow[n].writer), free(shadow[n].reader);
  free(shadow);
  return failed;
}
