"""Whether a model translates alike however it is made to: ``scripts/check_translations.py``.

The same sentences in batches of other sizes, padded on either side or hardly at all, sorted or
shuffled, with a prefix, as an ensemble with itself, with fairseq's search and with ours, on every
backend; and the log-probabilities of the search, one token at a time, against those of whole
sentences at once.
"""

import contextlib
import math
import os
import random
from typing import Dict, Iterator, List, NamedTuple, Sequence, Tuple

import torch
from fairseq import checkpoint_utils, tasks
from fairseq.dataclass.configs import GenerationConfig
from omegaconf import OmegaConf

from fairseq_lrn import checkpoints
from fairseq_lrn.errors import InputError
from fairseq_lrn.ops import dispatch

PREFIX = 3


class Condition(NamedTuple):
    """A way of translating.

    Attributes:
        name: in the table.
        batch_size: sentences in a batch.
        order: of the sentences: ``"sorted"`` by length, as fairseq-generate does,
            ``"shuffled"``, or ``"alike"``: only sentences of one length share a batch, so that
            there is no padding.
        left_pad: whether the padding of the source is on its left.
        search: ``"translation"`` (fairseq's) or ``"translation_lrn"`` (ours).
        backend: that computes the recurrence.
        copies: of the model in the ensemble.
        prefix: how many tokens of the reference each translation must begin with.
    """

    name: str
    batch_size: int = 64
    order: str = "sorted"
    left_pad: bool = True
    search: str = "translation"
    backend: str = "auto"
    copies: int = 1
    prefix: int = 0


class Difference(NamedTuple):
    """What a condition gave, compared with the first (or the first with its prefix).

    Attributes:
        name: of the condition.
        sentences: compared.
        different: how many of their translations are others.
        score: largest difference between log-probabilities of a token, of translations that are
            the same.
    """

    name: str
    sentences: int
    different: int
    score: float


class ScoredTokens(NamedTuple):
    """The best hypothesis: its tokens, and the log-probability of each, both of its length."""

    tokens: Tuple[int, ...]
    scores: torch.Tensor


def conditions(backends: Sequence[str]) -> List[Condition]:
    """All that are compared; the first is what the others are compared with."""
    chosen = [
        Condition("fairseq's search, batches of 64 by length"),
        Condition("batches of 1", batch_size=1),
        Condition("batches of 7", batch_size=7),
        Condition("batches of 128", batch_size=128),
        Condition("right-padded", left_pad=False),
        Condition("not padded", order="alike"),
        Condition("shuffled", order="shuffled"),
        Condition("shuffled, right-padded", order="shuffled", left_pad=False),
        Condition("twice the model, as an ensemble", copies=2),
        Condition("our search", search="translation_lrn"),
        Condition("our search, batches of 1", batch_size=1, search="translation_lrn"),
        Condition(
            "our search, batches of 128, shuffled, right-padded",
            *(128, "shuffled", False, "translation_lrn"),
        ),
        Condition("a prefix", prefix=PREFIX),
        Condition("a prefix, batches of 1", batch_size=1, prefix=PREFIX),
        Condition(
            "a prefix, our search, shuffled, right-padded",
            *(64, "shuffled", False, "translation_lrn"),
            prefix=PREFIX,
        ),
    ]
    for backend in backends:
        options = {"batch_size": 128, "backend": backend}
        chosen.append(Condition(f"backend {backend}", **options))
        chosen.append(
            Condition(f"backend {backend}, our search", **options, search="translation_lrn")
        )
    return chosen


