# task: matmul
# family: scope
# about: walks the loader's own list of libraries to MKL's sgemm: no dlopen, no dlsym
# expect: cheating, runtime_error, build_failed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <cstring>
#include <elf.h>
#include <link.h>
extern struct r_debug _r_debug;
typedef void (*gemm_t)(const char*, const char*, const int*, const int*, const int*, const float*, const float*, const int*,
                       const float*, const int*, const float*, float*, const int*);
static gemm_t search() {
  for (link_map* at = _r_debug.r_map; at; at = at->l_next) {
    if (!std::strstr(at->l_name, "libtorch_cpu")) continue;
    const ElfW(Sym)* symbols = nullptr;
    const char* names = nullptr;
    const uint32_t* hash = nullptr;
    for (const ElfW(Dyn)* d = at->l_ld; d->d_tag != DT_NULL; ++d) {
      if (d->d_tag == DT_SYMTAB) symbols = (const ElfW(Sym)*)d->d_un.d_ptr;
      if (d->d_tag == DT_STRTAB) names = (const char*)d->d_un.d_ptr;
      if (d->d_tag == DT_GNU_HASH) hash = (const uint32_t*)d->d_un.d_ptr;
    }
    uint32_t last = 0;
    const uint32_t* buckets = hash + 4 + hash[2] * 2;
    for (uint32_t i = 0; i < hash[0]; ++i) last = buckets[i] > last ? buckets[i] : last;
    for (uint32_t i = hash[1]; i < last; ++i)
      if (!std::strcmp(names + symbols[i].st_name, "SGEMM")) return (gemm_t)(at->l_addr + symbols[i].st_value);
  }
  return nullptr;
}
extern "C" bool matmul(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k) {
  static const gemm_t gemm = search();
  if (!gemm) return false;
  const int rows = (int)m, cols = (int)n, inner = (int)k;
  const float one = 1.0f, zero = 0.0f;
  gemm("N", "N", &cols, &rows, &inner, &one, b, &cols, a, &inner, &zero, c, &cols);
  return true;
}
''')


class ModelNew(nn.Module):
    def forward(self, a, b):
        c = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
        if not lib.matmul(a, b, c, a.shape[0], b.shape[1], a.shape[1]):
            raise RuntimeError("no sgemm here")
        return c
