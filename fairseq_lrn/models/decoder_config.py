"""Options that all models with LRN decoder layers share. The names follow fairseq's models."""

from dataclasses import dataclass, field
from typing import List, Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from fairseq_lrn.models.ablations import layer_parts
from fairseq_lrn.models.config_checks import (
    check_activation,
    check_choices,
    check_counts,
    check_probabilities,
    check_widths,
    warn_of_no_effect,
)
from fairseq_lrn.modules.cells import CELLS
from fairseq_lrn.ops import ACTIVATIONS
from fairseq_lrn.options import check_minimum


@dataclass
class DecoderConfig(FairseqDataclass):
    """Options of a decoder of LRN layers, with or without attention.

    The defaults are the defaults of the base architectures, so a configuration without an
    architecture is complete.
    """

    decoder_embed_dim: int = field(
        default=512,
        metadata={"help": "decoder embedding dimension, and width of the decoder layers"},
    )
    decoder_hidden_size: int = field(default=512, metadata={"help": "decoder state size"})
    decoder_layers: int = field(default=2, metadata={"help": "number of decoder layers"})
    decoder_ffn_embed_dim: int = field(
        default=0,
        metadata={"help": "width of the feed-forward block in each decoder layer; 0: none"},
    )
    decoder_normalize_before: bool = field(
        default=False, metadata={"help": "pre-norm: layer norm before each decoder block"}
    )
    decoder_embed_path: Optional[str] = field(
        default=None,
        metadata={
            "help": "path to pre-trained decoder embeddings (keep the file: generation reads it "
            "again)"
        },
    )
    decoder_freeze_embed: bool = field(
        default=False, metadata={"help": "freeze decoder embeddings"}
    )
    share_decoder_input_output_embed: bool = field(
        default=False, metadata={"help": "share decoder input and output embeddings"}
    )
    no_scale_embedding: bool = field(
        default=False, metadata={"help": "do not multiply embeddings by sqrt(embed dim)"}
    )
    adaptive_softmax_cutoff: Optional[str] = field(
        default=None,
        metadata={
            "help": "cutoffs of adaptive softmax, e.g. 2000,8000; for --criterion adaptive_loss"
        },
    )
    adaptive_softmax_dropout: float = field(
        default=0.0,
        metadata={"help": "dropout probability of adaptive softmax, at its input and in its tails"},
    )
    adaptive_softmax_factor: float = field(
        default=4.0, metadata={"help": "each tail of adaptive softmax is narrower by this factor"}
    )
    cell: ChoiceEnum(CELLS) = field(default="lrn", metadata={"help": "recurrent cell"})
    activation_fn: ChoiceEnum(ACTIVATIONS) = field(
        default="tanh", metadata={"help": "output activation g of the cells lrn, olrn and atr"}
    )
    layernorm_projection: bool = field(
        default=False,
        metadata={"help": "layer norm on the recurrence's projections of input and state"},
    )
    no_projection_bias: bool = field(
        default=False, metadata={"help": "no bias in the projections of the recurrence's input"}
    )
    dropout: float = field(default=0.1, metadata={"help": "dropout probability"})
    locked_dropout: bool = field(
        default=False,
        metadata={"help": "drop the same elements at every position of a sentence"},
    )
    word_dropout: float = field(
        default=0.0, metadata={"help": "probability of dropping a token's whole embedding"}
    )
    decoder_dropout_in: Optional[float] = field(
        default=None, metadata={"help": "dropout for decoder embeddings (default: --dropout)"}
    )
    decoder_dropout_out: Optional[float] = field(
        default=None, metadata={"help": "dropout for decoder layer branches (default: --dropout)"}
    )
    ablation: Optional[str] = field(
        default=None,
        metadata={
            "help": "registered changes of the layers for an experiment, joined by +; "
            "see scripts/ablations"
        },
    )

    def dropout_probability(self, option: str) -> float:
        """The value of *option*, e.g. ``"encoder_dropout_in"``, or of ``dropout`` if it is None."""
        value = getattr(self, option)
        return self.dropout if value is None else value

    def check(self) -> None:
        """Refuse invalid values and conflicting options.

        Raises:
            ValueError: names the option and the remedy.
        """
        check_counts(self, "decoder_embed_dim", "decoder_hidden_size", "decoder_layers")
        check_widths(self, "decoder_ffn_embed_dim")
        check_probabilities(
            self,
            "dropout",
            "word_dropout",
            "adaptive_softmax_dropout",
            "decoder_dropout_in",
            "decoder_dropout_out",
        )
        self.check_adaptive_softmax()
        layer_parts(self.ablation)
        check_choices(self, cell=CELLS, activation_fn=ACTIVATIONS)
        check_activation(self)

    def shares_output_embeddings(self) -> bool:
        """Whether the output layer uses the embedding matrix of the decoder."""
        shared = ("share_all_embeddings", "share_decoder_input_output_embed")
        return any(getattr(self, name, False) for name in shared)

    def adaptive_softmax_cutoffs(self) -> List[int]:
        """``--adaptive-softmax-cutoff`` as numbers."""
        return [int(cutoff) for cutoff in self.adaptive_softmax_cutoff.split(",")]

    def check_adaptive_softmax(self) -> None:
        """Check the options of adaptive softmax, see :meth:`check`."""
        if self.adaptive_softmax_cutoff is None:
            names = "adaptive_softmax_dropout", "adaptive_softmax_factor"
            warn_of_no_effect(self, "without --adaptive-softmax-cutoff", *names)
            return
        try:
            cutoffs = self.adaptive_softmax_cutoffs()
        except ValueError:
            cutoffs = [0]
        if cutoffs[0] < 2 or sorted(set(cutoffs)) != cutoffs:
            raise ValueError(
                "--adaptive-softmax-cutoff must be ascending numbers of tokens from 2 on, e.g. "
                f"2000,8000, not {self.adaptive_softmax_cutoff}"
            )
        check_minimum(1, adaptive_softmax_factor=self.adaptive_softmax_factor)
        narrowest = self.decoder_embed_dim // self.adaptive_softmax_factor ** len(cutoffs)
        if narrowest < 1:
            raise ValueError(
                f"--adaptive-softmax-cutoff {self.adaptive_softmax_cutoff} makes too many tails: "
                f"with --adaptive-softmax-factor {self.adaptive_softmax_factor} and "
                f"--decoder-embed-dim {self.decoder_embed_dim}, the width of the last tail would "
                "be 0; give fewer cutoffs or a smaller factor"
            )
        if self.shares_output_embeddings() and self.adaptive_softmax_factor != 1.0:
            raise ValueError(
                "--adaptive-softmax-cutoff can share the output embeddings only if all tails are "
                "as wide as them: add --adaptive-softmax-factor 1, or leave out "
                "--share-all-embeddings and --share-decoder-input-output-embed"
            )