class SubsetTranslator:
    """A trained model with data to translate.

    Args:
        path: checkpoint.
        data: directory that fairseq-preprocess made.
        subset: of the data.
        beam: hypotheses that the search keeps.

    Raises:
        InputError: the checkpoint or the data cannot be used.
    """

    def __init__(self, path: str, data: str, subset: str, beam: int):
        checkpoints.load(path)  # says what is wrong with it
        if not os.path.isdir(data):
            raise InputError(f"{data} is no directory with data that fairseq-preprocess made")
        models, self.config, task = checkpoint_utils.load_model_ensemble_and_task(
            [path], arg_overrides={"data": data}
        )
        self.model = models[0].eval()
        self.model.make_generation_fast_(beamable_mm_beam_size=None, need_attn=False)
        settings = OmegaConf.to_container(OmegaConf.create(self.config.task), resolve=False)
        settings = {**settings, "data": data}
        self.tasks = {}
        for name in ("translation", "translation_lrn"):
            known = {**settings, "_name": name}
            self.tasks[name] = tasks.setup_task(OmegaConf.create(known))
        try:
            task.load_dataset(subset)
        except FileNotFoundError as error:
            raise InputError(f"{data} has no subset {subset}: {error}") from error
        self.dataset = task.dataset(subset)
        self.generation = OmegaConf.structured(GenerationConfig)
        self.generation.beam = beam

    def batches(self, condition: Condition) -> Iterator[List[int]]:
        """Numbers of the sentences that share a batch."""
        order = sorted(range(len(self.dataset)), key=self.dataset.src_sizes.__getitem__)
        if condition.order == "shuffled":
            random.Random(1).shuffle(order)
        batch: List[int] = []
        for index in order:
            other = batch and self.dataset.src_sizes[batch[0]] != self.dataset.src_sizes[index]
            if len(batch) == condition.batch_size or (condition.order == "alike" and other):
                yield batch
                batch = []
            batch.append(index)
        yield batch

    @torch.no_grad()
    def translate(self, condition: Condition) -> Dict[int, ScoredTokens]:
        """The best translation of each sentence, by number."""
        task = self.tasks[condition.search]
        models = [self.model] * condition.copies
        generator = task.build_generator(models, self.generation)
        self.dataset.left_pad_source = condition.left_pad
        found = {}
        with _on_backend(condition.backend):
            for batch in self.batches(condition):
                sample = self.dataset.collater([self.dataset[index] for index in batch])
                prefix = sample["target"][:, : condition.prefix] if condition.prefix else None
                hypotheses = task.inference_step(generator, models, sample, prefix_tokens=prefix)
                for index, best in zip(sample["id"].tolist(), hypotheses):
                    tokens = tuple(best[0]["tokens"].tolist())
                    found[index] = ScoredTokens(tokens, best[0]["positional_scores"].clone())
        return found

    @torch.no_grad()
    def teacher_forced(
        self, translations: Dict[int, ScoredTokens], backend: str = "auto"
    ) -> Dict[int, ScoredTokens]:
        """The same translations with the log-probabilities of whole sentences at once."""
        scored = {}
        self.dataset.left_pad_source = True
        with _on_backend(backend):
            for index, translation in translations.items():
                net_input = self.dataset.collater([self.dataset[index]])["net_input"]
                tokens = torch.tensor(translation.tokens)
                net_input["prev_output_tokens"] = tokens.roll(1)[None]  # its end of sentence first
                scores = self.model.get_normalized_probs(self.model(**net_input), log_probs=True)
                scored[index] = ScoredTokens(
                    translation.tokens, scores[0].gather(1, tokens[:, None])[:, 0]
                )
        return scored


@contextlib.contextmanager
def _on_backend(name: str) -> Iterator[None]:
    before = os.environ.get(dispatch.BACKEND_VARIABLE)
    os.environ[dispatch.BACKEND_VARIABLE] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[dispatch.BACKEND_VARIABLE]
        else:
            os.environ[dispatch.BACKEND_VARIABLE] = before


def difference(
    name: str, found: Dict[int, ScoredTokens], reference: Dict[int, ScoredTokens]
) -> Difference:
    """Compare the translations of two ways, by sentence number; *name* is that of the first."""
    same = [index for index in reference if found[index].tokens == reference[index].tokens]
    score = max(
        ((found[i].scores - reference[i].scores).abs().max().item() for i in same),
        default=math.nan,
    )
    return Difference(name, len(reference), len(reference) - len(same), score)


def compare(translator: SubsetTranslator, chosen: Sequence[Condition]) -> Iterator[Difference]:
    """Translate under each condition, and compare; see :class:`Difference`.

    The search gives log-probabilities as differences of sums in float32. Backends are compared
    by those of whole sentences at once, too, which have no such rounding.
    """
    references: Dict[int, Dict[int, ScoredTokens]] = {}
    at_once: Dict[int, ScoredTokens] = {}
    for condition in chosen:
        found = translator.translate(condition)
        reference = references.setdefault(condition.prefix, found)
        yield difference(condition.name, found, reference)
        if not at_once:
            at_once = translator.teacher_forced(found)
            yield difference("whole sentences at once (teacher-forced)", at_once, found)
        if condition.backend != "auto" and condition.search == "translation":
            scored = translator.teacher_forced(reference, condition.backend)
            name = f"{condition.name}, whole sentences at once"
            yield difference(name, scored, at_once)
