"""From the weights of a model of the authors' toolkit (bzhangGo/zero) to a model ``lrn_rnmt``.

The variables are given as arrays by their TensorFlow paths, e.g. from an ``.npz`` file.
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
from fairseq_lrn.modules.cells import CELLS, Cell, GRUCell, LSTMCell, SRUCell
from fairseq_lrn.modules.conditional import AttentiveRecurrence
from fairseq_lrn.modules.recurrence import RecurrentLayer
from fairseq_lrn.modules.rnmt_layers import ContextAwareEncoderLayer

# Ids 0, 1, 2 of the toolkit's vocabularies.
SPECIAL_WORDS = ("<pad>", "<unk>", "<eos>")
# Parameters of the toolkit that must be given, and those it has defaults for.
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
# What a training of the toolkit stores beside the variables of the model.
NOT_OF_THE_MODEL = re.compile(
    r"(.*/)?(global_step|beta[12]_power|Adam|Adam_1|ExponentialMovingAverage|replica"
    r"|CTrainOpReplica|CTrainOpBackUpReplica)(_\d+)?"
)


class ConversionError(InputError):
    """Variables or parameters that are no model of the toolkit; lists everything at once."""


@dataclass
class Variable:
    """A variable of the toolkit, as a part of a parameter of ours.

    Args:
        parameter: ours.
        view: from a tensor shaped as the parameter to a view of it in the authors' layout.
        ids: for an embedding table our row for each of the authors'.
    """

    parameter: nn.Parameter
    view: Callable[[Tensor], Tensor] = lambda tensor: tensor
    ids: Optional[Tensor] = None

    def of(self, tensor: Tensor) -> Tensor:
        """The authors' part of *tensor*, which is shaped as the parameter (its gradient, say)."""
        return self.view(tensor) if self.ids is None else tensor[self.ids]

    @torch.no_grad()
    def assign(self, value: Tensor) -> None:
        """Set the parameter's part. Rows of a table that the authors do not have become 0."""
        if self.ids is None:
            self.view(self.parameter).copy_(value)
        else:
            self.parameter.zero_()
            self.parameter[self.ids] = value.to(self.parameter.dtype)


def from_zero(
    variables: Mapping[str, np.ndarray],
    parameters: Mapping[str, Any],
    source_words: Optional[Sequence[str]] = None,
    target_words: Optional[Sequence[str]] = None,
) -> Tuple[RNMTModel, Tensor, Tensor]:
    """Make a ``lrn_rnmt`` model of the variables of a model that the authors' toolkit trained.

    Args:
        variables: the authors' variable paths (``deepnmt/encoder/layer_0/...``; the first part
            is the toolkit's ``scope_name``) and arrays. What a training stores beside them
            (``global_step``, slots of Adam) is left out.
        parameters: the toolkit's parameters: ``cell``, ``hidden_size``, ``embed_size``,
            ``num_encoder_layer``, ``num_decoder_layer``, ``num_heads``; and, with the toolkit's
            defaults, ``caencoder``, ``use_deep_att``, ``layer_norm``, ``dl4mt_redict``,
            ``shared_target_softmax_embedding``, ``shared_source_target_embedding`` (one table for
            everything, whatever the former says), ``dropout``, and ``variant``, ``"paper"`` for
            the layout of the code released with the paper.
            Others are not needed.
        source_words: the source vocabulary, in the order of the authors' ids from 3 on.
        target_words: the target vocabulary likewise.

    Returns:
        the model in evaluation mode, and fairseq's id for each of the authors' ids of source
        and target (0 pad, 1 unk, 2 eos), as LongTensors. fairseq's beginning of sentence, which
        the authors do not have, gets no probability.

    Raises:
        ConversionError: parameters or variables are unknown, missing or of the wrong shape;
            all that is wrong is listed.
    """
    config = config_from_zero(parameters)
    values, scope, problems = _of_the_model(variables)
    tables = (
        ["embedding"] * 2 if config.share_all_embeddings else ["src_embedding", "tgt_embedding"]
    )
    source_dict, target_dict = (
        _dictionary(values, table, words)
        for table, words in zip(tables, (source_words, target_words))
    )
    if config.share_all_embeddings and source_dict != target_dict:
        raise ConversionError(
            "the model has one embedding table for both languages, but the vocabularies differ: "
            "give the same for both"
        )
    task = SimpleNamespace(source_dictionary=source_dict, target_dictionary=target_dict)
    model = RNMTModel.build_model(config, task)
    source_ids, target_ids = ids_of(source_dict), ids_of(target_dict)

    expected = dict(zero_variables(model, str(config.cell), source_ids, target_ids))
    problems += [f"unknown: {scope}{name}" for name in sorted(values.keys() - expected.keys())]
    problems += [f"missing: {scope}{name}" for name in sorted(expected.keys() - values.keys())]
    for name in sorted(expected.keys() & values.keys()):
        shape = tuple(expected[name].of(expected[name].parameter).shape)
        if values[name].dtype.kind not in "fiu":
            problems.append(f"no real numbers: {scope}{name} is of the type {values[name].dtype}")
        elif values[name].shape != shape:
            problems.append(f"wrong shape: {scope}{name} is {values[name].shape}, not {shape}")
    if problems:
        raise ConversionError(
            "these variables are not those of the model that the parameters describe:\n  "
            + "\n  ".join(problems)
        )
    for name, variable in expected.items():
        variable.assign(torch.from_numpy(values[name].astype(np.float32)))
    return model.eval(), source_ids, target_ids


