"""The page of a translation model: its requests. test_server.py has the answers."""

import pytest

from fairseq_lrn.demo.translation import DEFAULT_BEAM, parse
from fairseq_lrn.errors import InputError


def test_lines_and_beam():
    request = parse({"text": " a  b\nc", "beam": 3})
    assert request.lines == ["a b", "c"] and request.beam == 3
    assert parse({"text": "a"}).beam == DEFAULT_BEAM


@pytest.mark.parametrize("beam", [0, 21, True, "5", 2.5])
def test_bad_beam(beam):
    with pytest.raises(InputError, match="beam must be a whole number from 1 to 20"):
        parse({"text": "a", "beam": beam})
