"""Convert the weights of a model of the authors' toolkit (bzhangGo/zero) to a model ``lrn_rnmt``.

The variables are arrays under their TensorFlow paths, for example the contents of an ``.npz`` file.
"""

import re
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

from fairseq_lrn.errors import InputError
from fairseq_lrn.models.translation.rnmt_config import LAYOUTS, RNMTConfig
from fairseq_lrn.models.translation.rnmt_model import RNMTModel
from fairseq_lrn.modules.affine import NORM_EPS, Affine
from fairseq_lrn.modules.cells import (
    CELLS,
    ATRCell,
    Cell,
    GRUCell,
    LRNCell,
    LSTMCell,
    SRUCell,
)
from fairseq_lrn.modules.conditional import AttentiveRecurrence
from fairseq_lrn.modules.recurrence import RecurrentLayer
from fairseq_lrn.modules.rnmt_layers import ContextAwareEncoderLayer

# Ids 0, 1 and 2 of the toolkit's vocabularies.
SPECIAL_WORDS = ("<pad>", "<unk>", "<eos>")
# Parameters of the toolkit that must be given, and the toolkit's defaults for the other ones.
REQUIRED = (
    "cell",
    "hidden_size",
    "embed_size",
    "num_encoder_layer",
    "num_decoder_layer",
    "num_heads",
)
DEFAULTS = {
    "variant": "zero",
    "caencoder": True,
    "use_deep_att": False,
    "layer_norm": False,
    "dl4mt_redict": True,
    "shared_target_softmax_embedding": True,
    "shared_source_target_embedding": False,
    "dropout": 0.1,
}
# Variables that training in the toolkit stores in addition to the variables of the model.
TRAINING_VARIABLES = re.compile(
    r"(.*/)?(global_step|beta[12]_power|Adam|Adam_1|ExponentialMovingAverage|replica"
    r"|CTrainOpReplica|CTrainOpBackUpReplica)(_\d+)?"
)


class ConversionError(InputError):
    """Variables or parameters are not a model of the toolkit. The message lists all problems."""


@dataclass
class Variable:
    """A variable of the toolkit, which is a part of one of our parameters.

    Attributes:
        parameter: our parameter.
        view: maps a tensor of the parameter's shape to a view of the part, in the toolkit's layout.
        ids: for an embedding matrix, our row for each row of the toolkit's matrix.
    """

    parameter: nn.Parameter
    view: Callable[[Tensor], Tensor] = lambda tensor: tensor
    ids: Optional[Tensor] = None

    def select(self, tensor: Tensor) -> Tensor:
        """The part of *tensor* in the toolkit's layout.

        Args:
            tensor: a tensor of the parameter's shape, for example its gradient.
        """
        return self.view(tensor) if self.ids is None else tensor[self.ids]

    @torch.no_grad()
    def assign(self, value: Tensor) -> None:
        """Set the part to *value*. Rows of a matrix that the toolkit does not have become 0."""
        if self.ids is None:
            self.view(self.parameter).copy_(value)
        else:
            self.parameter.zero_()
            self.parameter[self.ids] = value.to(self.parameter.dtype)


NamedVariables = Iterator[Tuple[str, Variable]]


