"""Mean Huber loss of each row: with d the distance and m = min(d, 1) it is m (d - m / 2), which has no branch."""

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(ascend=r'''
#include "kernel_operator.h"
using namespace AscendC;

class HuberRows {
 public:
  __aicore__ inline void Init(GM_ADDR p, GM_ADDR t, GM_ADDR y, uint32_t rows, uint32_t cols, uint32_t tile) {
    rows_ = rows, cols_ = cols, tile_ = tile;
    pGm.SetGlobalBuffer((__gm__ float*)p, rows * cols);
    tGm.SetGlobalBuffer((__gm__ float*)t, rows * cols);
    yGm.SetGlobalBuffer((__gm__ float*)y, rows);
    pipe.InitBuffer(in, 4, tile * sizeof(float));
    pipe.InitBuffer(out, 1, 32);
    pipe.InitBuffer(work, tile * sizeof(float));
    pipe.InitBuffer(part, 32);
  }
  __aicore__ inline void Process() {
    for (uint32_t row = GetBlockIdx(); row < rows_; row += GetBlockNum()) {
      LocalTensor<float> sum = out.AllocTensor<float>();
      Duplicate(sum, 0.0f, 8);
      for (uint32_t at = 0; at < cols_; at += tile_) {
        Tile(row * cols_ + at, cols_ - at < tile_ ? cols_ - at : tile_, sum);
      }
      Muls(sum, sum, 1.0f / cols_, 1);
      out.EnQue(sum);
      sum = out.DeQue<float>();
      DataCopyPad(yGm[row], sum, {1, sizeof(float), 0, 0, 0});
      out.FreeTensor(sum);
    }
  }

 private:
  __aicore__ inline LocalTensor<float> Load(const GlobalTensor<float>& from, uint32_t count) {
    LocalTensor<float> t = in.AllocTensor<float>();
    DataCopyPad(t, from, {1, static_cast<uint32_t>(count * sizeof(float)), 0, 0, 0}, {false, 0, 0, 0});
    in.EnQue(t);
    return in.DeQue<float>();
  }
  __aicore__ inline void Tile(uint32_t at, uint32_t count, const LocalTensor<float>& sum) {
    LocalTensor<float> d = Load(pGm[at], count), m = Load(tGm[at], count);
    LocalTensor<float> w = work.Get<float>(), p = part.Get<float>();
    Sub(d, d, m, count);
    Abs(d, d, count);
    Mins(m, d, 1.0f, count);
    Muls(w, m, -0.5f, count);
    Add(d, d, w, count);
    Mul(d, d, m, count);
    ReduceSum(p, d, w, count);
    Add(sum, sum, p, 1);
    in.FreeTensor(d);
    in.FreeTensor(m);
  }

  TPipe pipe;
  TQue<TPosition::VECIN, 4> in;
  TQue<TPosition::VECOUT, 1> out;
  TBuf<TPosition::VECCALC> work, part;
  GlobalTensor<float> pGm, tGm, yGm;
  uint32_t rows_, cols_, tile_;
};

extern "C" __global__ __aicore__ void huber(GM_ADDR p, GM_ADDR t, GM_ADDR y, uint32_t rows, uint32_t cols, uint32_t tile) {
  HuberRows op;
  op.Init(p, t, y, rows, cols, tile);
  op.Process();
}
''')


class ModelNew(nn.Module):
    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        p, t = prediction.contiguous().float(), target.contiguous().float()
        cols = p.shape[-1]
        rows = p.numel() // cols
        y = torch.empty(p.shape[:-1])
        lib.huber[min(40, rows)](p, t, y, rows, cols, min(4096, (cols + 7) // 8 * 8))
        return y.to(prediction.dtype)
