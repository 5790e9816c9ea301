"""fairseq's beam search for decoders with a small state.

At every step, fairseq's own search copies everything that belongs to a hypothesis, including the
encoder's output and the tokens so far, and sorts the log-probabilities of the whole vocabulary. In
this search, the hypotheses of a sentence share its memory and only recurrent states are copied. The
most probable tokens are found without computing all log-probabilities. A finished hypothesis is
read back through its parents.
"""

import logging
import math
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from fairseq import search
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor

from fairseq_lrn.errors import InputError
from fairseq_lrn.modules.search import SearchState
from fairseq_lrn.ops import top_log_probs

logger = logging.getLogger(__name__)


class RecurrentSequenceGenerator(SequenceGenerator):
    """fairseq's generator with a faster search: the same hypotheses and scores.

    It is used for a single model whose decoder has ``start_search`` and ``search_step``
    (:class:`~fairseq_lrn.modules.search.SearchableDecoder`), with plain beam search, greedy search
    included. Otherwise fairseq's own search runs; :meth:`unavailable_reason` says why.

    Attributes:
        returns_attention: whether the hypotheses must have attention weights if the decoder gives
            them, as it does until it is made for generation.
    """

    returns_attention = True
    # The settings of these normalisers, and the normalisers, see normalisers().
    _known_normalisers: Tuple[Optional[Tuple[float, bool]], List[float]] = (None, [1.0])

    def unavailable_reason(self, prefix_tokens=None, constraints=None) -> str:
        """Why fairseq's own search must run; empty if this search can.

        Args:
            prefix_tokens, constraints: arguments of :meth:`generate`.
        """
        decoder = getattr(self.model.single_model, "decoder", None)
        reasons = {
            "an ensemble": self.model.models_size > 1,
            "a decoder without start_search": not hasattr(decoder, "start_search"),
            "an adaptive softmax": getattr(decoder, "adaptive_softmax", None) is not None,
            "attention weights": self.returns_attention and getattr(decoder, "need_attn", False),
            "a search other than beam search": type(self.search) is not search.BeamSearch,
            "constraints": constraints is not None,
            "a prefix": prefix_tokens is not None,
            "a language model of another kind": self.lm_model is not None
            and not hasattr(self.lm_model.decoder, "read"),
            "--no-repeat-ngram-size": self.repeat_ngram_blocker is not None,
            "tokens to suppress": self.token_indices_to_suppress is not None,
            "--match-source-len": self.match_source_len,
            "a negative --unkpen": self.unk_penalty < 0,
            "a beam too wide for the vocabulary": self.vocab_size <= 2 * self.beam_size + 3,
        }
        return next((reason for reason, applies in reasons.items() if applies), "")

    def normaliser(self, length: int) -> float:
        """Length normaliser for *length* tokens, EOS included.

        It may depend on ``len_penalty`` and ``normalize_scores``, but on nothing else that changes.
        """
        return length**self.len_penalty if self.normalize_scores else 1.0

    def normalisers(self, longest: int) -> List[float]:
        """:meth:`normaliser` for 0 (where it is 1) to *longest* tokens.

        They are kept for the next batch: a limit of millions of tokens, which never takes effect,
        would cost a second each time.
        """
        settings = (self.len_penalty, self.normalize_scores)
        known_settings, known = self._known_normalisers
        if known_settings != settings:
            known = [1.0]
        if len(known) <= longest:  # a new list, as other threads may read the old one
            known = known + [self.normaliser(length) for length in range(len(known), longest + 1)]
        self._known_normalisers = settings, known
        return known if len(known) == longest + 1 else known[: longest + 1]

    def _generate(
        self,
        sample: Dict[str, Dict[str, Tensor]],
        prefix_tokens: Optional[Tensor] = None,
        constraints: Optional[Tensor] = None,
        bos_token: Optional[int] = None,
    ) -> List[List[Dict[str, Tensor]]]:
        reason = self.unavailable_reason(prefix_tokens, constraints)
        if reason:
            # fairseq multiplies by the weight before it excludes tokens that never occur: with a
            # negative weight, they would be the most probable ones.
            if self.lm_model is not None and self.lm_weight < 0:
                raise InputError(
                    f"a negative --lm-weight cannot be combined with {reason}: give a weight above "
                    "0, or leave the other out"
                )
            logger.debug("using fairseq's own search because of %s", reason)
            return super()._generate(sample, prefix_tokens, constraints, bos_token)
        net_input = sample["net_input"]
        src_tokens = net_input["src_tokens"]
        longest = min(int(self.max_len_a * src_tokens.size(1) + self.max_len_b), self.max_len - 1)
        if self.min_len > longest:
            raise ValueError(
                f"--min-len {self.min_len} exceeds the longest translation, {longest} tokens: "
                "lower it, or raise --max-len-a or --max-len-b"
            )
        decoder = self.model.single_model.decoder
        state = decoder.start_search(self.model.forward_encoder(net_input)[0])
        first = self.eos if bos_token is None else bos_token
        is_own = type(self)._candidates is RecurrentSequenceGenerator._candidates
        if state.fused_search is not None and is_own and self.lm_model is None:
            finished = self._fused_search(state, src_tokens.size(0), first, longest)
        else:
            tokens = torch.full_like(src_tokens[:, 0], first)
            finished = self._search(decoder, state, tokens, longest)
        if not all(finished):
            raise InputError(
                "beam search found no translation of some sentences: the model's probabilities "
                "are NaN, or the end of sentence has probability 0; use another checkpoint, as "
                "this one is damaged, or its training run was unstable"
            )
        return finished

    def _fused_search(self, state: SearchState, sentences: int, first: int, longest: int):
        """:meth:`_search` in one operator.

        Args:
            state: the decoder's state for each of B sentences.
            sentences: B.
            first: the first token.
            longest: largest number of tokens of a hypothesis, EOS excluded.
        """
        assert state.fused_search is not None
        found = state.fused_search(
            state.recurrent,
            state.memory,
            state.padding_mask,
            symbols=(first, self.eos, self.pad, self.unk),
            sizes=(self.beam_size, self.min_len, longest),
            temperature=self.temperature,
            unk_penalty=self.unk_penalty,
            normalisers=self.normalisers(longest + 1),
        )
        finished: List[List[Dict[str, Tensor]]] = [[] for _ in range(sentences)]
        for sentence, tokens, scores, total in found:
            finished[sentence].append(hypothesis(tokens, scores, total))
        return best_first(finished)

    def _search(self, decoder, state, tokens: Tensor, longest: int):
        """
        Args:
            decoder: a :class:`~fairseq_lrn.modules.search.SearchableDecoder`.
            state: the decoder's state for each of B sentences.
            tokens: first tokens, ``B``.
            longest: largest number of tokens of a hypothesis, EOS excluded.
        """
        beam, device = self.beam_size, tokens.device
        hypotheses = Hypotheses(tokens.size(0), beam, self.eos, self.normaliser)
        tokens = tokens.unsqueeze(0)  # W x B, with W = 1
        scores = torch.zeros_like(tokens, dtype=torch.float32)
        language_model = None if self.lm_model is None else Fusion(self.lm_model, self.lm_weight)
        for step in range(longest + 1):
            features = decoder.search_step(tokens, state)
            logits = decoder.output_layer(features.unsqueeze(0))[0]
            if self.temperature != 1.0:
                logits = logits.float() / self.temperature
            is_last = step == longest
            lm_scores = None if language_model is None else language_model.scores(tokens)
            log_p, candidates = self._candidates(logits, step, is_last, lm_scores)
            # From hypotheses to sentences: W*B x k to W x B x k to B x W*k.
            width, batch = tokens.shape
            log_p = (log_p.view(width, batch, -1) + scores.unsqueeze(-1)).transpose(0, 1)
            candidates = candidates.view(width, batch, -1).transpose(0, 1).reshape(batch, -1)
            best, positions = log_p.reshape(batch, -1).topk(
                min(2 * beam, candidates.size(1)), dim=1
            )
            parents = torch.div(positions, log_p.size(2), rounding_mode="floor")
            rows, sentences = hypotheses.extend(
                best.cpu().numpy(),
                candidates.gather(1, positions).cpu().numpy(),
                parents.cpu().numpy(),
                is_last,
            )
            if rows is None:
                break
            rows = _on(device, rows)
            state.select(rows, None if sentences is None else _on(device, sentences))
            if language_model is not None:
                language_model.select(rows)
            tokens = _on(device, hypotheses.tokens[-1])
            scores = _on(device, hypotheses.scores[-1])
        return best_first(hypotheses.finished)

    def _candidates(
        self, logits: Tensor, step: int, is_last: bool, lm_scores: Optional[Tensor] = None
    ):
        """Log-probabilities and tokens, ``W*B x k``, that can be among the best.

        Args:
            logits: of the model, ``W*B x V``.
            step: number of tokens before these.
            is_last: only EOS may follow.
            lm_scores: what a language model adds to the log-probabilities, ``W*B x V``.
        """
        if is_last or lm_scores is not None:
            log_p = torch.log_softmax(logits.float(), -1)
            if lm_scores is not None:
                log_p = log_p + lm_scores
        if is_last:
            log_p = log_p[:, self.eos].unsqueeze(1)
            return log_p, torch.full_like(log_p, self.eos, dtype=torch.long)
        # One hypothesis contributes at most 2 * beam; three more tokens may be barred below.
        k = 2 * self.beam_size + 3
        log_p, tokens = top_log_probs(logits, k) if lm_scores is None else log_p.topk(k)
        barred = tokens == self.pad
        if step < self.min_len:
            barred |= tokens == self.eos
        log_p = log_p.float().masked_fill_(barred, -math.inf)
        if self.unk_penalty != 0.0:
            log_p = torch.where(tokens == self.unk, log_p - self.unk_penalty, log_p)
        return log_p, tokens


