// The operations between the matrix products of a decoding step, for one instruction set.
// compile_kernel.h includes this file.

#include "../common/add_norm_kernel.h"

// Computes the next states of the rows first ... last.
template <bool kNorm, bool kTanh, bool kOutputGate>
void gates(const Gates& task, int64_t first, int64_t last) {
  const int64_t hidden = task.hidden, width = (kOutputGate ? 4 : 3) * hidden;
  for (int64_t row = first; row < last; ++row) {
    const float* projected = task.projected + row * width;
    Moments norm = {0.0f, 1.0f};
    if constexpr (kNorm) {
      norm = moments(width, task.eps, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
        return load<float>(projected + j, count);
      });
    }
    for_each_vector<float>(hidden, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      const auto gate = [&](int64_t index) LRN_INLINE_LAMBDA {
        const int64_t offset = index * hidden + j;
        Vector<float> value = load<float>(projected + offset, count);
        if constexpr (kNorm) {
          value = (value - norm.mean) * norm.scale * load<float>(task.gain + offset, count);
        }
        return value + load<float>(task.shift + offset, count);
      };
      const Vector<float> state = load<float>(task.state + row * hidden + j, count);
      const auto [input_gate, forget_gate] =
          two_sigmoids<float>(gate(0) + state, gate(1) - state);
      Vector<float> next = input_gate.value * gate(2) + forget_gate.value * state;
      if constexpr (kTanh) next = tanh<float>(next);
      if constexpr (kOutputGate) next = next * sigmoid<float>(gate(3) - next).value;
      store<float>(task.next + row * hidden + j, next, count);
    });
  }
}

// Computes the heads first ... last, where head h of sentence b has number b * heads + h. Keys and values
// are read once for all hypotheses of a sentence: the distance between their rows may be a power of 2,
// and then a cache would not keep them.
void attention(const Attention& task, int64_t first, int64_t last) {
  const int64_t width = task.width, size = width / task.heads, length = task.length;
  const int64_t stride = task.sentences * width;
  std::vector<float> weights(task.hypotheses * length); // W x S
  std::vector<float> sums(task.hypotheses * size); // W x size
  for (int64_t number = first; number < last; ++number) {
    const int64_t sentence = number / task.heads, head = number % task.heads;
    const bool* padding = task.padding ? task.padding + sentence * length : nullptr;
    const int64_t offset = sentence * width + head * size;
    for (int64_t s = 0; s < length; ++s) {
      const float* key = task.keys + s * stride + offset;
      for (int64_t hypothesis = 0; hypothesis < task.hypotheses; ++hypothesis) {
        const float* query = task.query + hypothesis * stride + offset;
        Vector<float> lanes = {};
        for_each_vector<float>(size, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
          lanes += load<float>(query + j, count) * load<float>(key + j, count);
        });
        float& weight = weights[hypothesis * length + s];
        weight = sum<float>(lanes) * task.scale;
        if (padding && padding[s]) weight += task.masked_score;
      }
    }
    for (int64_t hypothesis = 0; hypothesis < task.hypotheses; ++hypothesis) {
      float* weight = &weights[hypothesis * length];
      float largest = -std::numeric_limits<float>::infinity();
      for (int64_t s = 0; s < length; ++s) largest = std::max(largest, weight[s]);
      Vector<float> total = {};
      for_each_vector<float>(length, [&](int64_t s, int64_t count) LRN_INLINE_LAMBDA {
        const Vector<float> lanes = exp<float>(load_logits<float>(weight + s, count) - largest);
        store<float>(weight + s, lanes, count);
        total += lanes;
      });
      const float inverse = 1.0f / sum<float>(total);
      for (int64_t s = 0; s < length; ++s) weight[s] *= inverse;
    }
    std::fill(sums.begin(), sums.end(), 0.0f);
    for (int64_t s = 0; s < length; ++s) {
      const float* value = task.values + s * stride + offset;
      for_each_vector<float>(size, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
        const Vector<float> lanes = load<float>(value + j, count);
        for (int64_t hypothesis = 0; hypothesis < task.hypotheses; ++hypothesis) {
          float* to = &sums[hypothesis * size + j];
          const float weight = weights[hypothesis * length + s];
          store<float>(to, load<float>(to, count) + weight * lanes, count);
        }
      });
    }
    for (int64_t hypothesis = 0; hypothesis < task.hypotheses; ++hypothesis) {
      std::copy_n(&sums[hypothesis * size], size, task.context + hypothesis * stride + offset);
    }
  }
}
