"""Language modelling on one stream of text: the state is carried from segment to segment."""

import logging
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Tuple

import torch
import torch.distributed as dist
from fairseq import utils
from fairseq.data import data_utils
from fairseq.data.iterators import EpochBatchIterator
from fairseq.models import FairseqLanguageModel
from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask
from torch import Tensor, nn

from fairseq_lrn.data.text_stream import Segments, Text, TextStream
from fairseq_lrn.errors import InputError
from fairseq_lrn.modules.data_parallel import unwrapped
from fairseq_lrn.options import check_minimum, option_name
from fairseq_lrn.tasks.architectures import check_architecture

logger = logging.getLogger(__name__)

# Options of fairseq's task that say how lines are cut into blocks, and their only value here.
FIXED = {
    "sample_break_mode": "none",
    "output_dictionary_size": -1,
    "self_target": False,
    "future_target": False,
    "past_target": False,
    "add_bos_token": False,
    "shorten_method": "none",
    "pad_to_fixed_length": False,
    "pad_to_fixed_bsz": False,
}


@dataclass
class StatefulLanguageModelingConfig(LanguageModelingConfig):
    """Options of ``--task stateful_language_modeling``, besides those of ``language_modeling``."""

    tokens_per_sample: int = field(
        default=70, metadata={"help": "tokens of a segment, per column, in training"}
    )
    vary_segments: bool = field(
        default=False,
        metadata={"help": "draw the length of each segment, around --tokens-per-sample"},
    )
    max_segment_excess: int = field(
        default=40,
        metadata={
            "help": "largest number of tokens by which a varied segment may exceed "
            "--tokens-per-sample"
        },
    )
    scale_lr_by_length: bool = field(
        default=False,
        metadata={"help": "multiply the learning rate by segment length / --tokens-per-sample"},
    )
    eval_tokens_per_sample: int = field(
        default=512,
        metadata={"help": "tokens of a segment in evaluation; the result does not depend on it"},
    )


