"""The input of models that read labelled text: words and their characters."""

import logging
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from torch import Tensor, nn

from fairseq_lrn.errors import DataMismatch, InputError
from fairseq_lrn.models.config_checks import (
    check_activation,
    check_choices,
    check_counts,
    check_probabilities,
    warn_of_no_effect,
)
from fairseq_lrn.modules import LRNEncoderLayer, RecurrentStack
from fairseq_lrn.modules.affine import NORMS
from fairseq_lrn.modules.cells import CELLS
from fairseq_lrn.modules.characters import CharacterEncoder
from fairseq_lrn.modules.dropout import Dropout
from fairseq_lrn.modules.layers import xavier_linear
from fairseq_lrn.modules.linear import Linear
from fairseq_lrn.modules.plain_layer import PlainLayer
from fairseq_lrn.modules.word_embedding import WordEmbedding
from fairseq_lrn.ops import ACTIVATIONS
from fairseq_lrn.options import check_minimum
from fairseq_lrn.word_vectors import read_word_vectors

CHARACTER_ENCODERS = ("none", "rnn", "max")
PROJECTION_NORMS = ("none", *NORMS)

logger = logging.getLogger(__name__)


def character_encoder_field(default: str) -> Any:
    """The option ``--character-encoder``, whose default differs between models."""
    return field(
        default=default,
        metadata={
            "help": "characters of each word: none, the final states of a recurrence over them "
            "(rnn), or their maximum (max)"
        },
    )


@dataclass
class WordInputConfig(FairseqDataclass):
    """Options that all models of labelled text share."""

    word_embed_dim: int = field(default=100, metadata={"help": "width of the word embeddings"})
    word_vectors: Optional[str] = field(
        default=None,
        metadata={
            "help": "text file of pre-trained word vectors as wide as --word-embed-dim, e.g. "
            "vectors.txt in the directory of the data"
        },
    )
    freeze_word_vectors: bool = field(
        default=False, metadata={"help": "do not train the pre-trained vectors"}
    )
    tuned_word_vectors: int = field(
        default=0,
        metadata={
            "help": "with --freeze-word-vectors: still train the vectors of the N most frequent "
            "words"
        },
    )
    word_dropout: float = field(
        default=0.0, metadata={"help": "probability of replacing a word by the unknown word"}
    )
    character_encoder: ChoiceEnum(CHARACTER_ENCODERS) = character_encoder_field("none")
    character_embed_dim: int = field(
        default=25, metadata={"help": "width of the character embeddings"}
    )
    character_hidden_size: int = field(
        default=25,
        metadata={"help": "state size of the recurrence over characters, in each direction"},
    )
    character_dropout: float = field(
        default=0.0, metadata={"help": "dropout probability of the character embeddings"}
    )
    input_dropout: float = field(
        default=0.0, metadata={"help": "dropout probability of words and characters together"}
    )
    hidden_size: int = field(
        default=128, metadata={"help": "state size of the recurrence, in each direction"}
    )
    layers: int = field(default=1, metadata={"help": "number of bidirectional recurrent layers"})
    input_window: int = field(
        default=1,
        metadata={
            "help": "words side by side in the input of the first layer: 3 adds the word before "
            "and the word after; an odd number"
        },
    )
    cell: ChoiceEnum(CELLS) = field(default="lrn", metadata={"help": "recurrent cell"})
    activation_fn: ChoiceEnum(ACTIVATIONS) = field(
        default="tanh", metadata={"help": "output activation g of the cells lrn, olrn and atr"}
    )
    projection_norm: ChoiceEnum(PROJECTION_NORMS) = field(
        default="none",
        metadata={"help": "normalisation of the recurrences' projections of input and state"},
    )
    no_projection_bias: bool = field(
        default=False, metadata={"help": "no bias in the projections of the recurrences' input"}
    )
    dropout: float = field(
        default=0.1,
        metadata={"help": "dropout probability between layers, and above them in a tagger"},
    )
    locked_dropout: bool = field(
        default=False, metadata={"help": "drop the same elements at every word of a text"}
    )
    residual_layers: bool = field(
        default=False,
        metadata={
            "help": "layers with output projection, residual connection and layer norm, as in the "
            "translation models"
        },
    )

    def check(self) -> None:
        """Refuse invalid values and conflicting options.

        Raises:
            ValueError: names the option and the remedy.
        """
        check_counts(
            self,
            *("word_embed_dim", "character_embed_dim", "character_hidden_size"),
            *("hidden_size", "layers", "input_window"),
        )
        check_probabilities(self, "word_dropout", "character_dropout", "input_dropout", "dropout")
        check_choices(
            self,
            cell=CELLS,
            activation_fn=ACTIVATIONS,
            character_encoder=CHARACTER_ENCODERS,
            projection_norm=PROJECTION_NORMS,
        )
        check_activation(self)
        if str(self.character_encoder) == "none":
            names = ("character_embed_dim", "character_hidden_size", "character_dropout")
            warn_of_no_effect(self, "without --character-encoder", *names)
        if str(self.character_encoder) == "max":
            warn_of_no_effect(self, "with --character-encoder max", "character_hidden_size")
        if self.input_window % 2 == 0:
            raise ValueError(f"--input-window must be an odd number, not {self.input_window}")
        if self.freeze_word_vectors and self.word_vectors is None:
            raise ValueError(
                "--freeze-word-vectors needs --word-vectors FILE, the vectors that stay as they are"
            )
        check_minimum(0, tuned_word_vectors=self.tuned_word_vectors)
        if self.tuned_word_vectors > 0 and not self.freeze_word_vectors:
            raise ValueError(
                "--tuned-word-vectors has no effect without --freeze-word-vectors, as all vectors "
                "are trained then: give both or none"
            )

    def recurrence_options(self) -> Dict[str, Any]:
        """The arguments of :func:`~fairseq_lrn.modules.build_cell`."""
        norm = str(self.projection_norm)
        return {
            "cell": str(self.cell),
            "activation": str(self.activation_fn),
            "bias": not self.no_projection_bias,
            "norm": None if norm == "none" else norm,
        }

    def character_options(self) -> Dict[str, Any]:
        """The same for the recurrence over characters."""
        return self.recurrence_options()


