"""fairseq (0.12.2, 0.12.3) cannot infer language codes with a dash, such as ``zh-CN``.

It splits the name of any file in the data at dots and dashes, so ``train.en-zh-CN.en.bin`` is of no
pair, and ``dict.zh-CN.txt`` is of the pair zh, CN. Then it looks for ``dict.zh.txt``. If a
dictionary of the inferred pair is missing, the patch takes the languages from the names of the
dictionaries.
"""

import itertools
import re
from typing import List, Optional, Tuple

from fairseq_lrn.compat.patching import patch


def find_language_pair(names: List[str]) -> Optional[Tuple[str, str]]:
    """Source and target language of prepared data, or None.

    Args:
        names: names of the files in the directory.
    """
    matches = (re.fullmatch(r"dict\.(.+)\.txt", name) for name in names)
    languages = sorted(match.group(1) for match in matches if match)
    for pair in itertools.permutations(languages, 2):
        ending = f".{pair[0]}-{pair[1]}.{pair[0]}"
        if any(name.endswith((ending, ending + ".idx")) for name in names):
            return pair
    return None


def patch_language_pair() -> None:
    """Let fairseq infer the languages of prepared data from their dictionaries, too."""
    from fairseq.data import data_utils
    from fairseq.file_io import PathManager

    def build(original):
        def infer_language_pair(path):
            inferred = original(path)
            names = PathManager.ls(path)
            if all(f"dict.{lang}.txt" in names for lang in inferred):
                return inferred
            return find_language_pair(names) or inferred

        return infer_language_pair

    patch(data_utils, "infer_language_pair", build)
