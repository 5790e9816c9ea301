"""Check that a model translates the same under all conditions: ``scripts/check_translations.py``.

The conditions differ in batch size, padding, order of the sentences, prefix, ensemble (the model
with itself), search (fairseq's and ours) and backend. The check also compares the log-probabilities
of the search, which computes one token at a time, with the log-probabilities of whole sentences
(teacher-forced).
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
    """A way to translate.

    Attributes:
        name: name in the table.
        batch_size: sentences per batch.
        order: order of the sentences: ``"sorted"`` by length, like fairseq-generate;
            ``"shuffled"``; or ``"same length"``: all sentences of a batch have the same length, so
            there is no padding.
        left_pad: whether source padding is on the left.
        search: task whose search translates: ``"translation"`` (fairseq's) or
            ``"translation_lrn"`` (ours).
        backend: backend that computes the recurrence.
        copies: number of copies of the model in the ensemble.
        prefix: number of reference tokens with which each translation must begin.
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
    """Translations under a condition, compared with the first condition with the same prefix.

    Attributes:
        name: name of the condition.
        sentences: number of sentences compared.
        different: number of sentences whose translations differ.
        log_probability: largest difference in the log-probability of a token, over sentences with
            equal translations; NaN if there are none.
    """

    name: str
    sentences: int
    different: int
    log_probability: float


class ScoredTokens(NamedTuple):
    """The best hypothesis of a sentence.

    Attributes:
        tokens: its tokens, EOS included.
        scores: log-probability of each token.
    """

    tokens: Tuple[int, ...]
    scores: torch.Tensor


def conditions(backends: Sequence[str]) -> List[Condition]:
    """All conditions. The others are compared with the first.

    Args:
        backends: names of the backends to include.
    """
    chosen = [
        Condition("fairseq's search, batches of 64 by length"),
        Condition("batches of 1", batch_size=1),
        Condition("batches of 7", batch_size=7),
        Condition("batches of 128", batch_size=128),
        Condition("right-padded", left_pad=False),
        Condition("not padded", order="same length"),
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
    """A trained model and a subset of prepared data to translate.

    Args:
        path: path of the checkpoint.
        data: directory of prepared data.
        subset: the subset of the data to translate.
        beam: beam size.

    Raises:
        InputError: the checkpoint or the data cannot be used.
    """

    def __init__(self, path: str, data: str, subset: str, beam: int):
        checkpoints.load(path)  # raises an InputError if the checkpoint cannot be used
        if not os.path.isdir(data):
            raise InputError(f"{data} is not a directory: prepare data with fairseq-lrn prepare")
        models, self.config, task = checkpoint_utils.load_model_ensemble_and_task(
            [path], arg_overrides={"data": data}
        )
        self.model = models[0].eval()
        self.model.make_generation_fast_(beamable_mm_beam_size=None, need_attn=False)
        settings = OmegaConf.to_container(OmegaConf.create(self.config.task), resolve=False)
        settings = {**settings, "data": data}
        self.tasks = {}
        for name in ("translation", "translation_lrn"):
            known = vars(tasks.TASK_DATACLASS_REGISTRY[name]())
            options = {key: value for key, value in settings.items() if key in known}
            self.tasks[name] = tasks.setup_task(OmegaConf.create({**options, "_name": name}))
        try:
            task.load_dataset(subset)
        except FileNotFoundError as error:
            raise InputError(f"{data} has no subset {subset}: {error}") from error
        self.dataset = task.dataset(subset)
        self.generation = OmegaConf.structured(GenerationConfig)
        self.generation.beam = beam

    def batches(self, condition: Condition) -> Iterator[List[int]]:
        """The sentence numbers of each batch."""
        order = sorted(range(len(self.dataset)), key=self.dataset.src_sizes.__getitem__)
        if condition.order == "shuffled":
            random.Random(1).shuffle(order)
        batch: List[int] = []
        for index in order:
            longer = batch and self.dataset.src_sizes[batch[0]] != self.dataset.src_sizes[index]
            if len(batch) == condition.batch_size or (condition.order == "same length" and longer):
                yield batch
                batch = []
            batch.append(index)
        yield batch

    @torch.no_grad()
    def translate(self, condition: Condition) -> Dict[int, ScoredTokens]:
        """The best translation of each sentence, by sentence number."""
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
        """The same translations, with log-probabilities computed for whole sentences at once."""
        scored = {}
        self.dataset.left_pad_source = True
        with _on_backend(backend):
            for index, translation in translations.items():
                net_input = self.dataset.collater([self.dataset[index]])["net_input"]
                tokens = torch.tensor(translation.tokens)
                net_input["prev_output_tokens"] = tokens.roll(1)[None]  # 1 x T, EOS first
                scores = self.model.get_normalized_probs(self.model(**net_input), log_probs=True)
                scored[index] = ScoredTokens(
                    translation.tokens, scores[0].gather(1, tokens[:, None])[:, 0]
                )
        return scored


@contextlib.contextmanager
def _on_backend(name: str) -> Iterator[None]:
    """Let the environment select a backend."""
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
    """Compare two sets of translations, by sentence number.

    Args:
        name: name of the condition of *found*.
        found: translations under a condition.
        reference: translations to compare with.
    """
    same = [index for index in reference if found[index].tokens == reference[index].tokens]
    largest = max(
        ((found[i].scores - reference[i].scores).abs().max().item() for i in same),
        default=math.nan,
    )
    return Difference(name, len(reference), len(reference) - len(same), largest)


def compare(translator: SubsetTranslator, chosen: Sequence[Condition]) -> Iterator[Difference]:
    """Translate under each condition and yield its :class:`Difference`.

    A search computes the log-probability of a token as a difference of float32 sums, which rounds.
    Backends are therefore also compared on whole sentences at once, without this rounding.
    """
    references: Dict[int, Dict[int, ScoredTokens]] = {}  # by length of the prefix
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
