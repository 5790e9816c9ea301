// The sum of the residual stream and a branch, followed by a layer norm.

#pragma once

#include <cstdint>

namespace {

struct AddNorm {
  int64_t width;
  float eps;
  const float* x; // N x width
  const float* branch; // N x width, or null: nothing is added
  const float* gain; // width, or null: there is no layer norm
  const float* shift; // width
  float* out; // N x width
};

} // namespace
