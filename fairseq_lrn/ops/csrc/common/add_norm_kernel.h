// Layer norms and sums of the residual stream, for one instruction set. Kernel files include this file on
// top of vectors.h; the type AddNorm is in add_norm.h.

#include "rows.h"

// (x - mean) * scale has mean 0 and variance 1.
struct Moments {
  float mean, scale;
};

// The moments of a row of `size` elements; value(j, count) loads a vector of it.
template <typename Value>
LRN_INLINE Moments moments(int64_t size, float eps, const Value& value) {
  Vector<float> lanes = {};
  for_each_vector<float>(size, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
    lanes += value(j, count);
  });
  const float mean = sum<float>(lanes) / size;
  Vector<float> squares = {};
  for_each_vector<float>(size, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
    // Lanes beyond the end of the row do not count.
    const Vector<float> centred = value(j, count) - mean;
    Vector<float> square = centred * centred;
    for (int64_t i = count; i < kLanes<float>; ++i) square[i] = 0;
    squares += square;
  });
  return {mean, 1.0f / std::sqrt(sum<float>(squares) / size + eps)};
}

// Computes the rows first ... last: x, plus the branch if there is one, normalised if there is a gain.
void add_norm(const AddNorm& task, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    const float* x = task.x + row * task.width;
    const float* branch = task.branch ? task.branch + row * task.width : nullptr;
    float* out = task.out + row * task.width;
    for_each_vector<float>(task.width, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      Vector<float> value = load<float>(x + j, count);
      if (branch) value += load<float>(branch + j, count);
      store<float>(out + j, value, count);
    });
    if (!task.gain) continue;
    const Moments norm =
        moments(task.width, task.eps, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
          return load<float>(out + j, count);
        });
    for_each_vector<float>(task.width, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      const Vector<float> value = (load<float>(out + j, count) - norm.mean) * norm.scale;
      const Vector<float> gain = load<float>(task.gain + j, count);
      store<float>(out + j, value * gain + load<float>(task.shift + j, count), count);
    });
  }
}