def from_zero(
    variables: Mapping[str, np.ndarray],
    parameters: Mapping[str, Any],
    source_words: Optional[Sequence[str]] = None,
    target_words: Optional[Sequence[str]] = None,
) -> Tuple[RNMTModel, Tensor, Tensor]:
    """Build a model ``lrn_rnmt`` from the variables of a model that the authors' toolkit trained.

    Args:
        variables: arrays by the toolkit's variable paths, e.g. ``deepnmt/encoder/layer_0/...``.
            The first part of a path is the toolkit's ``scope_name``. Variables that only training
            needs, such as ``global_step`` and the slots of Adam, are ignored.
        parameters: parameters of the toolkit. Required: ``cell``, ``hidden_size``,
            ``embed_size``, ``num_encoder_layer``, ``num_decoder_layer``, ``num_heads``. With the
            toolkit's defaults: ``caencoder``, ``use_deep_att``, ``layer_norm``, ``dl4mt_redict``,
            ``dropout``, ``shared_target_softmax_embedding`` and
            ``shared_source_target_embedding``, which shares all embedding matrices regardless of
            the former. ``variant`` is ``"paper"`` for the layout of the code that was released
            with the paper. Other parameters are ignored.
        source_words: source vocabulary, in the order of the toolkit's ids from 3 on.
        target_words: target vocabulary, in the same order.

    Returns:
        the model in evaluation mode, and fairseq's id for each of the toolkit's ids of source and
        target (0 pad, 1 unk, 2 eos), as tensors of type int64. The toolkit has no beginning of
        sentence; fairseq's gets no probability.

    Raises:
        ConversionError: parameters or variables are unknown, missing or of the wrong shape. The
            message lists all problems.
    """
    config = config_from_zero(parameters)
    values, scope, problems = _model_variables(variables)
    names = ["embedding"] * 2 if config.share_all_embeddings else ["src_embedding", "tgt_embedding"]
    source_dict, target_dict = (
        _dictionary(values, name, words) for name, words in zip(names, (source_words, target_words))
    )
    if config.share_all_embeddings and source_dict != target_dict:
        raise ConversionError(
            "the model has one embedding matrix for both languages, but the vocabularies differ: "
            "give the same vocabulary for both"
        )
    task = SimpleNamespace(source_dictionary=source_dict, target_dictionary=target_dict)
    model = RNMTModel.build_model(config, task)
    source_ids, target_ids = fairseq_ids(source_dict), fairseq_ids(target_dict)

    expected = dict(zero_variables(model, str(config.cell), source_ids, target_ids))
    problems += [f"unknown: {scope}{name}" for name in sorted(values.keys() - expected.keys())]
    problems += [f"missing: {scope}{name}" for name in sorted(expected.keys() - values.keys())]
    for name in sorted(expected.keys() & values.keys()):
        shape = tuple(expected[name].select(expected[name].parameter).shape)
        if values[name].dtype.kind not in "fiu":
            problems.append(f"not numeric: {scope}{name} has the type {values[name].dtype}")
        elif values[name].shape != shape:
            problems.append(f"wrong shape: {scope}{name} is {values[name].shape}, not {shape}")
    if problems:
        raise ConversionError(
            "the variables do not match the model that the parameters describe:\n  "
            + "\n  ".join(problems)
        )
    for name, variable in expected.items():
        variable.assign(torch.from_numpy(values[name].astype(np.float32)))
    return model.eval(), source_ids, target_ids


def config_from_zero(parameters: Mapping[str, Any]) -> RNMTConfig:
    """The options of ``lrn_rnmt`` for parameters of the toolkit, see :func:`from_zero`.

    Raises:
        ConversionError: parameters are missing or invalid. The message lists all problems.
    """
    problems = [f"{name} is missing" for name in REQUIRED if name not in parameters]
    given = {**DEFAULTS, **parameters}
    if given.get("cell", "lrn") not in CELLS:
        problems.append(f"cell is {given['cell']!r}, not one of {', '.join(CELLS)}")
    if given["variant"] not in LAYOUTS:
        problems.append(f"variant is {given['variant']!r}, not one of {', '.join(LAYOUTS)}")
    epsilon = given.get("ln_epsilon", given.get("dtype_epsilon", NORM_EPS))
    if epsilon != NORM_EPS:
        problems.append(f"the epsilon of layer norm is {epsilon}; only {NORM_EPS} is supported")
    if problems:
        raise ConversionError("parameters of the model: " + "; ".join(problems))
    try:
        config = RNMTConfig(
            cell=given["cell"],
            embed_dim=int(given["embed_size"]),
            hidden_size=int(given["hidden_size"]),
            encoder_layers=int(given["num_encoder_layer"]),
            decoder_layers=int(given["num_decoder_layer"]),
            attention_heads=int(given["num_heads"]),
            no_context_aware_encoder=not given["caencoder"],
            deep_attention=bool(given["use_deep_att"]),
            no_layer_norm=not given["layer_norm"],
            # The release with the paper has no such switch.
            no_feature_layer=given["variant"] == "zero" and not given["dl4mt_redict"],
            layout=given["variant"],
            share_decoder_input_output_embed=bool(given["shared_target_softmax_embedding"]),
            share_all_embeddings=bool(given["shared_source_target_embedding"]),
            mask_extra_symbols=True,
            dropout=float(given["dropout"]),
        )
        config.check()
    except (TypeError, ValueError) as error:
        raise ConversionError(f"parameters of the model: {error}") from error
    return config


