"""Sum over the last dimension: a block takes rows in turn; tiles are reduced and added up on the vector pipe."""

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(ascend=r'''
#include "kernel_operator.h"
using namespace AscendC;

class RowSum {
 public:
  __aicore__ inline void Init(GM_ADDR x, GM_ADDR y, uint32_t rows, uint32_t cols, uint32_t tile) {
    rows_ = rows, cols_ = cols, tile_ = tile;
    xGm.SetGlobalBuffer((__gm__ float*)x, rows * cols);
    yGm.SetGlobalBuffer((__gm__ float*)y, rows);
    pipe.InitBuffer(in, 2, tile * sizeof(float));
    pipe.InitBuffer(out, 1, 32);
    pipe.InitBuffer(work, tile * sizeof(float));
    pipe.InitBuffer(part, 32);
  }
  __aicore__ inline void Process() {
    for (uint32_t row = GetBlockIdx(); row < rows_; row += GetBlockNum()) {
      LocalTensor<float> sum = out.AllocTensor<float>();
      LocalTensor<float> w = work.Get<float>(), p = part.Get<float>();
      Duplicate(sum, 0.0f, 8);
      for (uint32_t at = 0; at < cols_; at += tile_) {
        uint32_t count = cols_ - at < tile_ ? cols_ - at : tile_;
        LocalTensor<float> x = in.AllocTensor<float>();
        DataCopyPad(x, xGm[row * cols_ + at], {1, static_cast<uint32_t>(count * sizeof(float)), 0, 0, 0}, {false, 0, 0, 0});
        in.EnQue(x);
        x = in.DeQue<float>();
        ReduceSum(p, x, w, count);  // p[0] alone is written
        Add(sum, sum, p, 1);
        in.FreeTensor(x);
      }
      out.EnQue(sum);
      sum = out.DeQue<float>();
      DataCopyPad(yGm[row], sum, {1, sizeof(float), 0, 0, 0});
      out.FreeTensor(sum);
    }
  }

 private:
  TPipe pipe;
  TQue<TPosition::VECIN, 2> in;
  TQue<TPosition::VECOUT, 1> out;
  TBuf<TPosition::VECCALC> work, part;
  GlobalTensor<float> xGm, yGm;
  uint32_t rows_, cols_, tile_;
};

extern "C" __global__ __aicore__ void row_sum(GM_ADDR x, GM_ADDR y, uint32_t rows, uint32_t cols, uint32_t tile) {
  RowSum op;
  op.Init(x, y, rows, cols, tile);
  op.Process();
}
''')


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given = x.contiguous().float()
        cols = given.shape[-1]
        rows = given.numel() // cols
        y = torch.empty(x.shape[:-1], dtype=torch.float32)
        lib.row_sum[min(40, rows)](given, y, rows, cols, min(8192, (cols + 7) // 8 * 8))
        return y.to(x.dtype)