class Fusion:
    """Shallow fusion with a language model ``lrn_lm``, which reads each token once.

    Args:
        model: the language model; its dictionary is the target dictionary.
        weight: of its log-probabilities (``--lm-weight``).

    Source: Gulcehre et al. (2015), section 4.1.
    """

    def __init__(self, model: Any, weight: float):
        self.model, self.weight = model, weight
        self.states: Optional[List[Tensor]] = None  # 1 x W*B x state_size each
        self.step = model.decoder.fused_step()

    def scores(self, tokens: Tensor) -> Tensor:
        """What it adds to the log-probabilities of the next token, ``W*B x V``.

        Args:
            tokens: the newest tokens, ``W x B``.
        """
        decoder = self.model.decoder
        features, _, self.states = decoder.read(tokens.reshape(1, -1), self.states, self.step)
        logits = decoder.output_layer(features.transpose(0, 1))  # 1 x W*B x C to W*B x 1 x C
        log_p = self.model.get_normalized_probs((logits, {}), log_probs=True)
        scores = self.weight * log_p[:, 0].float()
        # What never occurs in a text is barred, also if the weight is negative.
        start, end = decoder.classes
        scores[:, :start] = -math.inf
        scores[:, end:] = -math.inf
        return scores

    def select(self, rows: Tensor) -> None:
        """Keep only the hypotheses *rows*, ``W'*B'``, in their given order."""
        assert self.states is not None
        self.states = [state.index_select(1, rows) for state in self.states]


