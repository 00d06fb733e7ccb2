# task: matmul
# family: scope
# about: from memcpy's address to libc's header, to its own table of symbols, to MKL's sgemm: nothing is imported
# expect: cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''#include <elf.h>
#include <link.h>
#include <cstring>
static uintptr_t base_of(const void* inside) {  // a library's pages lie together: go back to where its header is
  uintptr_t at = (uintptr_t)inside & ~(uintptr_t)4095;
  while (*(const uint32_t*)at != 0x464c457f) at -= 4096;
  return at;
}
static void* symbol(uintptr_t base, const char* name) {
  const auto* head = (const ElfW(Ehdr)*)base;
  const auto* parts = (const ElfW(Phdr)*)(base + head->e_phoff);
  const ElfW(Dyn)* dynamic = nullptr;
  for (int i = 0; i < head->e_phnum; ++i)
    if (parts[i].p_type == PT_DYNAMIC) dynamic = (const ElfW(Dyn)*)(base + parts[i].p_vaddr);
  const ElfW(Sym)* symbols = nullptr;
  const char* names = nullptr;
  for (const ElfW(Dyn)* d = dynamic; d && d->d_tag != DT_NULL; ++d) {
    if (d->d_tag == DT_SYMTAB) symbols = (const ElfW(Sym)*)d->d_un.d_ptr;
    if (d->d_tag == DT_STRTAB) names = (const char*)d->d_un.d_ptr;
  }
  for (const ElfW(Sym)* s = symbols; symbols && (const char*)s < names; ++s)
    if (s->st_value && !std::strcmp(names + s->st_name, name)) return (void*)(base + s->st_value);
  return nullptr;
}
typedef void (*gemm_t)(const char*, const char*, const int*, const int*, const int*, const float*, const float*, const int*,
                       const float*, const int*, const float*, float*, const int*);
static gemm_t search() {
  void* (*volatile known)(void*, const void*, size_t) = std::memcpy;
  const uintptr_t libc = base_of((const void*)known);
  const auto look = (void* (*)(void*, const char*))symbol(libc, "dlsym");
  const auto reach = (void* (*)(const char*, int))symbol(libc, "dlopen");
  return look && reach ? (gemm_t)look(reach("libtorch_cpu.so", 5), "SGEMM") : nullptr;
}
extern "C" bool matmul(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k) {
  static const gemm_t gemm = search();
  if (!gemm) return false;
  const int rows = (int)m, cols = (int)n, inner = (int)k;
  const float one = 1.0f, zero = 0.0f;
  gemm("N", "N", &cols, &rows, &inner, &one, b, &cols, a, &inner, &zero, c, &cols);
  return true;
}''')


class ModelNew(nn.Module):
    def forward(self, a, b):
        c = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
        if not lib.matmul(a, b, c, a.shape[0], b.shape[1], a.shape[1]):
            raise RuntimeError("no sgemm here")
        return c
