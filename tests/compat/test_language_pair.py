"""The languages of prepared data, from the names of the files."""

import pytest
from fairseq.data import data_utils

from fairseq_lrn.compat.language_pair import patch_language_pair


@pytest.fixture
def data(tmp_path):
    """A directory of empty files that are named as fairseq names prepared data."""

    def make(source, target, ending=".idx"):
        names = [f"dict.{source}.txt", f"dict.{target}.txt", "prepare.json", "text"]
        names += [f"train.{source}-{target}.{lang}{ending}" for lang in (source, target)]
        for name in names:
            (tmp_path / name).touch()
        return str(tmp_path)

    return make


@pytest.mark.parametrize(
    "pair",
    [
        ("en", "de"),
        ("en", "zh-CN"),
        ("zh-CN", "en"),
        ("en-GB", "en-US"),
        ("en", "en-GB"),
        ("en_GB", "zh_Hant"),
        ("de.txt", "en.txt"),
    ],
)
@pytest.mark.parametrize("ending", [".idx", ""])  # binarised and raw data
def test_pairs(data, pair, ending):
    patch_language_pair()  # applied already
    assert tuple(data_utils.infer_language_pair(data(*pair, ending))) == pair


def test_data_without_languages(tmp_path):
    assert data_utils.infer_language_pair(str(tmp_path)) == (None, None)
    (tmp_path / "dict.en-GB.txt").touch()
    assert tuple(data_utils.infer_language_pair(str(tmp_path))) == ("en", "GB")  # as before
