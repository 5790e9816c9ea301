"""Options of the model ``lrn_lm``. The names follow fairseq's language models."""

from dataclasses import dataclass, field
from typing import Optional

from fairseq_lrn.models.config_checks import (
    check_counts,
    check_probabilities,
    check_widths,
    warn_of_no_effect,
)
from fairseq_lrn.models.decoder_config import DecoderConfig
from fairseq_lrn.modules.cells import CELLS_WITH_STATE_WEIGHTS
from fairseq_lrn.options import option_name


@dataclass
class LRNLanguageModelConfig(DecoderConfig):
    """Options of the model ``lrn_lm``."""

    plain_layers: bool = field(
        default=False,
        metadata={
            "help": "recurrences without residual connections, output projections and layer norms "
            "around them, as in the paper's language model"
        },
    )
    decoder_out_embed_dim: Optional[int] = field(
        default=None,
        metadata={
            "help": "with --plain-layers, state size of the last layer (default: "
            "--decoder-hidden-size)"
        },
    )
    mixture_of_softmaxes: int = field(
        default=0, metadata={"help": "number of softmaxes in the output layer's mixture; 0: none"}
    )
    mixture_dropout: Optional[float] = field(
        default=None,
        metadata={"help": "dropout inside of the mixture of softmaxes (default: --dropout)"},
    )
    output_bias: bool = field(default=False, metadata={"help": "add a bias to each logit"})
    output_dropout: Optional[float] = field(
        default=None,
        metadata={"help": "dropout before the output layer (default: --dropout)"},
    )
    type_dropout: float = field(
        default=0.0,
        metadata={"help": "probability of dropping all occurrences of a word in a batch"},
    )
    weight_dropout: float = field(
        default=0.0,
        metadata={"help": "DropConnect: dropout of the weights of the recurrences' input maps"},
    )
    recurrent_weight_dropout: float = field(
        default=0.0,
        metadata={"help": "DropConnect of the weights that multiply the state (atr, gru, lstm)"},
    )
    embed_init_range: Optional[float] = field(
        default=None,
        metadata={"help": "draw embeddings from -N to N (default: normal, with variance 1/width)"},
    )
    max_target_positions: Optional[int] = field(
        default=None, metadata={"help": "longest text, in tokens (default: any)"}
    )

    def check(self) -> None:
        """See :meth:`DecoderConfig.check`."""
        super().check()
        if self.max_target_positions is not None:
            check_counts(self, "max_target_positions")
        check_widths(self, "mixture_of_softmaxes")
        check_probabilities(
            self,
            "mixture_dropout",
            "output_dropout",
            "type_dropout",
            "weight_dropout",
            "recurrent_weight_dropout",
        )
        if self.embed_init_range is not None and not self.embed_init_range > 0.0:
            raise ValueError(f"--embed-init-range must be above 0, not {self.embed_init_range}")
        if self.embed_init_range is not None and self.decoder_embed_path is not None:
            raise ValueError(
                "--embed-init-range has no effect with --decoder-embed-path: leave one out"
            )
        if self.recurrent_weight_dropout > 0.0 and str(self.cell) not in CELLS_WITH_STATE_WEIGHTS:
            raise ValueError(
                f"--recurrent-weight-dropout has no effect with --cell {self.cell}, which does not "
                "multiply its state by a weight: leave it out"
            )
        self.check_plain_layers()
        self.check_output_layer()

    @property
    def output_size(self) -> int:
        """Width of the input of the output layer."""
        if not self.plain_layers:
            return self.decoder_embed_dim
        return self.decoder_out_embed_dim or self.decoder_hidden_size

    def check_plain_layers(self) -> None:
        """Refuse or warn of options that have no effect with or without ``--plain-layers``."""
        if not self.plain_layers:
            if self.decoder_out_embed_dim is not None:
                raise ValueError(
                    "--decoder-out-embed-dim needs --plain-layers: otherwise the width of the last "
                    "layer is --decoder-embed-dim"
                )
            return
        if self.decoder_layers == 1:
            reason = "with --plain-layers --decoder-layers 1"
            warn_of_no_effect(self, reason, "decoder_dropout_out")
        if self.decoder_out_embed_dim is not None:
            check_counts(self, "decoder_out_embed_dim")
            if self.decoder_layers == 1:
                reason = "with --decoder-out-embed-dim and --decoder-layers 1"
                warn_of_no_effect(self, reason, "decoder_hidden_size")
        for name in ("decoder_normalize_before", "decoder_ffn_embed_dim", "ablation"):
            if getattr(self, name):
                raise ValueError(
                    f"{option_name(name)} has no effect with --plain-layers: leave one out"
                )

    def check_output_layer(self) -> None:
        """Refuse an output layer whose parts do not fit."""
        is_mixture = self.mixture_of_softmaxes > 0
        if self.adaptive_softmax_cutoff is not None:
            if self.output_size != self.decoder_embed_dim:
                raise ValueError(
                    "--adaptive-softmax-cutoff requires the width of the last layer "
                    f"({self.output_size}) to match --decoder-embed-dim "
                    f"({self.decoder_embed_dim}): set --decoder-out-embed-dim"
                )
            if is_mixture or self.output_bias:
                raise ValueError(
                    "--adaptive-softmax-cutoff conflicts with --mixture-of-softmaxes and "
                    "--output-bias: leave one out"
                )
        if not is_mixture and self.output_size != self.decoder_embed_dim:
            if self.share_decoder_input_output_embed:
                raise ValueError(
                    "--share-decoder-input-output-embed requires the width of the last layer "
                    f"({self.output_size}) to match --decoder-embed-dim "
                    f"({self.decoder_embed_dim}): set --decoder-out-embed-dim, or use "
                    "--mixture-of-softmaxes, which maps between the widths"
                )
        if not is_mixture and self.mixture_dropout is not None:
            raise ValueError("--mixture-dropout needs --mixture-of-softmaxes")