class Hypotheses:
    """The hypotheses of a beam search, stored as links to their parents.

    Hypothesis w of unfinished sentence b has the row w * B + b.

    Args:
        sentences: number of sentences.
        beam: hypotheses per sentence.
        eos: index of the end-of-sentence token.
        normaliser: function from a number of tokens to the length normaliser of the score.

    Attributes:
        tokens, scores, parents: for each step, the new tokens, the scores up to them and the
            rows that they extend, ``W x B``.
        finished: finished hypotheses of each sentence, in fairseq's form.
    """

    def __init__(self, sentences: int, beam: int, eos: int, normaliser):
        self.beam, self.eos, self.normaliser = beam, eos, normaliser
        self.sentences = np.arange(sentences)  # indices of the unfinished sentences
        self.finished: List[List[Dict[str, Tensor]]] = [[] for _ in range(sentences)]
        self.tokens: List[np.ndarray] = []
        self.scores: List[np.ndarray] = []
        self.parents: List[np.ndarray] = []

    def extend(self, scores, tokens, parents, is_last: bool):
        """Extend the hypotheses by one token.

        Args:
            scores, tokens, parents: the best candidates, ``B x 2*beam``, best first; a parent is
                the index of a hypothesis in its sentence.
            is_last: every hypothesis ends with this token.

        Returns:
            rows of the unfinished hypotheses (None if there are none), and the indices of the
            sentences that they belong to (None if no sentence finished).
        """
        batch = len(self.sentences)
        rows = parents * batch + np.arange(batch)[:, None]
        ends = (tokens == self.eos) & np.isfinite(scores)
        unfinished = None
        if is_last or ends.any():
            unfinished = self._end(scores, rows, ends, is_last)
            if len(unfinished) == 0:
                return None, None
            # The best candidates that do not end; a stable sort keeps their order.
            order = np.argsort(ends, axis=1, kind="stable")[:, : self.beam]
            rows, tokens, scores = (
                np.take_along_axis(array, order, axis=1) for array in (rows, tokens, scores)
            )
            if len(unfinished) == batch:
                unfinished = None
            else:
                self.sentences = self.sentences[unfinished]
                rows, tokens, scores = (array[unfinished] for array in (rows, tokens, scores))
        for history, candidates in (
            (self.parents, rows),
            (self.tokens, tokens),
            (self.scores, scores),
        ):
            history.append(np.ascontiguousarray(candidates[:, : self.beam].T))  # W x B
        return self.parents[-1].reshape(-1), unfinished

    def _end(self, scores, rows, ends, is_last: bool):
        """Store the hypotheses that end; return the indices of the unfinished sentences."""
        sentences, positions = np.nonzero(ends[:, : self.beam])
        if len(sentences) > 0:
            length = len(self.tokens) + 1
            tokens, steps = self._trace(rows[sentences, positions])
            steps[:, -1] = scores[sentences, positions]
            total = torch.from_numpy(steps[:, -1] / np.float32(self.normaliser(length)))
            steps[:, 1:] -= steps[:, :-1].copy()
            tokens, steps = torch.from_numpy(tokens), torch.from_numpy(steps)
            for index, sentence in enumerate(self.sentences[sentences]):
                if len(self.finished[sentence]) < self.beam:
                    self.finished[sentence].append(
                        hypothesis(tokens[index], steps[index], total[index])
                    )
        if is_last:
            return np.arange(0)
        counts = [len(self.finished[sentence]) for sentence in self.sentences]
        return np.flatnonzero(np.array(counts) < self.beam)

    def _trace(self, rows):
        """Tokens, EOS last, and the score up to each token, ``N x length``, for N rows."""
        length = len(self.tokens) + 1
        tokens = np.full((len(rows), length), self.eos)
        scores = np.zeros((len(rows), length), dtype=np.float32)
        for step in reversed(range(length - 1)):
            tokens[:, step] = self.tokens[step].reshape(-1)[rows]
            scores[:, step] = self.scores[step].reshape(-1)[rows]
            rows = self.parents[step].reshape(-1)[rows]
        return tokens, scores


def hypothesis(tokens: Tensor, scores: Tensor, total: Tensor) -> Dict[str, Tensor]:
    """A hypothesis in fairseq's form, on the CPU.

    Args:
        tokens: EOS included, ``n``.
        scores: log-probability of each token, ``n``.
        total: normalised score, a scalar.
    """
    return {
        "tokens": tokens,
        "score": total,
        "attention": torch.empty(0, device="cpu"),
        "alignment": torch.empty(0, device="cpu"),
        "positional_scores": scores,
    }


def best_first(finished: List[List[Dict[str, Tensor]]]) -> List[List[Dict[str, Tensor]]]:
    """The hypotheses of each sentence, best first."""
    return [
        sorted(hypotheses, key=lambda one: float(one["score"]), reverse=True)
        for hypotheses in finished
    ]


def _on(device: torch.device, array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).to(device)
