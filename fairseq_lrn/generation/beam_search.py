"""fairseq's beam search for decoders whose state is small.

fairseq's own copies everything that belongs to a hypothesis at every step, the encoder's output
and the tokens so far included, and sorts the whole vocabulary's log-probabilities. Here the
hypotheses of a sentence share its memory, only recurrent states are copied, the likeliest
symbols are found without the others' log-probabilities, and a hypothesis is read back through
its parents when it ends.
"""

import logging
import math
from typing import Dict, List, Optional

import numpy as np
import torch
from fairseq.search import BeamSearch
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor

from fairseq_lrn.ops import top_log_probs

logger = logging.getLogger(__name__)


class RecurrentSequenceGenerator(SequenceGenerator):
    """fairseq's generator: the same hypotheses and scores, in less time.

    Decoders with ``start_search`` and ``search_step`` (see
    :class:`~fairseq_lrn.models.translation.lrn_model.LRNDecoder`) are searched with one model and plain beam
    search, greedy search included. For anything else, :meth:`obstacle` says what, the search is
    fairseq's.
    """

    def obstacle(self, prefix_tokens=None, constraints=None) -> str:
        """Why this search has to be fairseq's own; empty if it has not.

        Args:
            prefix_tokens, constraints: as of :meth:`generate`.
        """
        decoder = getattr(self.model.single_model, "decoder", None)
        obstacles = {
            "an ensemble": self.model.models_size > 1,
            "a decoder without start_search": not hasattr(decoder, "start_search"),
            "an adaptive softmax": getattr(decoder, "adaptive_softmax", None) is not None,
            "attention weights": getattr(decoder, "need_attn", False),
            "another search than beam search": type(self.search) is not BeamSearch,
            "constraints": constraints is not None,
            "a prefix": prefix_tokens is not None,
            "a language model": self.lm_model is not None,
            "--no-repeat-ngram-size": self.repeat_ngram_blocker is not None,
            "tokens to suppress": self.token_indices_to_suppress is not None,
            "--match-source-len": self.match_source_len,
            "a negative --unkpen": self.unk_penalty < 0,
            "a beam for this small a vocabulary": self.vocab_size <= 2 * self.beam_size + 3,
        }
        return next((what for what, there in obstacles.items() if there), "")

    def normaliser(self, length: int) -> float:
        """What the score of a hypothesis of so many symbols, eos included, is divided by."""
        return length**self.len_penalty if self.normalize_scores else 1.0

    def _generate(
        self,
        sample: Dict[str, Dict[str, Tensor]],
        prefix_tokens: Optional[Tensor] = None,
        constraints: Optional[Tensor] = None,
        bos_token: Optional[int] = None,
    ) -> List[List[Dict[str, Tensor]]]:
        obstacle = self.obstacle(prefix_tokens, constraints)
        if obstacle:
            logger.debug("fairseq's own search, because of %s", obstacle)
            return super()._generate(sample, prefix_tokens, constraints, bos_token)
        net_input = sample["net_input"]
        src_tokens = net_input["src_tokens"]
        longest = min(int(self.max_len_a * src_tokens.size(1) + self.max_len_b), self.max_len - 1)
        if self.min_len > longest:
            raise ValueError(
                f"--min-len {self.min_len} is above the longest translation, {longest}: lower it, "
                "or raise --max-len-a or --max-len-b"
            )
        decoder = self.model.single_model.decoder
        encoder_out = self.model.forward_encoder(net_input)[0]
        return self._search(
            decoder,
            decoder.start_search(encoder_out),
            torch.full_like(src_tokens[:, 0], self.eos if bos_token is None else bos_token),
            longest,
        )

    def _search(self, decoder, state, tokens: Tensor, longest: int):
        """
        Args:
            decoder: with ``search_step``.
            state: what the decoder knows of each of B sentences.
            tokens: first symbols, ``B``.
            longest: symbols of a hypothesis, without eos.
        """
        beam, device = self.beam_size, tokens.device
        hypotheses = Hypotheses(tokens.size(0), beam, self.eos, self.normaliser)
        tokens = tokens.unsqueeze(0)
        scores = torch.zeros_like(tokens, dtype=torch.float32)
        for step in range(longest + 1):
            features = decoder.search_step(tokens, state)
            logits = decoder.output_layer(features.unsqueeze(0))[0]
            if self.temperature != 1.0:
                logits = logits.float() / self.temperature
            is_last = step == longest
            log_p, symbols = self._candidates(logits, step, is_last)
            # From hypotheses to sentences: W*B x k to B x W*k.
            width, batch = tokens.shape
            log_p = (log_p.view(width, batch, -1) + scores.unsqueeze(-1)).transpose(0, 1)
            symbols = symbols.view(width, batch, -1).transpose(0, 1).reshape(batch, -1)
            best, places = log_p.reshape(batch, -1).topk(min(2 * beam, symbols.size(1)), dim=1)
            parents = torch.div(places, log_p.size(2), rounding_mode="floor")
            rows, sentences = hypotheses.extend(
                best.cpu().numpy(),
                symbols.gather(1, places).cpu().numpy(),
                parents.cpu().numpy(),
                is_last,
            )
            if rows is None:
                break
            state.select(_on(device, rows), None if sentences is None else _on(device, sentences))
            tokens = _on(device, hypotheses.tokens[-1])
            scores = _on(device, hypotheses.scores[-1])
        found = hypotheses.finished()
        if not all(found):
            raise RuntimeError(
                "beam search found no translation of some sentences: the model's probabilities "
                "are NaN, or that of the end of sentence is 0; is the checkpoint damaged, or "
                "was its training unstable?"
            )
        return found

    def _candidates(self, logits: Tensor, step: int, is_last: bool):
        """Log-probabilities and symbols, ``W*B x k``, of all that can be among the best."""
        if is_last:
            log_p = torch.log_softmax(logits.float(), -1)[:, self.eos].unsqueeze(1)
            return log_p, torch.full_like(log_p, self.eos, dtype=torch.long)
        # Of one hypothesis there are 2 * beam at most, beside those that are taken out here.
        log_p, symbols = top_log_probs(logits, 2 * self.beam_size + 3)
        barred = symbols == self.pad
        if step < self.min_len:
            barred |= symbols == self.eos
        log_p = log_p.float().masked_fill_(barred, -math.inf)
        if self.unk_penalty != 0.0:
            log_p = torch.where(symbols == self.unk, log_p - self.unk_penalty, log_p)
        return log_p, symbols


