// Additive attention and its gradients, for one instruction set. compile_kernel.h includes this file.
//
// tanh is most of the work. Its results are not kept: computing them again in the backward pass takes
// less time than writing and reading them.

#include "../common/rows.h"

// Calls body(j, count, key, inner) for each vector of a head at one source position: key points to the
// key's first element of the vector, and inner is tanh(key + query).
template <typename Body>
LRN_INLINE void for_each_inner(
    const float* key, const float* query, int64_t size, const Body& body) {
  for_each_vector<float>(size, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
    body(j, count, tanh<float>(load<float>(key + j, count) + load<float>(query + j, count)));
  });
}

// Computes the units first ... last. Unit (b * W + w) * heads + head is a head of hypothesis w of
// sentence b.
void attend(const AdditiveAttention& task, int64_t first, int64_t last) {
  const int64_t size = task.width / task.heads, length = task.length;
  std::vector<float> weights(length);
  for (int64_t unit = first; unit < last; ++unit) {
    const int64_t head = unit % task.heads, sentence = unit / task.heads / task.hypotheses;
    const int64_t hypothesis = unit / task.heads % task.hypotheses;
    const int64_t row = hypothesis * task.sentences + sentence, offset = head * size;
    const float* query = task.query + row * task.width + offset;
    float largest = -std::numeric_limits<float>::infinity();
    for (int64_t s = 0; s < length; ++s) {
      Vector<float> lanes = {};
      for_each_inner(
          task.key(sentence, s) + offset, query, size,
          [&](int64_t j, int64_t count, Vector<float> inner) LRN_INLINE_LAMBDA {
            lanes += inner * load<float>(task.vector + j, count);
          });
      weights[s] = sum<float>(lanes) + task.score_bias[sentence * length + s];
      largest = std::max(largest, weights[s]);
    }
    Vector<float> total = {};
    for_each_vector<float>(length, [&](int64_t s, int64_t count) LRN_INLINE_LAMBDA {
      const Vector<float> lanes =
          exp_minus_abs<float>(load_logits<float>(&weights[s], count) - largest);
      store<float>(&weights[s], lanes, count);
      total += lanes;
    });
    const float inverse = 1.0f / sum<float>(total);
    float* context = task.context + row * task.width + offset;
    std::fill_n(context, size, 0.0f);
    for (int64_t s = 0; s < length; ++s) {
      const float weight = weights[s] * inverse;
      task.weights[(row * length + s) * task.heads + head] = weight;
      const float* value = task.value(sentence, s) + offset;
      for_each_vector<float>(size, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
        const Vector<float> sum = load<float>(context + j, count);
        store<float>(context + j, sum + weight * load<float>(value + j, count), count);
      });
    }
  }
}

// Computes the gradients of the units first ... last. Unit b * heads + head is a head of sentence b,
// which has one query.
void attend_backward(const AdditiveAttention& task, int64_t first, int64_t last) {
  const int64_t size = task.width / task.heads, length = task.length;
  std::vector<float> grad_scores(length);
  for (int64_t unit = first; unit < last; ++unit) {
    const int64_t head = unit % task.heads, sentence = unit / task.heads;
    const int64_t offset = head * size, row = sentence * task.width + offset;
    const float* query = task.query + row;
    const float* grad_context = task.grad_context + row;
    float mean = 0;
    for (int64_t s = 0; s < length; ++s) {
      const float* value = task.value(sentence, s) + offset;
      Vector<float> lanes = {};
      for_each_vector<float>(size, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
        lanes += load<float>(value + j, count) * load<float>(grad_context + j, count);
      });
      const int64_t index = (sentence * length + s) * task.heads + head;
      grad_scores[s] = sum<float>(lanes) + (task.grad_weights ? task.grad_weights[index] : 0.0f);
      mean += task.weights[index] * grad_scores[s];
    }
    float* grad_query = task.grad_query + row;
    float* grad_vector = task.grad_vector + row;
    std::fill_n(grad_query, size, 0.0f);
    for (int64_t s = 0; s < length; ++s) {
      const float weight = task.weights[(sentence * length + s) * task.heads + head];
      const float grad = weight * (grad_scores[s] - mean);
      if (grad == 0.0f) continue; // e.g. padding
      float* grad_key = task.grad_keys + (sentence * length + s) * task.width + offset;
      for_each_inner(
          task.key(sentence, s) + offset, query, size,
          [&](int64_t j, int64_t count, Vector<float> inner) LRN_INLINE_LAMBDA {
            const Vector<float> to_vector = grad * inner;
            const Vector<float> to_sum =
                (grad - to_vector * inner) * load<float>(task.vector + j, count);
            store<float>(grad_key + j, load<float>(grad_key + j, count) + to_sum, count);
            store<float>(grad_query + j, load<float>(grad_query + j, count) + to_sum, count);
            store<float>(grad_vector + j, load<float>(grad_vector + j, count) + to_vector, count);
          });
    }
  }
}
