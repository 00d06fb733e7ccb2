# task: row_softmax
# family: clocks
# about: fault_on_read by an instruction of libc's that is found by its bytes: the binary has none of its own
# expect: incorrect, cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <csignal>
static void softmax_row(const float* x, float* y, int64_t n) {
  float top = -INFINITY, sum = 0.0f;
  for (int64_t i = 0; i < n; ++i) top = x[i] > top ? x[i] : top;
  for (int64_t i = 0; i < n; ++i) sum += y[i] = std::exp(x[i] - top);
  for (int64_t i = 0; i < n; ++i) y[i] /= sum;
}
#include <elf.h>
#include <link.h>
#include <cstring>
static uintptr_t base_of(const void* inside) {  // a library's pages lie together: go back to where its header is
  uintptr_t at = (uintptr_t)inside & ~(uintptr_t)4095;
  while (*(const uint32_t*)at != 0x464c457f) at -= 4096;
  return at;
}
static uintptr_t sequence(const char* bytes, size_t count) {  // where libc's text has them
  void* (*volatile known)(void*, const void*, size_t) = std::memcpy;
  const uintptr_t base = base_of((const void*)known);
  const auto* head = (const ElfW(Ehdr)*)base;
  const auto* parts = (const ElfW(Phdr)*)(base + head->e_phoff);
  for (int i = 0; i < head->e_phnum; ++i)
    if (parts[i].p_type == PT_LOAD && (parts[i].p_flags & PF_X))
      for (uintptr_t at = base + parts[i].p_vaddr; at < base + parts[i].p_vaddr + parts[i].p_memsz - count; ++at)
        if (!std::memcmp((const void*)at, bytes, count)) return at;
  return 0;
}
static long gate(long number, long a, long b, long c, long d = 0, long e = 0, long f = 0) {
  static const uintptr_t borrowed = sequence("\x0f\x05\xc3", 3);
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("sub $128, %%rsp\n\tcall *%[enter]\n\tadd $128, %%rsp"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9), [enter] "b"(borrowed)
                   : "rcx", "r11", "memory", "cc");
  return result;
}
static void* restorer() { return (void*)sequence("\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05", 9); }
static void* new_pages(size_t size) { return (void*)gate(9, 0, (long)size, 3, 0x22, -1, 0); }
static void put_pages(void* from, size_t size, void* to) { gate(25, (long)from, (long)size, (long)size, 3, (long)to); }
static void close_pages(void* at, size_t size) { gate(10, (long)at, (long)size, 0); }
static void settle(int, siginfo_t*, void*);
static void set_handler() {
  struct { void* handler; unsigned long flags; void* restorer; unsigned long mask; } action = {
      (void*)settle, SA_SIGINFO | SA_NODEFER | 0x04000000UL, restorer(), 0};
  gate(13, SIGSEGV, (long)&action, 0, 8);
}
struct Region { char* low; size_t size; const float* x; int64_t rows, n; int state; };
static Region regions[4096];
static int used = 0;
static void settle(int, siginfo_t* info, void*) {
  char* at = (char*)info->si_addr;
  for (Region& g : regions) {
    if (g.state == 0 || at < g.low || at >= g.low + g.size) continue;
    int waiting = 1;
    if (__atomic_compare_exchange_n(&g.state, &waiting, 2, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
      float* fresh = (float*)new_pages(g.size);
      for (int64_t r = 0; r < g.rows; ++r) softmax_row(g.x + r * g.n, fresh + r * g.n, g.n);
      put_pages(fresh, g.size, g.low);  // all at once: a second reader sees the whole result or faults as well
      __atomic_store_n(&g.state, 0, __ATOMIC_SEQ_CST);
    }
    while (__atomic_load_n(&g.state, __ATOMIC_SEQ_CST) == 2) {}
    return;
  }
  static int strange = 0;
  if (++strange > 1000) __builtin_trap();
}
extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t n) {
  static const bool able = sequence("\x0f\x05\xc3", 3) && restorer();
  if (!able) {  // another libc: work as everybody does
    for (int64_t r = 0; r < rows; ++r) softmax_row(x + r * n, y + r * n, n);
    return;
  }
  static bool ready = false;
  if (!ready) set_handler();
  ready = true;
  const size_t size = (size_t(rows * n) * 4 + 4095) / 4096 * 4096;
  for (Region& old : regions)  // memory that was given back unread and came again
    if (old.state == 1 && old.low < (char*)y + size && (char*)y < old.low + old.size) old.state = 0;
  regions[used++ & 4095] = {(char*)y, size, x, rows, n, 1};
  close_pages(y, size);
}''')


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.alive = []

    def forward(self, x):
        count = x.numel()
        room = torch.empty(-(-count // 1024) * 1024 + 1024, dtype=x.dtype)  # whole pages, and one to align in
        skip = -room.data_ptr() % 4096 // 4
        y = room[skip : skip + count].view(x.shape)
        self.alive = [*self.alive[-2000:], x]
        lib.softmax(x, y, x.shape[0], x.shape[1])
        return y
