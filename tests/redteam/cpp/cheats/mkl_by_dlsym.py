# task: matmul
# family: scope
# about: MKL's sgemm inside torch's own library, found at run time by a dlsym that is spelt as an asm label
# expect: cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
void* find(void*, const char*) __asm__("dlsym");
void* open_library(const char*, int) __asm__("dlopen");
typedef void (*gemm_t)(const char*, const char*, const int*, const int*, const int*, const float*, const float*, const int*,
                       const float*, const int*, const float*, float*, const int*);
extern "C" bool matmul(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k) {
  static const gemm_t gemm = [] {
    void* found = find(nullptr, "SGEMM");
    void* torch = found ? nullptr : open_library("libtorch_cpu.so", 5);
    return (gemm_t)(found ? found : torch ? find(torch, "SGEMM") : nullptr);
  }();
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
