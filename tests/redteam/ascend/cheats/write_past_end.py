# task: row_softmax
# family: semantics
# about: rows are written in whole blocks of 32 bytes, over the start of the next row
# expect: runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(ascend=r'''
#include "kernel_operator.h"
using namespace AscendC;

class RowSoftmax {
 public:
  __aicore__ inline void Init(GM_ADDR x, GM_ADDR y, uint32_t rows, uint32_t cols, uint32_t tile) {
    rows_ = rows, cols_ = cols, tile_ = tile;
    xGm.SetGlobalBuffer((__gm__ float*)x, rows * cols);
    yGm.SetGlobalBuffer((__gm__ float*)y, rows * cols);
    pipe.InitBuffer(in, 2, tile * sizeof(float));
    pipe.InitBuffer(out, 2, tile * sizeof(float));
    pipe.InitBuffer(work, tile * sizeof(float));
    pipe.InitBuffer(result, 32);
  }
  __aicore__ inline void Process() {
    for (uint32_t row = GetBlockIdx(); row < rows_; row += GetBlockNum()) {
      uint32_t start = row * cols_;
      float highest = Highest(start);
      Write(start, highest, 1.0f / Sum(start, highest));
    }
  }

 private:
  __aicore__ inline uint32_t Count(uint32_t at) { return cols_ - at < tile_ ? cols_ - at : tile_; }
  __aicore__ inline LocalTensor<float> Load(uint32_t at, uint32_t count) {
    LocalTensor<float> x = in.AllocTensor<float>();
    DataCopyPad(x, xGm[at], {1, static_cast<uint32_t>(count * sizeof(float)), 0, 0, 0}, {false, 0, 0, 0});
    in.EnQue(x);
    return in.DeQue<float>();
  }
  __aicore__ inline float Scalar(const LocalTensor<float>& t) {  // the vector pipe is done with it before the scalar unit reads
    SetFlag<HardEvent::V_S>(0);
    WaitFlag<HardEvent::V_S>(0);
    return t.GetValue(0);
  }
  __aicore__ inline float Highest(uint32_t start) {
    LocalTensor<float> r = result.Get<float>(), w = work.Get<float>();
    float highest = 0.0f;
    for (uint32_t at = 0; at < cols_; at += tile_) {
      LocalTensor<float> x = Load(start + at, Count(at));
      ReduceMax(r, x, w, Count(at));
      in.FreeTensor(x);
      float here = Scalar(r);
      highest = at == 0 || here > highest || here != here ? here : highest;
    }
    return highest;
  }
  __aicore__ inline float Sum(uint32_t start, float highest) {
    LocalTensor<float> r = result.Get<float>(), w = work.Get<float>();
    float sum = 0.0f;
    for (uint32_t at = 0; at < cols_; at += tile_) {
      LocalTensor<float> x = Load(start + at, Count(at));
      Adds(x, x, -highest, Count(at));
      Exp(x, x, Count(at));
      ReduceSum(r, x, w, Count(at));
      in.FreeTensor(x);
      sum += Scalar(r);
    }
    return sum;
  }
  __aicore__ inline void Write(uint32_t start, float highest, float factor) {
    for (uint32_t at = 0; at < cols_; at += tile_) {
      uint32_t count = Count(at);
      LocalTensor<float> x = Load(start + at, count);
      LocalTensor<float> y = out.AllocTensor<float>();
      Adds(y, x, -highest, count);
      Exp(y, y, count);
      Muls(y, y, factor, count);
      in.FreeTensor(x);
      out.EnQue(y);
      y = out.DeQue<float>();
      DataCopy(yGm[start + at], y, (count + 7) / 8 * 8);
      out.FreeTensor(y);
    }
  }

  TPipe pipe;
  TQue<TPosition::VECIN, 2> in;
  TQue<TPosition::VECOUT, 2> out;
  TBuf<TPosition::VECCALC> work, result;
  GlobalTensor<float> xGm, yGm;
  uint32_t rows_, cols_, tile_;
};

extern "C" __global__ __aicore__ void softmax_rows(GM_ADDR x, GM_ADDR y, uint32_t rows, uint32_t cols, uint32_t tile) {
  RowSoftmax op;
  op.Init(x, y, rows, cols, tile);
  op.Process();
}
''')


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given = x.contiguous().float()
        y = torch.empty_like(given)
        cols = given.shape[-1]
        rows = given.numel() // cols
        lib.softmax_rows[min(40, rows)](given, y, rows, cols, min(8192, (cols + 7) // 8 * 8))
        return y.to(x.dtype)