class WordInput(nn.Module):
    """Vectors of words, and of their characters if the options say so.

    Args:
        cfg: options.
        dictionary: dictionary of the words.
        characters: dictionary of the characters; None if the data have none.

    Attributes:
        width: width C of the output.
        reads_characters: whether :meth:`forward` needs the characters.

    Raises:
        InputError: the file of word vectors cannot be used.
        DataMismatch: the options ask for characters, and the data have none.

    Source: the authors' release (bzhangGo/lrn, ``doc``, ``nli`` and ``ner``).
    """

    def __init__(self, cfg: WordInputConfig, dictionary: Any, characters: Optional[Any]):
        super().__init__()
        name = self.__class__.__name__
        self.padding_idx, self.unknown = dictionary.pad(), dictionary.unk()
        self.word_dropout = cfg.word_dropout
        self.words = build_word_embedding(cfg, dictionary)
        self.width = cfg.word_embed_dim
        self.reads_characters = str(cfg.character_encoder) != "none"
        if self.reads_characters:
            if characters is None:
                raise DataMismatch(
                    f"--character-encoder {cfg.character_encoder} needs characters, which this "
                    "task or these data do not have: use a task of this project, and data that "
                    "fairseq-lrn prepare-labelled made without --no-characters, or give "
                    "--character-encoder none"
                )
            self.characters = CharacterEncoder(
                len(characters),
                cfg.character_embed_dim,
                hidden_size=cfg.character_hidden_size,
                kind=str(cfg.character_encoder),
                padding_idx=characters.pad(),
                dropout=cfg.character_dropout,
                **cfg.character_options(),
            )
            self.width += self.characters.width
        self.dropout = Dropout(cfg.input_dropout, cfg.locked_dropout, name)

    def forward(self, tokens: Tensor, characters: Optional[Tensor] = None) -> Tensor:
        """
        Args:
            tokens: words, ``B x T``.
            characters: characters of each word, ``B x T x L``.

        Returns:
            ``T x B x C``, with zeros at padding.

        Raises:
            ValueError: the model reads characters, and there are none.
        """
        if self.training and self.word_dropout > 0.0:
            dropped = torch.rand(tokens.shape, device=tokens.device) < self.word_dropout
            tokens = tokens.masked_fill(dropped & tokens.ne(self.padding_idx), self.unknown)
        x = self.words(tokens.t())  # B x T to T x B x C
        if self.reads_characters:
            if characters is None:
                raise ValueError("src_characters is missing: the model reads characters")
            # B x T x L to T x B x L
            x = torch.cat([x, self.characters(characters.transpose(0, 1))], dim=-1)
        return self.dropout(x)