def config_from_zero(parameters: Mapping[str, Any]) -> RNMTConfig:
    """Options of ``lrn_rnmt`` that stand for the toolkit's parameters, see :func:`from_zero`.

    Raises:
        ConversionError: parameters are missing or make no model; all that is wrong is listed.
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


def ids_of(dictionary: Dictionary) -> Tensor:
    """fairseq's id for each of the authors' ids."""
    words = range(dictionary.nspecial, len(dictionary))
    return torch.tensor([dictionary.pad(), dictionary.unk(), dictionary.eos(), *words])


def zero_variables(
    model: RNMTModel, cell: str, source_ids: Tensor, target_ids: Tensor
) -> Iterator[Tuple[str, Variable]]:
    """The toolkit's variables of a model: their paths without the scope, and where they are.

    Args:
        model: the model.
        cell: its cell, as the toolkit calls it.
        source_ids: our id for each of the authors' source ids.
        target_ids: our id for each of the authors' target ids.
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
            for direction, one in zip(("forward/", "backward/"), layer.recurrence.cells):
                yield from cell_variables(path + direction, one, cell)
        yield from _branch(path, layer.branch)
    if not isinstance(encoder.memory_proj, nn.Identity):
        linear, norm = encoder.memory_proj
        yield from _linear("x_map/", linear)
        yield from _norm("layer_norm/", norm)

    for index, layer in enumerate(decoder.layers):
        path = f"decoder/layer_{index}/"
        yield from recurrence_variables(path, layer.recurrence, cell)
        yield from _branch(path, layer.branch)
        yield from _affine([f"layer_{index}_init/"], layer.init_proj)
    if decoder.has_feature_layer:
        yield from _affine(["ff/"], decoder.feature_proj)


Named = Iterator[Tuple[str, Variable]]


def recurrence_variables(path: str, recurrence: nn.Module, cell: str) -> Named:
    """Variables of a recurrence in one direction, conditional or not.

    Args:
        path: the recurrence's path, empty or ending in a slash.
        recurrence: the module.
        cell: its cell, as the toolkit calls it.
    """
    if isinstance(recurrence, RecurrentLayer):
        yield from cell_variables(path, recurrence.cells[0], cell)
        return
    yield from cell_variables(path, recurrence.lower, cell, "_lower")
    yield from cell_variables(path, recurrence.upper, cell, "_higher")
    if isinstance(recurrence, AttentiveRecurrence):
        attention = recurrence.attention
        yield from _affine([path + "context_att/"], attention.key_proj)
        yield from _affine([path + "attention/feed_query/"], attention.query_proj)
        yield from _linear(path + "attention/feed_logits/", attention.score_proj)


