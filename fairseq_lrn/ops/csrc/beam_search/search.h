// Beam search with any decoder. fairseq_lrn/generation/beam_search.py is the reference.
//
// Shapes: a step has N = W*B rows, and row w * B + b is hypothesis w of sentence b.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/div.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/log_softmax.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "../common/products.h"
#include "hypotheses.h"

namespace {

using Tensors = std::vector<at::Tensor>;

// What is copied when hypotheses are selected.
struct State {
  Tensors recurrent; // N x state_size each
  Tensors memory; // S x B x ... each
  std::optional<at::Tensor> padding; // B x S
};

template <typename T>
at::Tensor as_tensor(const std::vector<T>& values) {
  const at::Tensor tensor = at::empty(
      {static_cast<int64_t>(values.size())},
      at::TensorOptions(c10::CppTypeToScalarType<T>::value).device(at::kCPU));
  std::copy(values.begin(), values.end(), tensor.template mutable_data_ptr<T>());
  return tensor;
}

inline void select(State& state, const Kept& kept) {
  const at::Tensor rows = as_tensor(kept.rows);
  for (at::Tensor& one : state.recurrent) one = at::index_select(one, 0, rows);
  if (kept.all_sentences) return;
  const at::Tensor sentences = as_tensor(kept.sentences);
  for (at::Tensor& one : state.memory) one = at::index_select(one, 1, sentences);
  if (state.padding) state.padding = at::index_select(*state.padding, 0, sentences);
}

inline std::tuple<at::Tensor, at::Tensor> top_log_probs(const at::Tensor& logits, int64_t k) {
  using TopLogProbs = std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, int64_t);
  static const auto operation = c10::Dispatcher::singleton()
                                    .findSchemaOrThrow("fairseq_lrn::top_log_probs", "")
                                    .typed<TopLogProbs>();
  return operation.call(logits, k);
}

// The best continuations of each of B sentences, best first, from logits N x V.
//   scores: of each row, up to the last token.
inline std::vector<std::vector<Candidate>> best_candidates(
    const at::Tensor& logits,
    const std::vector<float>& scores,
    int64_t batch,
    int64_t step,
    const SearchOptions& options) {
  const int64_t rows = logits.size(0);
  const bool is_last = step == options.longest;
  std::vector<std::vector<Candidate>> found(batch);
  if (is_last) {
    const at::Tensor log_p = at::log_softmax(logits, -1).select(1, options.eos).contiguous();
    const float* values = log_p.const_data_ptr<float>();
    for (int64_t row = 0; row < rows; ++row) {
      found[row % batch].push_back({values[row] + scores[row], options.eos, row});
    }
  } else {
    // One hypothesis contributes at most 2 * beam; three more tokens may be barred below.
    const int64_t k = 2 * options.beam + 3;
    const auto [log_p, tokens] = top_log_probs(logits, k);
    const float* values = log_p.const_data_ptr<float>();
    const int64_t* symbols = tokens.const_data_ptr<int64_t>();
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t j = 0; j < k; ++j) {
        const int64_t token = symbols[row * k + j];
        float value = values[row * k + j];
        if (token == options.pad || (token == options.eos && step < options.min_len)) {
          value = -std::numeric_limits<float>::infinity();
        }
        if (token == options.unk) value -= static_cast<float>(options.unk_penalty);
        found[row % batch].push_back({value + scores[row], token, row});
      }
    }
  }
  for (auto& candidates : found) {
    const auto count = std::min<int64_t>(2 * options.beam, static_cast<int64_t>(candidates.size()));
    // Of equal scores, the earlier one comes first.
    std::stable_sort(
        candidates.begin(), candidates.end(),
        [](const Candidate& one, const Candidate& other) { return one.score > other.score; });
    candidates.resize(count);
  }
  return found;
}

// Searches with a decoder: advance(tokens, state) reads one token for each row, replaces the recurrent
// states, and returns logits N x V in float32.
template <typename Advance>
Hypotheses search(
    State state, int64_t batch, const SearchOptions& options, const Advance& advance) {
  Hypotheses hypotheses(batch, options);
  std::vector<int64_t> tokens(batch, options.bos);
  std::vector<float> scores(batch, 0.0f);
  for (int64_t step = 0; step <= options.longest; ++step) {
    at::Tensor logits = advance(tokens, state);
    if (options.temperature != 1.0) logits = at::div(logits, at::Scalar(options.temperature));
    auto candidates = best_candidates(logits, scores, hypotheses.batch(), step, options);
    const Kept kept = hypotheses.extend(candidates, step == options.longest);
    if (kept.sentences.empty()) break;
    select(state, kept);
    tokens = hypotheses.tokens();
    scores = hypotheses.scores();
  }
  return hypotheses;
}

// The embeddings, N x E, of tokens, times a factor.
inline at::Tensor embed(const std::vector<int64_t>& tokens, const at::Tensor& table, double scale) {
  const int64_t width = table.size(1);
  const at::Tensor x = at::empty({static_cast<int64_t>(tokens.size()), width}, table.options());
  const float* rows = table.const_data_ptr<float>();
  float* to = x.mutable_data_ptr<float>();
  const float factor = static_cast<float>(scale);
  for (const int64_t token : tokens) {
    const float* from = rows + token * width;
    for (int64_t j = 0; j < width; ++j) *to++ = factor * from[j];
  }
  return x;
}

using Results = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

// The sentences, lengths and totals of the finished hypotheses, then all tokens and their scores.
inline Results results(const Hypotheses& hypotheses) {
  const Finished& finished = hypotheses.finished();
  return {
      as_tensor(finished.sentences), as_tensor(finished.lengths), as_tensor(finished.totals),
      as_tensor(finished.tokens), as_tensor(finished.scores)};
}

// The options of a search with a vocabulary of V symbols.
//   symbols: bos, eos, pad, unk. sizes: beam, min_len, longest.
inline SearchOptions search_options(
    at::IntArrayRef symbols,
    at::IntArrayRef sizes,
    double temperature,
    double unk_penalty,
    at::ArrayRef<double> normalisers,
    int64_t vocabulary) {
  TORCH_CHECK(
      symbols.size() == 4 && sizes.size() == 3,
      "beam search needs four symbols (bos, eos, pad, unk) and three sizes (beam, min_len, longest)");
  const SearchOptions options{
      symbols[0], symbols[1], symbols[2], symbols[3], sizes[0],
      sizes[1],   sizes[2],   temperature, unk_penalty, normalisers};
  TORCH_CHECK(
      options.beam > 0 && options.longest >= options.min_len &&
          vocabulary > 2 * options.beam + 3 &&
          static_cast<int64_t>(normalisers.size()) == options.longest + 2,
      "beam search needs V above 2 * beam + 3, min_len up to longest, and a normaliser for each "
      "length");
  for (const int64_t symbol : symbols) {
    TORCH_CHECK(symbol >= 0 && symbol < vocabulary, "symbols must be indices of the vocabulary");
  }
  return options;
}

} // namespace
