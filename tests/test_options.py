"""Names and values of options of the command line."""

import pytest

from fairseq_lrn.errors import InputError
from fairseq_lrn.options import check_minimum, option_name


def test_names():
    assert option_name("max_source_positions") == "--max-source-positions"


@pytest.mark.parametrize("value", [0, -1, 0.5, float("nan")])
def test_refused_values(value):
    with pytest.raises(InputError, match=f"^--num-words must be at least 1, not {value}$"):
        check_minimum(1, layers=2, num_words=value)


@pytest.mark.parametrize("value", [1, 1.5, 10, float("inf"), None])
def test_allowed_values(value):
    check_minimum(1, layers=2, num_words=value)