def build_word_embedding(cfg: WordInputConfig, dictionary: Any) -> WordEmbedding:
    """The embedding of words, with the vectors of ``--word-vectors`` where there are any.

    Source: Chen et al. (2017), "Reading Wikipedia to answer open-domain questions", section 3.2,
    for training the most frequent words only.

    Raises:
        InputError: the file cannot be read, its vectors have another width, or it has no word of
            the dictionary.
    """
    if cfg.word_vectors is None:
        return WordEmbedding(len(dictionary), cfg.word_embed_dim, dictionary.pad())
    words, vectors = read_word_vectors(cfg.word_vectors, dictionary.indices)
    width = vectors.shape[1]
    if width != cfg.word_embed_dim:
        raise InputError(
            f"--word-vectors {cfg.word_vectors} has vectors of width {width}, not "
            f"{cfg.word_embed_dim}: give --word-embed-dim {width}, or other vectors"
        )
    if not words:
        raise InputError(
            f"--word-vectors {cfg.word_vectors} has no word of the dictionary: its words must have "
            "the tokens and the casing of the data"
        )
    rows = torch.tensor([dictionary.indices[word] for word in words])
    order = rows.argsort()
    has_vector = torch.zeros(len(dictionary), dtype=torch.bool)
    has_vector[rows] = True
    logger.info("%d of %d words have pre-trained vectors", len(words), len(dictionary))
    return WordEmbedding(
        len(dictionary),
        cfg.word_embed_dim,
        dictionary.pad(),
        has_vector=has_vector,
        vectors=torch.from_numpy(vectors)[order],
        freeze=cfg.freeze_word_vectors,
        # Dictionaries are sorted by frequency.
        first_fixed=dictionary.nspecial + cfg.tuned_word_vectors,
    )


class TextLayers(nn.Module):
    """The bidirectional recurrent layers above the input of words.

    The gates of an LRN read one word and the state, so a window of words tells them more. It only
    makes the products before the recurrence larger, which run over all words at once.

    Args:
        cfg: options.
        width: width C of the input.

    Attributes:
        width: width 2H of the output.
    """

    def __init__(self, cfg: WordInputConfig, width: int):
        super().__init__()
        self.hidden_size, self.width = cfg.hidden_size, 2 * cfg.hidden_size
        self.window = cfg.input_window
        width = width * self.window
        options = {**cfg.recurrence_options(), "locked_dropout": cfg.locked_dropout}
        self.input_map: Optional[Linear] = None
        if cfg.residual_layers:
            self.input_map = xavier_linear(width, self.width)
            self.layers = RecurrentStack(
                LRNEncoderLayer(self.width, cfg.hidden_size, dropout=cfg.dropout, **options)
                for _ in range(cfg.layers)
            )
            return
        self.layers = RecurrentStack(plain_layers(cfg, width, cfg.layers))

    def forward(self, x: Tensor, padding_mask: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        """
        Args:
            x: input, ``T x B x C``, with zeros at padding.
            padding_mask: ``T x B``, true at padding.

        Returns:
            output ``T x B x 2H``, and the final states of the last layer ``B x 2H``.
        """
        if self.window > 1:
            x = windows(x, self.window)
        if self.input_map is not None:
            x = self.input_map(x)
        x, states, _ = self.layers(x, None, padding_mask)
        return x, final_states(states[-1], self.hidden_size)


def plain_layers(cfg: WordInputConfig, width: int, number: int) -> List[PlainLayer]:
    """Bidirectional layers without residual connections.

    Args:
        cfg: options.
        width: width C of the input, which has its own dropout.
        number: how many.
    """
    return [
        PlainLayer(
            2 * cfg.hidden_size if index > 0 else width,
            cfg.hidden_size,
            dropout=cfg.dropout if index > 0 else 0.0,
            locked_dropout=cfg.locked_dropout,
            bidirectional=True,
            **cfg.recurrence_options(),
        )
        for index in range(number)
    ]


def windows(x: Tensor, size: int) -> Tensor:
    """The vectors around each position side by side, with zeros beyond the ends.

    Args:
        x: ``T x B x C``.
        size: number of vectors N, odd.

    Returns:
        ``T x B x N*C``.
    """
    padded = F.pad(x, (0, 0, 0, 0, size // 2, size // 2))
    return torch.cat([padded[shift : shift + len(x)] for shift in range(size)], dim=-1)


def final_states(states: Tensor, hidden_size: int) -> Tensor:
    """The outputs at the end of both directions, ``B x 2H``.

    Args:
        states: final states of a bidirectional layer, ``2 x B x state_size``.
        hidden_size: width H of the output of each direction.
    """
    return states[..., :hidden_size].transpose(0, 1).flatten(1)  # 2 x B x H to B x 2H
