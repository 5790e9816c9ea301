// What lies between the products of a decoding step, for one instruction set; see
// instruction_sets.h. Each function computes rows first to last of what it is given.

#include "rows.h"

// (x - mean) * scale has mean 0 and variance 1.
struct Moments {
  float mean, scale;
};

template <typename Value>
LRN_INLINE Moments moments(int64_t size, float eps, const Value& value) {
  Vector<float> lanes = {};
  for_row<float>(size, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
    lanes += value(j, count);
  });
  const float mean = sum<float>(lanes) / size;
  Vector<float> squares = {};
  for_row<float>(size, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
    // Beyond the end of a row there are zeros, which count for nothing.
    const Vector<float> centred = value(j, count) - mean;
    Vector<float> square = centred * centred;
    for (int64_t i = count; i < kLanes<float>; ++i) square[i] = 0;
    squares += square;
  });
  return {mean, 1.0f / std::sqrt(sum<float>(squares) / size + eps)};
}

template <bool kNorm, bool kTanh, bool kOutputGate>
void gates(const Gates& gates, int64_t first, int64_t last) {
  const int64_t hidden = gates.hidden, width = (kOutputGate ? 4 : 3) * hidden;
  for (int64_t row = first; row < last; ++row) {
    const float* projected = gates.projected + row * width;
    Moments of = {0.0f, 1.0f};
    if constexpr (kNorm) {
      of = moments(width, gates.eps, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
        return load<float>(projected + j, count);
      });
    }
    for_row<float>(hidden, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      const auto gate = [&](int64_t index) LRN_INLINE_LAMBDA {
        const int64_t at = index * hidden + j;
        Vector<float> value = load<float>(projected + at, count);
        if constexpr (kNorm) {
          value = (value - of.mean) * of.scale * load<float>(gates.gain + at, count);
        }
        return value + load<float>(gates.shift + at, count);
      };
      const Vector<float> state = load<float>(gates.state + row * hidden + j, count);
      Vector<float> input_gate, forget_gate;
      two_sigmoids<float>(gate(0) + state, gate(1) - state, input_gate, forget_gate);
      Vector<float> next = input_gate * gate(2) + forget_gate * state;
      if constexpr (kTanh) next = tanh<float>(next);
      if constexpr (kOutputGate) next = next * sigmoid<float>(gate(3) - next);
      store<float>(gates.next + row * hidden + j, next, count);
    });
  }
}

// The sum of x and branch, or x where there is no branch; normalised where there is a gain.
void add_norm(const AddNorm& task, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    const float* x = task.x + row * task.width;
    const float* branch = task.branch ? task.branch + row * task.width : nullptr;
    float* out = task.out + row * task.width;
    for_row<float>(task.width, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      Vector<float> value = load<float>(x + j, count);
      if (branch) value += load<float>(branch + j, count);
      store<float>(out + j, value, count);
    });
    if (!task.gain) continue;
    const Moments of =
        moments(task.width, task.eps, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
          return load<float>(out + j, count);
        });
    for_row<float>(task.width, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      const Vector<float> value = (load<float>(out + j, count) - of.mean) * of.scale;
      const Vector<float> gain = load<float>(task.gain + j, count);
      store<float>(out + j, value * gain + load<float>(task.shift + j, count), count);
    });
  }
}

// Heads first to last of all the sentences of an Attention, one after the other. Keys and values are
// read once for all hypotheses of a sentence; their rows may lie a power of 2 apart, so that no cache
// would keep them.
void attention(const Attention& task, int64_t first, int64_t last) {
  const int64_t width = task.width, size = width / task.heads, length = task.length;
  const int64_t stride = task.sentences * width;
  std::vector<float> weights(task.hypotheses * length), sums(task.hypotheses * size);
  for (int64_t unit = first; unit < last; ++unit) {
    const int64_t sentence = unit / task.heads, head = unit % task.heads;
    const bool* padding = task.padding ? task.padding + sentence * length : nullptr;
    const int64_t offset = sentence * width + head * size;
    for (int64_t s = 0; s < length; ++s) {
      const float* key = task.keys + s * stride + offset;
      for (int64_t hypothesis = 0; hypothesis < task.hypotheses; ++hypothesis) {
        const float* query = task.query + hypothesis * stride + offset;
        Vector<float> lanes = {};
        for_row<float>(size, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
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
      for_row<float>(length, [&](int64_t s, int64_t count) LRN_INLINE_LAMBDA {
        const Vector<float> one = exp<float>(load_logits<float>(weight + s, count) - largest);
        store<float>(weight + s, one, count);
        total += one;
      });
      const float inverse = 1.0f / sum<float>(total);
      for (int64_t s = 0; s < length; ++s) weight[s] *= inverse;
    }
    std::fill(sums.begin(), sums.end(), 0.0f);
    for (int64_t s = 0; s < length; ++s) {
      const float* value = task.values + s * stride + offset;
      for_row<float>(size, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
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