def cell_variables(path: str, cell: Cell, name: str, suffix: str = "") -> Named:
    """Variables of a cell.

    Args:
        path: the path of the recurrence that it is in, empty or ending in a slash.
        cell: the module.
        name: the toolkit's name of it.
        suffix: ``"_lower"`` or ``"_higher"`` in a conditional recurrence.
    """
    fetch, inner = f"{path}fetch_state_{name}{suffix}/", f"{path}cell_{name}{suffix}/"
    if isinstance(cell, (GRUCell, LSTMCell)):
        yield from _affine([fetch + "gate_x/", fetch + "hide_x/"], cell.projection)
    else:
        yield from _affine([fetch + "hide_x/"], cell.projection)
    if isinstance(cell, GRUCell):
        yield from _affine([inner + "gate_h/"], cell.recurrent_gates)
        yield from _affine([inner + "hide_h/"], cell.recurrent_candidate)
    elif isinstance(cell, LSTMCell):
        yield from _affine([inner + "gate_h/", inner + "hide_h/"], cell.recurrent)
    elif isinstance(cell, SRUCell):
        yield inner + "v_f", Variable(cell.forget_vector, lambda v: v.unsqueeze(0))
        yield inner + "v_r", Variable(cell.reset_vector, lambda v: v.unsqueeze(0))
    elif name == "atr":
        yield from _affine([inner + "hide_h/"], cell.recurrent)


def _branch(path: str, branch: nn.Module) -> Named:
    yield from _linear(path + "ff/", branch.out_proj)
    if isinstance(branch.layer_norm, nn.LayerNorm):
        yield from _norm(path + "ln/", branch.layer_norm)


def _affine(paths: List[str], affine: Affine) -> Named:
    """A map of the authors for each part of ours."""
    start = 0
    for index, (path, width) in enumerate(zip(paths, affine.widths)):
        rows = slice(start, start + width)
        yield path + "W_0_0", Variable(affine.weight, lambda w, rows=rows: w[rows].t())
        if affine.bias is not None:
            yield path + "b_0", Variable(affine.bias, lambda b, rows=rows: b[rows])
        if len(affine.norms) > 0:
            yield from _norm(path + "ln_0_0/", affine.norms[index])
        start += width


def _linear(path: str, linear: nn.Linear) -> Named:
    yield path + "W_0_0", Variable(linear.weight, lambda w: w.t())
    yield path + "b_0", Variable(linear.bias)


def _norm(path: str, norm: nn.Module) -> Named:
    yield path + "scale", Variable(norm.weight)
    if getattr(norm, "bias", None) is not None:
        yield path + "offset", Variable(norm.bias)


def _of_the_model(
    variables: Mapping[str, np.ndarray],
) -> Tuple[Dict[str, np.ndarray], str, List[str]]:
    """The model's variables without their scope, the scope, and what is outside of it."""
    values = {re.sub(r":0$", "", name): np.asarray(value) for name, value in variables.items()}
    names = [name for name in values if not NOT_OF_THE_MODEL.fullmatch(name)]
    scopes = Counter(name.split("/")[0] for name in names if "/" in name)
    if not scopes:
        raise ConversionError(
            "there are no variables of a model: expected paths like deepnmt/src_embedding"
        )
    scope = scopes.most_common(1)[0][0] + "/"
    inside = {name[len(scope) :]: values[name] for name in names if name.startswith(scope)}
    outside = [f"unknown: {name}" for name in sorted(names) if not name.startswith(scope)]
    return inside, scope, outside


def _dictionary(
    values: Mapping[str, np.ndarray], table: str, words: Optional[Sequence[str]]
) -> Dictionary:
    """A dictionary with a word for each row of the table; names of the rows where none is given.

    Where there is no such table it has no words: that it is missing is said with all the rest.
    """
    known = table in values and values[table].ndim == 2
    size = len(values[table]) if known else len(SPECIAL_WORDS)
    if words is None or not known:
        words = [f"id{index}" for index in range(len(SPECIAL_WORDS), size)]
    if len(words) + len(SPECIAL_WORDS) != size:
        raise ConversionError(
            f"the vocabulary has {len(words)} words beside {', '.join(SPECIAL_WORDS)}, but the "
            f"table {table} has {size} rows: give the vocabulary that the model was trained with"
        )
    if len(set(words)) != len(words):
        raise ConversionError("the vocabulary has the same word more than once")
    dictionary = Dictionary()
    for word in words:
        # A word may be spelled like one of fairseq's special symbols.
        dictionary.add_symbol(word, overwrite=True)
    return dictionary
