// The task that the kernels of int8_linear compute, and the layout of its operands.

#pragma once

#include <cstdint>

namespace {

// A panel holds the weights of 16 outputs: tiles of 64 inputs, each tile in groups of four inputs, and
// each group with four weights of each output.
constexpr int64_t kTileRows = 16, kTileOut = 16, kTileIn = 64;
constexpr int64_t kTileBytes = kTileOut * kTileIn;
// With this many inputs, the sum of products of up to 127 * 127 stays below 2^31.
constexpr int64_t kMaxInputs = 100'000;
// Behind its tiles, a panel has the scale (float32) and the sum of the weights (int32) of each output.
constexpr int64_t kTailBytes = kTileOut * 8;

// x W^T + b, where T is the type of x and of the result.
template <typename T>
struct Product {
  int64_t rows, in, out; // in: number of inputs of the padded weight
  const T* x; // rows x width
  int64_t width;
  int8_t* quantised; // x in 8 bits: rows, padded to whole tiles, x stride
  int64_t stride;
  float* scales; // scales of the rows of x, padded to whole tiles
  const int8_t* panels; // out/16 x (16 in + kTailBytes), see fairseq_lrn/ops/int8_linear.py
  const float* bias; // out, or null
  T* result; // rows x out

  const int8_t* panel(int64_t index) const {
    return panels + index * (kTileOut * in + kTailBytes);
  }
  const float* panel_scales(int64_t index) const {
    return reinterpret_cast<const float*>(panel(index) + kTileOut * in);
  }
  const int32_t* panel_sums(int64_t index) const {
    return reinterpret_cast<const int32_t*>(panel_scales(index) + kTileOut);
  }
};

} // namespace
