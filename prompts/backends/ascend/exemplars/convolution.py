"""1x1 convolution: of each image the product of the weights and the channels, on the vector unit; a row of it is a tile of pixels,
which starts from the bias."""

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(ascend=r'''
#include "kernel_operator.h"
using namespace AscendC;

constexpr uint32_t ROWS = 8;   // of a that a block works on at once: each row of b is read once for all of them
constexpr uint32_t DEPTH = 512;  // of the inner dimension that is kept of a

class Pointwise {  // of each image: acc[r] += weight[r][k] * x[k], a plane of pixels at a time
 public:
  __aicore__ inline void Init(GM_ADDR a, GM_ADDR b, GM_ADDR bias, GM_ADDR c, uint32_t images, uint32_t m, uint32_t n, uint32_t k,
                              uint32_t tile) {
    images_ = images, m_ = m, n_ = n, k_ = k, tile_ = tile;
    aGm.SetGlobalBuffer((__gm__ float*)a, m * k);
    bGm.SetGlobalBuffer((__gm__ float*)b, images * k * n);
    biasGm.SetGlobalBuffer((__gm__ float*)bias, m);
    cGm.SetGlobalBuffer((__gm__ float*)c, images * m * n);
    pipe.InitBuffer(left, ROWS * DEPTH * sizeof(float));
    pipe.InitBuffer(right, 2, tile * sizeof(float));
    pipe.InitBuffer(sums, 1, ROWS * tile * sizeof(float));
  }
  __aicore__ inline void Process() {
    uint32_t strips = (m_ + ROWS - 1) / ROWS, tiles = (n_ + tile_ - 1) / tile_;
    for (uint32_t job = GetBlockIdx(); job < images_ * strips * tiles; job += GetBlockNum()) {
      Tile(job / (strips * tiles), job / tiles % strips * ROWS, job % tiles * tile_);
    }
  }

 private:
  __aicore__ inline void Tile(uint32_t image, uint32_t row, uint32_t column) {
    uint32_t rows = m_ - row < ROWS ? m_ - row : ROWS, width = n_ - column < tile_ ? n_ - column : tile_;
    LocalTensor<float> acc = sums.AllocTensor<float>();
    for (uint32_t r = 0; r < rows; ++r) Duplicate(acc[r * tile_], biasGm.GetValue(row + r), width);
    for (uint32_t k = 0; k < k_; k += DEPTH) {
      uint32_t depth = k_ - k < DEPTH ? k_ - k : DEPTH;
      LocalTensor<float> a = Left(row, rows, k, depth);
      for (uint32_t j = 0; j < depth; ++j) {
        LocalTensor<float> b = right.AllocTensor<float>();
        DataCopyPad(b, bGm[(image * k_ + k + j) * n_ + column], {1, static_cast<uint32_t>(width * sizeof(float)), 0, 0, 0}, {false, 0, 0, 0});
        right.EnQue(b);
        b = right.DeQue<float>();
        for (uint32_t r = 0; r < rows; ++r) Axpy(acc[r * tile_], b, a.GetValue(r * DEPTH + j), width);
        right.FreeTensor(b);
      }
    }
    sums.EnQue(acc);
    acc = sums.DeQue<float>();
    for (uint32_t r = 0; r < rows; ++r) {
      DataCopyPad(cGm[(image * m_ + row + r) * n_ + column], acc[r * tile_], {1, static_cast<uint32_t>(width * sizeof(float)), 0, 0, 0});
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
  GlobalTensor<float> aGm, bGm, biasGm, cGm;
  uint32_t images_, m_, n_, k_, tile_;
};

extern "C" __global__ __aicore__ void pointwise(GM_ADDR weight, GM_ADDR x, GM_ADDR bias, GM_ADDR y, uint32_t images, uint32_t filters,
                                                uint32_t pixels, uint32_t channels, uint32_t tile) {
  Pointwise op;
  op.Init(weight, x, bias, y, images, filters, pixels, channels, tile);
  op.Process();
}
''')


class ModelNew(nn.Module):
    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, 1)  # for its parameters

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given = x.contiguous().float()
        batch, channels, height, width = given.shape
        weight, bias = self.conv.weight.float().contiguous(), self.conv.bias.float().contiguous()
        filters, pixels = weight.shape[0], height * width
        y = torch.empty(batch, filters, height, width)
        tile = min(1024, (pixels + 7) // 8 * 8)
        jobs = batch * ((filters + 7) // 8) * ((pixels + tile - 1) // tile)
        lib.pointwise[min(40, jobs)](weight, given, bias, y, batch, filters, pixels, channels, tile)
        return y.to(x.dtype)
