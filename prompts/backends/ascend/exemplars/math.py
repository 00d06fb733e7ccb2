"""Inclusive prefix sum over the last dimension: rows lie in the lanes (the operand is transposed by copies), so that a column
is one Add to the one before."""

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(ascend=r'''
#include "kernel_operator.h"
using namespace AscendC;

constexpr uint32_t LANES = 64, DEPTH = 64;

class Scan {  // over the first dimension of (cols, rows)
 public:
  __aicore__ inline void Init(GM_ADDR x, GM_ADDR y, uint32_t cols, uint32_t rows) {
    cols_ = cols, rows_ = rows;
    xGm.SetGlobalBuffer((__gm__ float*)x, rows * cols);
    yGm.SetGlobalBuffer((__gm__ float*)y, rows * cols);
    pipe.InitBuffer(in, 2, LANES * DEPTH * sizeof(float));
    pipe.InitBuffer(out, 2, LANES * DEPTH * sizeof(float));
    pipe.InitBuffer(sum, LANES * sizeof(float));
  }
  __aicore__ inline void Process() {
    for (uint32_t row = GetBlockIdx() * LANES; row < rows_; row += GetBlockNum() * LANES) {
      uint32_t width = rows_ - row < LANES ? rows_ - row : LANES;
      Duplicate(sum.Get<float>(), 0.0f, LANES);
      for (uint32_t col = 0; col < cols_; col += DEPTH) {
        Tile(col * rows_ + row, cols_ - col < DEPTH ? cols_ - col : DEPTH, width);
      }
    }
  }

 private:
  __aicore__ inline void Tile(uint32_t at, uint32_t depth, uint32_t width) {
    uint32_t bytes = width * sizeof(float), gap = (rows_ - width) * sizeof(float), stride = (width + 7) / 8 * 8;
    LocalTensor<float> x = in.AllocTensor<float>(), y = out.AllocTensor<float>(), s = sum.Get<float>();
    DataCopyPad(x, xGm[at], {static_cast<uint16_t>(depth), bytes, gap, 0, 0}, {false, 0, 0, 0});
    in.EnQue(x);
    x = in.DeQue<float>();
    for (uint32_t i = 0; i < depth; ++i) {
      Add(s, s, x[i * stride], width);
      Adds(y[i * stride], s, 0.0f, width);
    }
    in.FreeTensor(x);
    out.EnQue(y);
    y = out.DeQue<float>();
    DataCopyPad(yGm[at], y, {static_cast<uint16_t>(depth), bytes, 0, gap, 0});
    out.FreeTensor(y);
  }

  TPipe pipe;
  TQue<TPosition::VECIN, 2> in;
  TQue<TPosition::VECOUT, 2> out;
  TBuf<TPosition::VECCALC> sum;
  GlobalTensor<float> xGm, yGm;
  uint32_t cols_, rows_;
};

extern "C" __global__ __aicore__ void scan(GM_ADDR x, GM_ADDR y, uint32_t cols, uint32_t rows) {
  Scan op;
  op.Init(x, y, cols, rows);
  op.Process();
}
''')


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cols = x.shape[-1]
        given = x.reshape(-1, cols).t().contiguous()
        rows = given.shape[1]
        y = torch.empty_like(given)
        lib.scan[min(40, (rows + 63) // 64)](given, y, cols, rows)
        return y.t().contiguous().reshape(x.shape)