@register_task("stateful_language_modeling", dataclass=StatefulLanguageModelingConfig)
class StatefulLanguageModelingTask(LanguageModelingTask):
    """Language modelling with truncated backpropagation through time.

    The lines of a subset, each with its ``</s>``, are one text. In training, the text is cut into
    ``--batch-size`` columns per process. Each batch is a segment of all columns. It begins with the
    state after the previous segment, without gradients through that state. In evaluation there is
    one column, so the perplexity is that of one pass over the text, whatever the batch size and
    the length of segments. Every token is predicted exactly once.

    The state is saved in checkpoints, so a training run can be resumed inside of an epoch.

    Raises:
        InputError: an option of ``language_modeling`` does not apply, or a number is out of range.

    Source: Merity et al. (2018), "Regularizing and optimizing LSTM language models", section 4.1.
    """

    def __init__(self, args, dictionary, output_dictionary=None, targets=None):
        super().__init__(args, dictionary, output_dictionary, targets)
        for name, value in FIXED.items():
            given = getattr(args, name, value)
            if str(given) != str(value):
                raise InputError(
                    f"{option_name(name)} {given} does not apply to --task "
                    "stateful_language_modeling: leave it out, or use --task language_modeling"
                )
        check_minimum(
            1,
            tokens_per_sample=args.tokens_per_sample,
            eval_tokens_per_sample=args.eval_tokens_per_sample,
        )
        check_minimum(0, max_segment_excess=args.max_segment_excess)
        default = StatefulLanguageModelingConfig.max_segment_excess
        if args.max_segment_excess != default and not args.vary_segments:
            logger.warning(
                "--max-segment-excess %d has no effect without --vary-segments",
                args.max_segment_excess,
            )
        self._carried = CarriedStates()
        self._update, self._lengths = -1, []  # of the segments of the update

    @classmethod
    def setup_dictionary(cls, args, **kwargs):
        """As in fairseq.

        Raises:
            InputError: the data have no dictionary, because another command made them.
        """
        try:
            return super().setup_dictionary(args, **kwargs)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(
                f"{args.data} has no dict.txt, so it does not have the data of a language model: "
                "give a directory that fairseq-lrn prepare-lm made"
            ) from error

    def build_model(self, args, from_checkpoint=False):
        """As in fairseq.

        Raises:
            InputError: the model is no language model, or carries no state.
        """
        check_architecture(args, FairseqLanguageModel, "stateful_language_modeling", "lrn_lm")
        model = super().build_model(args, from_checkpoint)
        _decoder(model)
        return model

    def load_dataset(self, split: str, epoch=1, combine=False, **kwargs) -> None:
        """Load a subset.

        Raises:
            FileNotFoundError: there is no such subset.
            InputError: it is empty, or has tokens that are no words of the dictionary.
        """
        paths = utils.split_paths(self.args.data)
        path = f"{paths[(epoch - 1) % len(paths)]}/{split}"
        if os.path.isfile(f"{path}.bin") and os.path.getsize(f"{path}.bin") == 0:
            raise InputError(f"{path}.bin is empty: prepare the data again with some text")
        lines = data_utils.load_indexed_dataset(
            path, self.dictionary, self.args.dataset_impl, combine=combine
        )
        if lines is None:
            raise FileNotFoundError(f"Dataset not found: {split} ({path})")
        text = Text(lines[index] for index in range(len(lines)))
        largest = int(text.tokens.max())
        if largest >= len(self.dictionary):
            raise InputError(
                f"{path} has token {largest}, but the dictionary has {len(self.dictionary)} "
                "entries: it belongs to other data; prepare them together"
            )
        for token in (self.dictionary.bos(), self.dictionary.pad()):
            if bool((text.tokens == token).any()):
                raise InputError(
                    f"{path} has the symbol {self.dictionary[token]}, which a language model does "
                    "not predict: remove it from the text, and prepare the data again"
                )
        self.datasets[split] = text

    def get_batch_iterator(
        self,
        dataset,
        max_tokens=None,
        max_sentences=None,
        seed=1,
        num_shards=1,
        shard_id=0,
        num_workers=0,
        epoch=1,
        data_buffer_size=0,
        **kwargs,
    ) -> EpochBatchIterator:
        """The segments of a text in their order. The arguments are those of fairseq.

        The segments are those of training if ``grouped_shuffling`` is among the arguments.

        Raises:
            InputError: in training, ``--batch-size`` is missing or ``--max-tokens`` is given.
        """
        if not isinstance(dataset, Text):  # prompts of fairseq-interactive
            return super().get_batch_iterator(
                dataset, max_tokens, max_sentences, seed=seed, num_shards=num_shards,
                shard_id=shard_id, num_workers=num_workers, epoch=epoch,
                data_buffer_size=data_buffer_size, **kwargs,
            )  # fmt: skip
        args = self.args
        # A text may be one to train on and to validate on. fairseq's trainer gives this argument,
        # whatever its value, where it asks for batches to train on, and nowhere else.
        is_training = "grouped_shuffling" in kwargs
        if not is_training:
            segments = Segments(1, args.eval_tokens_per_sample)
        elif max_sentences is None:
            raise InputError(
                "--task stateful_language_modeling needs --batch-size, the number of columns that "
                "are read side by side, e.g. --batch-size 20"
            )
        elif max_tokens is not None:
            raise InputError(
                f"--max-tokens {max_tokens} does not limit the batches of --task "
                "stateful_language_modeling, which have --batch-size times --tokens-per-sample "
                "tokens: leave it out"
            )
        else:
            segments = Segments(
                max_sentences, args.tokens_per_sample, args.vary_segments,
                args.max_segment_excess, seed,
            )  # fmt: skip
        stream = TextStream(
            dataset.tokens,
            segments,
            self.dictionary.eos(),
            self.dictionary.pad(),
            (shard_id, num_shards),
            shares_targets=not is_training,
        )
        return SegmentIterator(
            stream,
            self._carried,
            epoch=epoch,
            num_workers=num_workers,
            buffer_size=data_buffer_size,
        )

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        """As in fairseq. The first step after loading a checkpoint restores the carried state."""
        decoder = _decoder(model)
        tokens = sample["net_input"]["src_tokens"]
        saved, self._carried.saved = self._carried.saved, []
        if saved and sample["net_input"]["is_continued"]:
            decoder.carry_states(_own_columns(saved, tokens))
        if update_num != self._update:  # otherwise --update-freq adds its gradients
            self._update, self._lengths = update_num, []
        self._lengths.append(tokens.size(1))
        result = super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)
        self._carried.now = [_gathered(state) for state in decoder.carried_states()]
        return result

    def optimizer_step(self, optimizer, model, update_num):
        """As in fairseq, with a learning rate in proportion to the mean length of the segments."""
        if not self.args.scale_lr_by_length:
            super().optimizer_step(optimizer, model, update_num)
            return
        lr = optimizer.get_lr()
        mean_length = sum(self._lengths) / len(self._lengths)
        optimizer.set_lr(lr * mean_length / self.args.tokens_per_sample)
        try:
            super().optimizer_step(optimizer, model, update_num)
        finally:
            optimizer.set_lr(lr)

    def inference_step(self, generator, models, sample, *args, **kwargs):
        """As in fairseq, for the prompts of ``fairseq-interactive``.

        Raises:
            InputError: the sample is a segment of a text.
        """
        if "is_continued" in sample["net_input"]:
            raise InputError(
                "fairseq-generate cannot continue a text with --task stateful_language_modeling: "
                "use fairseq-lrn generate, or give --task language_modeling"
            )
        return super().inference_step(generator, models, sample, *args, **kwargs)

    def eval_lm_dataloader(self, dataset, num_shards=1, shard_id=0, num_workers=1, **kwargs):
        """The batches of ``fairseq-eval-lm``. The arguments are those of fairseq.

        Raises:
            InputError: ``--context-window`` is given.
        """
        if kwargs.get("context_window", 0) > 0:
            raise InputError(
                "--context-window does not apply to --task stateful_language_modeling, which "
                "carries the whole context: leave it out"
            )
        return self.get_batch_iterator(
            dataset, num_shards=num_shards, shard_id=shard_id, num_workers=num_workers
        ).next_epoch_itr(shuffle=False)