def fairseq_ids(dictionary: Dictionary) -> Tensor:
    """fairseq's id for each of the toolkit's ids."""
    words = range(dictionary.nspecial, len(dictionary))
    ids = [dictionary.pad(), dictionary.unk(), dictionary.eos(), *words]
    return torch.tensor(ids, device="cpu")


def zero_variables(
    model: RNMTModel, cell: str, source_ids: Tensor, target_ids: Tensor
) -> NamedVariables:
    """The toolkit's variables of a model, by their paths without the scope.

    Args:
        model: the model.
        cell: the toolkit's name of its cell.
        source_ids: our id for each of the toolkit's source ids.
        target_ids: our id for each of the toolkit's target ids.
    """
    encoder, decoder = model.encoder, model.decoder
    source, target, output = (
        encoder.embed_tokens.weight,
        decoder.embed_tokens.weight,
        decoder.output_projection.weight,
    )
    if source is target:
        yield "embedding", Variable(source, ids=source_ids)
    else:
        yield "src_embedding", Variable(source, ids=source_ids)
        yield "tgt_embedding", Variable(target, ids=target_ids)
    if output is not target:
        yield "softmax_embedding", Variable(output, ids=target_ids)
    yield "bias", Variable(encoder.embed_bias)

    for index, layer in enumerate(encoder.layers):
        path = f"encoder/layer_{index}/"
        if isinstance(layer, ContextAwareEncoderLayer):
            yield from recurrence_variables(path + "forward/", layer.forward_recurrence, cell)
            yield from recurrence_variables(path + "backward/", layer.backward_recurrence, cell)
        else:
            directions = zip(("forward/", "backward/"), layer.recurrence.cells)
            for direction, direction_cell in directions:
                yield from _cell_variables(path + direction, direction_cell, cell)
        yield from _branch_variables(path, layer.branch)
    if not isinstance(encoder.memory_proj, nn.Identity):
        linear, norm = encoder.memory_proj
        yield from _linear_variables("x_map/", linear)
        yield from _norm_variables("layer_norm/", norm)

    for index, layer in enumerate(decoder.layers):
        path = f"decoder/layer_{index}/"
        yield from recurrence_variables(path, layer.recurrence, cell)
        yield from _branch_variables(path, layer.branch)
        yield from _affine_variables([f"layer_{index}_init/"], layer.init_proj)
    if decoder.has_feature_layer:
        yield from _affine_variables(["ff/"], decoder.feature_proj)


def recurrence_variables(path: str, recurrence: nn.Module, cell: str) -> NamedVariables:
    """Variables of a recurrence in one direction, with one cell or with two.

    Args:
        path: path of the recurrence, empty or ending in a slash.
        recurrence: the module.
        cell: the toolkit's name of its cell.
    """
    if isinstance(recurrence, RecurrentLayer):
        yield from _cell_variables(path, recurrence.cells[0], cell)
        return
    yield from _cell_variables(path, recurrence.lower, cell, "_lower")
    yield from _cell_variables(path, recurrence.upper, cell, "_higher")
    if isinstance(recurrence, AttentiveRecurrence):
        attention = recurrence.attention
        yield from _affine_variables([path + "context_att/"], attention.key_proj)
        yield from _affine_variables([path + "attention/feed_query/"], attention.query_proj)
        yield from _linear_variables(path + "attention/feed_logits/", attention.score_proj)


def _cell_variables(path: str, cell: Cell, name: str, suffix: str = "") -> NamedVariables:
    """Variables of a cell.

    Args:
        path: path of the recurrence that contains the cell, empty or ending in a slash.
        cell: the module.
        name: the toolkit's name of the cell.
        suffix: ``"_lower"`` or ``"_higher"`` in a recurrence with two cells.

    Raises:
        ValueError: the toolkit does not have the cell.
    """
    fetch, inner = f"{path}fetch_state_{name}{suffix}/", f"{path}cell_{name}{suffix}/"
    if isinstance(cell, (GRUCell, LSTMCell)):
        yield from _affine_variables([fetch + "gate_x/", fetch + "hide_x/"], cell.projection)
    else:
        yield from _affine_variables([fetch + "hide_x/"], cell.projection)
    if isinstance(cell, GRUCell):
        yield from _affine_variables([inner + "gate_h/"], cell.recurrent_gates)
        yield from _affine_variables([inner + "hide_h/"], cell.recurrent_candidate)
    elif isinstance(cell, LSTMCell):
        yield from _affine_variables([inner + "gate_h/", inner + "hide_h/"], cell.recurrent)
    elif isinstance(cell, SRUCell):
        # H to 1 x H
        yield inner + "v_f", Variable(cell.forget_vector, lambda v: v.unsqueeze(0))
        yield inner + "v_r", Variable(cell.reset_vector, lambda v: v.unsqueeze(0))
    elif isinstance(cell, ATRCell):
        yield from _affine_variables([inner + "hide_h/"], cell.recurrent)
    elif not isinstance(cell, LRNCell):
        raise ValueError(f"the names of the toolkit's variables of --cell {name} are not known")