class Hypotheses:
    """The hypotheses of a beam search, as parents, and those that have ended.

    Hypothesis w of sentence b, of those that go on, has the row w * B + b.

    Args:
        sentences: how many.
        beam: hypotheses for each.
        eos: the symbol that ends one.
        normaliser: gives what the score of so many symbols is divided by.

    Attributes:
        tokens, scores, parents: for each step, the new symbols, the scores up to them and the
            rows that they go on from, ``W x B``.
    """

    def __init__(self, sentences: int, beam: int, eos: int, normaliser):
        self.beam, self.eos, self.normaliser = beam, eos, normaliser
        self.numbers = np.arange(sentences)  # of the sentences that go on
        self.ended: List[List[Dict[str, Tensor]]] = [[] for _ in range(sentences)]
        self.tokens: List[np.ndarray] = []
        self.scores: List[np.ndarray] = []
        self.parents: List[np.ndarray] = []

    def extend(self, scores, symbols, parents, is_last: bool):
        """Go on by one symbol.

        Args:
            scores, symbols, parents: of the best candidates ``B x 2*beam``, best first; parents
                are numbers of hypotheses.
            is_last: no hypothesis goes on after this.

        Returns:
            rows of the hypotheses that go on, and of which sentences, if not of all. The rows
            are None where none goes on.
        """
        batch = len(self.numbers)
        rows = parents * batch + np.arange(batch)[:, None]
        ends = (symbols == self.eos) & np.isfinite(scores)
        going_on = None
        if is_last or ends.any():
            going_on = self._end(scores, rows, ends, is_last)
            if len(going_on) == 0:
                return None, None
            # The best that do not end; sorting is stable.
            order = np.argsort(ends, axis=1, kind="stable")[:, : self.beam]
            rows, symbols, scores = (
                np.take_along_axis(one, order, axis=1) for one in (rows, symbols, scores)
            )
            if len(going_on) == batch:
                going_on = None
            else:
                self.numbers = self.numbers[going_on]
                rows, symbols, scores = (one[going_on] for one in (rows, symbols, scores))
        for history, of_all in (
            (self.parents, rows),
            (self.tokens, symbols),
            (self.scores, scores),
        ):
            history.append(np.ascontiguousarray(of_all[:, : self.beam].T))
        return self.parents[-1].reshape(-1), going_on

    def _end(self, scores, rows, ends, is_last: bool):
        """End hypotheses; return which sentences still have some that go on."""
        sentences, places = np.nonzero(ends[:, : self.beam])
        if len(sentences) > 0:
            length = len(self.tokens) + 1
            symbols, steps = self._trace(rows[sentences, places])
            steps[:, -1] = scores[sentences, places]
            total = torch.from_numpy(steps[:, -1] / np.float32(self.normaliser(length)))
            steps[:, 1:] -= steps[:, :-1].copy()
            symbols, steps = torch.from_numpy(symbols), torch.from_numpy(steps)
            for index, sentence in enumerate(self.numbers[sentences]):
                if len(self.ended[sentence]) < self.beam:
                    self.ended[sentence].append(
                        {
                            "tokens": symbols[index],
                            "score": total[index],
                            "attention": torch.empty(0),
                            "alignment": torch.empty(0),
                            "positional_scores": steps[index],
                        }
                    )
        if is_last:
            return np.arange(0)
        return np.array(
            [i for i, number in enumerate(self.numbers) if len(self.ended[number]) < self.beam],
            dtype=np.int64,
        )

    def _trace(self, rows):
        """Symbols, eos last, and scores up to each, ``N x length``, of hypotheses in N rows."""
        length = len(self.tokens) + 1
        symbols = np.full((len(rows), length), self.eos)
        scores = np.zeros((len(rows), length), dtype=np.float32)
        for step in reversed(range(length - 1)):
            symbols[:, step] = self.tokens[step].reshape(-1)[rows]
            scores[:, step] = self.scores[step].reshape(-1)[rows]
            rows = self.parents[step].reshape(-1)[rows]
        return symbols, scores

    def finished(self) -> List[List[Dict[str, Tensor]]]:
        """For each sentence its hypotheses that have ended, best first; on the CPU."""
        return [
            sorted(hypotheses, key=lambda one: float(one["score"]), reverse=True)
            for hypotheses in self.ended
        ]


def _on(device: torch.device, array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).to(device)
