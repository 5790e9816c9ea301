// The hypotheses of a beam search. fairseq_lrn/generation/beam_search.py is the reference.

#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

namespace {

struct SearchOptions {
  int64_t bos, eos, pad, unk;
  int64_t beam, min_len, longest;
  double temperature, unk_penalty;
  c10::ArrayRef<double> normalisers; // by the number of tokens, from 0 to longest + 1
};

// A possible next token of a hypothesis.
struct Candidate {
  float score; // log-probability of the hypothesis with this token
  int64_t token;
  int64_t parent; // row of the hypothesis
};

// The hypotheses that are finished, one after the other.
struct Finished {
  std::vector<int64_t> sentences, lengths, tokens;
  std::vector<float> totals, scores; // scores: of each token
};

// The rows and sentences that the search keeps.
struct Kept {
  std::vector<int64_t> rows; // old row of each new row
  std::vector<int64_t> sentences; // old number of each kept sentence
  bool all_sentences; // whether no sentence has finished
};

// Hypothesis w of unfinished sentence b has the row w * B + b.
class Hypotheses {
 public:
  Hypotheses(int64_t sentences, const SearchOptions& options)
      : options_(options), sentences_(sentences), counts_(sentences) {
    std::iota(sentences_.begin(), sentences_.end(), 0);
  }

  int64_t batch() const {
    return static_cast<int64_t>(sentences_.size());
  }
  const std::vector<int64_t>& tokens() const {
    return tokens_.back();
  }
  const std::vector<float>& scores() const {
    return scores_.back();
  }
  const Finished& finished() const {
    return finished_;
  }

  // Extends the hypotheses by one token. candidates: of each unfinished sentence, best first.
  Kept extend(std::vector<std::vector<Candidate>>& candidates, bool is_last) {
    const auto ends = [&](const Candidate& candidate) {
      return candidate.token == options_.eos && std::isfinite(candidate.score);
    };
    Kept kept;
    for (int64_t b = 0; b < batch(); ++b) {
      std::vector<Candidate>& found = candidates[b];
      const int64_t considered =
          std::min<int64_t>(options_.beam, static_cast<int64_t>(found.size()));
      int64_t& count = counts_[sentences_[b]];
      for (int64_t j = 0; j < considered; ++j) {
        if (!ends(found[j]) || count >= options_.beam) continue;
        finish(found[j], sentences_[b]);
        ++count;
      }
      if (!is_last && count < options_.beam) kept.sentences.push_back(b);
      // Those that do not end come first; the others keep their order.
      std::stable_partition(
          found.begin(), found.end(), [&](const Candidate& one) { return !ends(one); });
    }
    const int64_t batch_left = static_cast<int64_t>(kept.sentences.size());
    kept.all_sentences = batch_left == batch();
    if (batch_left == 0) return kept;
    int64_t width = options_.beam;
    for (const auto& found : candidates) {
      width = std::min<int64_t>(width, static_cast<int64_t>(found.size()));
    }
    std::vector<int64_t> tokens(width * batch_left);
    std::vector<float> scores(width * batch_left);
    kept.rows.resize(width * batch_left);
    std::vector<int64_t> sentences;
    for (int64_t b = 0; b < batch_left; ++b) {
      const std::vector<Candidate>& found = candidates[kept.sentences[b]];
      sentences.push_back(sentences_[kept.sentences[b]]);
      for (int64_t w = 0; w < width; ++w) {
        const int64_t row = w * batch_left + b;
        tokens[row] = found[w].token;
        scores[row] = found[w].score;
        kept.rows[row] = found[w].parent;
      }
    }
    sentences_ = sentences;
    tokens_.push_back(tokens);
    scores_.push_back(scores);
    parents_.push_back(kept.rows);
    return kept;
  }

 private:
  // Stores a hypothesis that ends with a candidate, by following its parents.
  void finish(const Candidate& last, int64_t sentence) {
    const int64_t length = static_cast<int64_t>(tokens_.size()) + 1;
    const int64_t start = static_cast<int64_t>(finished_.tokens.size());
    finished_.tokens.resize(start + length);
    finished_.scores.resize(start + length);
    int64_t* tokens = finished_.tokens.data() + start;
    float* scores = finished_.scores.data() + start;
    tokens[length - 1] = last.token;
    scores[length - 1] = last.score;
    int64_t row = last.parent;
    for (int64_t step = length - 2; step >= 0; --step) {
      tokens[step] = tokens_[step][row];
      scores[step] = scores_[step][row];
      row = parents_[step][row];
    }
    finished_.sentences.push_back(sentence);
    finished_.lengths.push_back(length);
    finished_.totals.push_back(last.score / static_cast<float>(options_.normalisers[length]));
    for (int64_t step = length - 1; step > 0; --step) scores[step] -= scores[step - 1];
  }

  const SearchOptions& options_;
  std::vector<int64_t> sentences_; // original numbers of the unfinished sentences
  std::vector<int64_t> counts_; // of finished hypotheses, by sentence
  // New tokens, scores up to them, and rows that they extend, for each step.
  std::vector<std::vector<int64_t>> tokens_, parents_;
  std::vector<std::vector<float>> scores_;
  Finished finished_;
};

} // namespace