def _branch_variables(path: str, branch: nn.Module) -> NamedVariables:
    yield from _linear_variables(path + "ff/", branch.out_proj)
    if isinstance(branch.layer_norm, nn.LayerNorm):
        yield from _norm_variables(path + "ln/", branch.layer_norm)


def _affine_variables(paths: List[str], affine: Affine) -> NamedVariables:
    """Variables of an affine map, which is a separate map in the toolkit for each of its parts."""
    start = 0
    for index, (path, width) in enumerate(zip(paths, affine.widths)):
        rows = slice(start, start + width)
        # sum(widths) x C to C x width
        yield path + "W_0_0", Variable(affine.weight, lambda w, rows=rows: w[rows].t())
        if affine.bias is not None:
            yield path + "b_0", Variable(affine.bias, lambda b, rows=rows: b[rows])
        if len(affine.norms) > 0:
            yield from _norm_variables(path + "ln_0_0/", affine.norms[index])
        start += width


def _linear_variables(path: str, linear: nn.Linear) -> NamedVariables:
    yield path + "W_0_0", Variable(linear.weight, lambda w: w.t())  # D x C to C x D
    yield path + "b_0", Variable(linear.bias)


def _norm_variables(path: str, norm: nn.Module) -> NamedVariables:
    yield path + "scale", Variable(norm.weight)
    if getattr(norm, "bias", None) is not None:
        yield path + "offset", Variable(norm.bias)


def _model_variables(
    variables: Mapping[str, np.ndarray],
) -> Tuple[Dict[str, np.ndarray], str, List[str]]:
    """The variables of the model.

    Args:
        variables: see :func:`from_zero`.

    Returns:
        the arrays by their paths without the scope, the scope, and a problem for each variable
        outside the scope.

    Raises:
        ConversionError: no variable has a scope.
    """
    values = {re.sub(r":0$", "", name): np.asarray(value) for name, value in variables.items()}
    names = [name for name in values if not TRAINING_VARIABLES.fullmatch(name)]
    scopes = Counter(name.split("/")[0] for name in names if "/" in name)
    if not scopes:
        raise ConversionError(
            "no variable belongs to a model: expected paths like deepnmt/src_embedding"
        )
    scope = scopes.most_common(1)[0][0] + "/"
    inside = {name[len(scope) :]: values[name] for name in names if name.startswith(scope)}
    outside = [f"unknown: {name}" for name in sorted(names) if not name.startswith(scope)]
    return inside, scope, outside


def _dictionary(
    values: Mapping[str, np.ndarray], name: str, words: Optional[Sequence[str]]
) -> Dictionary:
    """A dictionary with a word for each row of an embedding matrix.

    If the matrix is missing, the dictionary has no words: :func:`from_zero` reports the missing
    variable together with all other problems.

    Args:
        values: variables of the model.
        name: name of the embedding matrix.
        words: the words; None: words are named after their ids.

    Raises:
        ConversionError: the number of words does not match the matrix, or a word is repeated.
    """
    known = name in values and values[name].ndim == 2
    size = len(values[name]) if known else len(SPECIAL_WORDS)
    if words is None or not known:
        words = [f"id{index}" for index in range(len(SPECIAL_WORDS), size)]
    if len(words) + len(SPECIAL_WORDS) != size:
        raise ConversionError(
            f"the vocabulary has {len(words)} words in addition to {', '.join(SPECIAL_WORDS)}, but "
            f"the matrix {name} has {size} rows: give the vocabulary of the training run"
        )
    if len(set(words)) != len(words):
        raise ConversionError(
            "the vocabulary contains a word more than once: remove the repetition"
        )
    dictionary = Dictionary()
    for word in words:
        # A word may be spelled like one of fairseq's special symbols.
        dictionary.add_symbol(word, overwrite=True)
    return dictionary