@dataclass
class CarriedStates:
    """The states after the last segment, of all processes' columns, ``1 x B x state_size`` each.

    Attributes:
        now: after the last update of this run.
        saved: from a checkpoint, until the first update.
    """

    now: List[Tensor] = field(default_factory=list)
    saved: List[Tensor] = field(default_factory=list)


class SegmentIterator(EpochBatchIterator):
    """The segments of a text in their order.

    Its state, which fairseq saves in checkpoints, is the position in the text and the states of the
    recurrence there.
    """

    def __init__(
        self,
        stream: TextStream,
        carried: CarriedStates,
        epoch: int,
        num_workers: int,
        buffer_size: int,
    ):
        self.carried = carried
        super().__init__(
            stream,
            stream.collater,
            batch_sampler=(),  # see frozen_batches
            num_workers=num_workers,
            epoch=epoch,
            buffer_size=buffer_size,
            disable_shuffling=True,
        )

    @property
    def frozen_batches(self):
        """The indices of the present epoch's segments; another epoch may have more or fewer."""
        self.dataset.set_epoch(self.epoch)
        return tuple([index] for index in range(len(self.dataset)))

    def state_dict(self) -> Dict[str, Any]:
        """As in fairseq, with the carried states and how the text is cut."""
        return {
            **super().state_dict(),
            "carried": [state.cpu() for state in self.carried.now],
            "segments": tuple(self.dataset.segments),
        }

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """As in fairseq, with the carried states.

        Raises:
            InputError: inside of an epoch, the text is cut in another way than before.
        """
        saved = state_dict.get("carried", [])
        if state_dict["iterations_in_epoch"] > 0:
            self._check_place(state_dict, saved)
        self.carried.saved = saved
        super().load_state_dict(state_dict)

    def _check_place(self, state_dict: Dict[str, Any], saved: List[Tensor]) -> None:
        segments, processes = self.dataset.segments, self.dataset.shard[1]
        remedy = "or begin with epoch 1 again (--reset-dataloader)"
        if not saved:
            raise InputError(
                "the checkpoint was saved inside of an epoch of another task, so it has no state "
                f"to go on with: resume from one that was saved at the end of an epoch, {remedy}"
            )
        columns = segments.columns * processes
        if saved[0].size(1) != columns:
            raise InputError(
                f"the checkpoint has the states of {saved[0].size(1)} columns, but --batch-size "
                f"times the number of processes is {columns}: keep their product, {remedy}"
            )
        # Checkpoints of earlier versions do not say how the text was cut.
        before = Segments(*state_dict.get("segments", segments))
        if before[1:] != segments[1:]:
            raise InputError(
                "the checkpoint was saved inside of an epoch that is cut into other segments "
                f"({before} before, {segments} now): keep --tokens-per-sample, --vary-segments, "
                f"--max-segment-excess and --seed, {remedy}"
            )


def _decoder(model: nn.Module) -> nn.Module:
    """The decoder of a model inside of its wrappers, which carries states.

    Raises:
        InputError: the model carries none.
    """
    model = unwrapped(model)
    decoder = getattr(model, "decoder", None)
    if not hasattr(decoder, "carry_states"):
        raise InputError(
            f"--task stateful_language_modeling needs a model that carries its state, such as "
            f"--arch lrn_lm, not {type(model).__name__}: use --task language_modeling"
        )
    return decoder


def _process() -> Tuple[int, int]:
    """Index of this process, and number of processes."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def _own_columns(states: List[Tensor], tokens: Tensor) -> List[Tensor]:
    """The states of this process' columns, for a batch *tokens*, ``B x T``, of these columns."""
    index, _ = _process()
    columns = tokens.size(0)
    mine = slice(index * columns, (index + 1) * columns)
    return [state[:, mine].to(tokens.device) for state in states]


def _gathered(state: Tensor) -> Tensor:
    """The states of all processes' columns, ``1 x B x state_size``."""
    _, number = _process()
    if number == 1:
        return state
    parts = [torch.empty_like(state) for _ in range(number)]
    dist.all_gather(parts, state.contiguous())
    return torch.cat(parts, dim=1)
