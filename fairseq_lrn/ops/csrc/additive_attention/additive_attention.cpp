// CPU kernels of the operators additive_attention and additive_attention_backward, whose schemas are
// in fairseq_lrn/ops/additive_attention.py.
//
// Shapes: N = W*B queries, and query w * B + b is hypothesis w of sentence b. S is the length of the
// source and M the width of keys and memory, all heads together.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "../common/instruction_sets.h"
#include "../common/threads.h"

namespace {

struct AdditiveAttention {
  int64_t hypotheses, sentences, length, width, heads;
  const float* query; // N x width
  const float* keys; // B x S x width
  int64_t key_sentence, key_position; // strides
  const float* memory; // S x B x width
  int64_t memory_position, memory_sentence; // strides
  const float* vector; // width / heads
  const float* score_bias; // B x S
  float* context; // N x width; the forward pass writes it
  float* weights; // N x S x heads; the forward pass writes it
  const float* grad_context = nullptr; // B x width
  const float* grad_weights = nullptr; // B x S x heads; or null
  float* grad_keys = nullptr; // B x S x width, contiguous; the gradient is added
  float* grad_query = nullptr; // B x width
  float* grad_vector = nullptr; // B x width, for each sentence and head; the gradient is added

  LRN_INLINE const float* key(int64_t sentence, int64_t s) const {
    return keys + sentence * key_sentence + s * key_position;
  }
  LRN_INLINE const float* value(int64_t sentence, int64_t s) const {
    return memory + s * memory_position + sentence * memory_sentence;
  }
};

} // namespace

#define LRN_KERNEL_FILE "../additive_attention/kernel.h"
#include "../common/compile_kernel.h"

namespace {

// The cost of tanh, in simpler element-wise operations.
constexpr int64_t kTanhCost = 8;

bool has_rows(const at::Tensor& tensor, at::IntArrayRef sizes) {
  return tensor.scalar_type() == at::kFloat && tensor.sizes() == sizes && tensor.stride(-1) == 1;
}

// A task without results, after checks of all inputs.
AdditiveAttention attention_task(
    const at::Tensor& query,
    const at::Tensor& keys,
    const at::Tensor& memory,
    const at::Tensor& vector,
    const at::Tensor& score_bias,
    int64_t heads) {
  TORCH_CHECK(keys.dim() == 3 && query.dim() == 2, "keys must be B x S x M and query N x M");
  AdditiveAttention task;
  task.sentences = keys.size(0);
  task.length = keys.size(1);
  task.width = keys.size(2);
  task.heads = heads;
  TORCH_CHECK(
      heads > 0 && task.width % heads == 0 && task.sentences > 0 && task.length > 0 &&
          query.size(0) % task.sentences == 0,
      "the heads must divide M, and the number of queries must be a multiple of B");
  task.hypotheses = query.size(0) / task.sentences;
  TORCH_CHECK(
      has_rows(query, {query.size(0), task.width}) && query.is_contiguous() &&
          has_rows(keys, {task.sentences, task.length, task.width}) &&
          has_rows(memory, {task.length, task.sentences, task.width}) &&
          has_rows(vector, {task.width / heads}) &&
          has_rows(score_bias, {task.sentences, task.length}) && score_bias.is_contiguous(),
      "additive_attention needs float32: query N x M, keys B x S x M, memory S x B x M, vector M / "
      "heads and score_bias B x S");
  task.query = query.const_data_ptr<float>();
  task.keys = keys.const_data_ptr<float>();
  task.key_sentence = keys.stride(0);
  task.key_position = keys.stride(1);
  task.memory = memory.const_data_ptr<float>();
  task.memory_position = memory.stride(0);
  task.memory_sentence = memory.stride(1);
  task.vector = vector.const_data_ptr<float>();
  task.score_bias = score_bias.const_data_ptr<float>();
  task.context = nullptr;
  task.weights = nullptr;
  return task;
}

std::tuple<at::Tensor, at::Tensor> additive_attention(
    const at::Tensor& query,
    const at::Tensor& keys,
    const at::Tensor& memory,
    const at::Tensor& vector,
    const at::Tensor& score_bias,
    int64_t heads) {
  AdditiveAttention task = attention_task(query, keys, memory, vector, score_bias, heads);
  const at::Tensor context = at::empty_like(query);
  const at::Tensor weights = at::empty({query.size(0), task.length, heads}, query.options());
  task.context = context.mutable_data_ptr<float>();
  task.weights = weights.mutable_data_ptr<float>();
  const int64_t elements = task.length * (task.width / heads) * kTanhCost;
  run(LRN_DISPATCH(attend), task, query.size(0) * heads, elements);
  return {context, weights};
}

at::Tensor additive_attention_backward(
    const at::Tensor& grad_context,
    const std::optional<at::Tensor>& grad_weights,
    const at::Tensor& query,
    const at::Tensor& keys,
    const at::Tensor& memory,
    const at::Tensor& vector,
    const at::Tensor& score_bias,
    const at::Tensor& weights,
    int64_t heads,
    const at::Tensor& grad_keys,
    const at::Tensor& grad_vector) {
  AdditiveAttention task = attention_task(query, keys, memory, vector, score_bias, heads);
  TORCH_CHECK(
      task.hypotheses == 1 && grad_context.is_contiguous() && weights.is_contiguous() &&
          grad_keys.is_contiguous() && grad_vector.is_contiguous() &&
          has_rows(grad_context, {task.sentences, task.width}) &&
          has_rows(weights, {task.sentences, task.length, heads}) &&
          has_rows(grad_keys, {task.sentences, task.length, task.width}) &&
          has_rows(grad_vector, {task.sentences, task.width}) &&
          (!grad_weights || (grad_weights->is_contiguous() &&
                             has_rows(*grad_weights, {task.sentences, task.length, heads}))),
      "additive_attention_backward needs contiguous float32 tensors and one query for each sentence");
  const at::Tensor grad_query = at::empty_like(query);
  task.weights = const_cast<float*>(weights.const_data_ptr<float>());
  task.grad_context = grad_context.const_data_ptr<float>();
  task.grad_weights = grad_weights ? grad_weights->const_data_ptr<float>() : nullptr;
  task.grad_keys = grad_keys.mutable_data_ptr<float>();
  task.grad_query = grad_query.mutable_data_ptr<float>();
  task.grad_vector = grad_vector.mutable_data_ptr<float>();
  const int64_t elements = task.length * (task.width / heads) * 2 * kTanhCost;
  run(LRN_DISPATCH(attend_backward), task, task.sentences * heads, elements);
  return grad_query;
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("additive_attention", additive_attention);
  m.impl("additive_attention_backward", additive_attention_backward);
}
