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

// Heads first to last of all the sentences of an Attention, one after the other. All hypotheses of
// a sentence read the same keys and values, which the second cache keeps for them.
void attention(const Attention& task, int64_t first, int64_t last) {
  const int64_t width = task.width, size = width / task.heads;
  const int64_t stride = task.sentences * width;
  std::vector<float> weights(task.length);
  for (int64_t unit = first; unit < last; ++unit) {
    const int64_t sentence = unit / task.heads, head = unit % task.heads;
    const bool* padding = task.padding ? task.padding + sentence * task.length : nullptr;
    const float* keys = task.keys + sentence * width + head * size;
    const float* values = task.values + sentence * width + head * size;
    for (int64_t hypothesis = 0; hypothesis < task.hypotheses; ++hypothesis) {
      const int64_t row = hypothesis * task.sentences + sentence;
      const float* query = task.query + row * width + head * size;
      float largest = -std::numeric_limits<float>::infinity();
      for (int64_t s = 0; s < task.length; ++s) {
        const float* key = keys + s * stride;
        Vector<float> lanes = {};
        for_row<float>(size, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
          lanes += load<float>(query + j, count) * load<float>(key + j, count);
        });
        weights[s] = sum<float>(lanes) * task.scale;
        if (padding && padding[s]) weights[s] += task.masked_score;
        largest = std::max(largest, weights[s]);
      }
      Vector<float> total = {};
      for_row<float>(task.length, [&](int64_t s, int64_t count) LRN_INLINE_LAMBDA {
        const Vector<float> weight = exp<float>(load_logits<float>(&weights[s], count) - largest);
        store<float>(&weights[s], weight, count);
        total += weight;
      });
      const float inverse = 1.0f / sum<float>(total);
      float* context = task.context + row * width + head * size;
      for_row<float>(size, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
        Vector<float> lanes = {};
        for (int64_t s = 0; s < task.length; ++s) {
          lanes += weights[s] * load<float>(values + s * stride + j, count);
        }
        store<float>(context + j, lanes * inverse, count);
      });
    }
  }
}
