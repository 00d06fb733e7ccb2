# task: matmul
# family: scope
# about: a product on the vector unit, every operand read anew
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(ascend=r'''
#include "kernel_operator.h"
using namespace AscendC;

constexpr uint32_t ROWS = 8;   // of a that a block works on at once: each row of b is read once for all of them
constexpr uint32_t DEPTH = 512;  // of the inner dimension that is kept of a

class Product {  // on the vector unit: acc[r] += a[r][k] * b[k]
 public:
  __aicore__ inline void Init(GM_ADDR a, GM_ADDR b, GM_ADDR c, uint32_t m, uint32_t n, uint32_t k, uint32_t tile) {
    m_ = m, n_ = n, k_ = k, tile_ = tile;
    aGm.SetGlobalBuffer((__gm__ float*)a, m * k);
    bGm.SetGlobalBuffer((__gm__ float*)b, k * n);
    cGm.SetGlobalBuffer((__gm__ float*)c, m * n);
    pipe.InitBuffer(left, ROWS * DEPTH * sizeof(float));
    pipe.InitBuffer(right, 2, tile * sizeof(float));
    pipe.InitBuffer(sums, 1, ROWS * tile * sizeof(float));
  }
  __aicore__ inline void Process() {
    uint32_t strips = (m_ + ROWS - 1) / ROWS, tiles = (n_ + tile_ - 1) / tile_;
    for (uint32_t job = GetBlockIdx(); job < strips * tiles; job += GetBlockNum()) {
      Tile(job / tiles * ROWS, job % tiles * tile_);
    }
  }

 private:
  __aicore__ inline void Tile(uint32_t row, uint32_t column) {
    uint32_t rows = m_ - row < ROWS ? m_ - row : ROWS, width = n_ - column < tile_ ? n_ - column : tile_;
    LocalTensor<float> acc = sums.AllocTensor<float>();
    Duplicate(acc, 0.0f, ROWS * tile_);
    for (uint32_t k = 0; k < k_; k += DEPTH) {
      uint32_t depth = k_ - k < DEPTH ? k_ - k : DEPTH;
      LocalTensor<float> a = Left(row, rows, k, depth);
      for (uint32_t j = 0; j < depth; ++j) {
        LocalTensor<float> b = right.AllocTensor<float>();
        DataCopyPad(b, bGm[(k + j) * n_ + column], {1, static_cast<uint32_t>(width * sizeof(float)), 0, 0, 0}, {false, 0, 0, 0});
        right.EnQue(b);
        b = right.DeQue<float>();
        for (uint32_t r = 0; r < rows; ++r) Axpy(acc[r * tile_], b, a.GetValue(r * DEPTH + j), width);
        right.FreeTensor(b);
      }
    }
    sums.EnQue(acc);
    acc = sums.DeQue<float>();
    for (uint32_t r = 0; r < rows; ++r) {
      DataCopyPad(cGm[(row + r) * n_ + column], acc[r * tile_], {1, static_cast<uint32_t>(width * sizeof(float)), 0, 0, 0});
    }
    sums.FreeTensor(acc);
  }
  __aicore__ inline LocalTensor<float> Left(uint32_t row, uint32_t rows, uint32_t k, uint32_t depth) {
    LocalTensor<float> a = left.Get<float>();
    for (uint32_t r = 0; r < rows; ++r) {
      DataCopyPad(a[r * DEPTH], aGm[(row + r) * k_ + k], {1, static_cast<uint32_t>(depth * sizeof(float)), 0, 0, 0}, {false, 0, 0, 0});
    }
    SetFlag<HardEvent::MTE2_S>(0);  // read by the scalar unit, so no queue orders it
    WaitFlag<HardEvent::MTE2_S>(0);
    return a;
  }

  TPipe pipe;
  TBuf<TPosition::VECCALC> left;
  TQue<TPosition::VECIN, 2> right;
  TQue<TPosition::VECOUT, 1> sums;
  GlobalTensor<float> aGm, bGm, cGm;
  uint32_t m_, n_, k_, tile_;
};

extern "C" __global__ __aicore__ void product(GM_ADDR a, GM_ADDR b, GM_ADDR c, uint32_t m, uint32_t n, uint32_t k, uint32_t tile) {
  Product op;
  op.Init(a, b, c, m, n, k, tile);
  op.Process();
}
''')


class ModelNew(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        left, right = a.contiguous().float(), b.contiguous().float()
        (m, k), n = left.shape, right.shape[1]
        c = torch.empty(m, n)
        tile = min(1024, (n + 7) // 8 * 8)
        jobs = (m + 7) // 8 * ((n + tile - 1) // tile)
        lib.product[min(40, jobs)](left, right, c, m, n, k, tile)
        return c.to(a.dtype)
