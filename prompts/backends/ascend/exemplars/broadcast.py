"""(x + bias) * scale + residual: a block takes rows in turn; the row vectors are read again for each tile of columns, once for
many rows."""

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(ascend=r'''
#include "kernel_operator.h"
using namespace AscendC;

class BiasScaleResidual {
 public:
  __aicore__ inline void Init(GM_ADDR x, GM_ADDR bias, GM_ADDR scale, GM_ADDR residual, GM_ADDR y, uint32_t rows, uint32_t cols,
                              uint32_t tile) {
    rows_ = rows, cols_ = cols, tile_ = tile;
    xGm.SetGlobalBuffer((__gm__ float*)x, rows * cols);
    biasGm.SetGlobalBuffer((__gm__ float*)bias, cols);
    scaleGm.SetGlobalBuffer((__gm__ float*)scale, cols);
    residualGm.SetGlobalBuffer((__gm__ float*)residual, rows * cols);
    yGm.SetGlobalBuffer((__gm__ float*)y, rows * cols);
    pipe.InitBuffer(vectors, 2, tile * sizeof(float));
    pipe.InitBuffer(in, 4, tile * sizeof(float));
    pipe.InitBuffer(out, 2, tile * sizeof(float));
  }
  __aicore__ inline void Process() {
    for (uint32_t at = 0; at < cols_; at += tile_) {
      uint32_t count = cols_ - at < tile_ ? cols_ - at : tile_;
      LocalTensor<float> bias = Load(vectors, biasGm[at], count), scale = Load(vectors, scaleGm[at], count);
      for (uint32_t row = GetBlockIdx(); row < rows_; row += GetBlockNum()) {
        Tile(row * cols_ + at, bias, scale, count);
      }
      vectors.FreeTensor(bias);
      vectors.FreeTensor(scale);
    }
  }

 private:
  template <class Queue>
  __aicore__ inline LocalTensor<float> Load(Queue& queue, const GlobalTensor<float>& from, uint32_t count) {
    LocalTensor<float> t = queue.template AllocTensor<float>();
    DataCopyPad(t, from, {1, static_cast<uint32_t>(count * sizeof(float)), 0, 0, 0}, {false, 0, 0, 0});
    queue.EnQue(t);
    return queue.template DeQue<float>();
  }
  __aicore__ inline void Tile(uint32_t at, const LocalTensor<float>& bias, const LocalTensor<float>& scale, uint32_t count) {
    LocalTensor<float> x = Load(in, xGm[at], count), residual = Load(in, residualGm[at], count);
    LocalTensor<float> y = out.AllocTensor<float>();
    Add(y, x, bias, count);
    Mul(y, y, scale, count);
    Add(y, y, residual, count);
    in.FreeTensor(x);
    in.FreeTensor(residual);
    out.EnQue(y);
    y = out.DeQue<float>();
    DataCopyPad(yGm[at], y, {1, static_cast<uint32_t>(count * sizeof(float)), 0, 0, 0});
    out.FreeTensor(y);
  }

  TPipe pipe;
  TQue<TPosition::VECIN, 2> vectors;
  TQue<TPosition::VECIN, 4> in;
  TQue<TPosition::VECOUT, 2> out;
  GlobalTensor<float> xGm, biasGm, scaleGm, residualGm, yGm;
  uint32_t rows_, cols_, tile_;
};

extern "C" __global__ __aicore__ void bias_scale_residual(GM_ADDR x, GM_ADDR bias, GM_ADDR scale, GM_ADDR residual, GM_ADDR y,
                                                          uint32_t rows, uint32_t cols, uint32_t tile) {
  BiasScaleResidual op;
  op.Init(x, bias, scale, residual, y, rows, cols, tile);
  op.Process();
}
''')


class ModelNew(nn.Module):
    def __init__(self, cols: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(cols))
        self.scale = nn.Parameter(torch.empty(cols))

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        given, rest = x.contiguous().float(), residual.contiguous().float()
        bias, scale = self.bias.float().contiguous(), self.scale.float().contiguous()
        y = torch.empty_like(given)
        cols = given.shape[-1]
        rows = given.numel() // cols
        tile = min(4096, (cols + 7) // 8 * 8)
        lib.bias_scale_residual[min(40, rows)](given, bias, scale, rest, y, rows, cols, tile)
        return y.to(x.dtype)
