"""Every module of scripts/ that other code imports has its test file."""

import re

from fairseq_lrn.modules import CELLS


def test_every_module_has_its_test_file(root):
    scripts = root / "scripts"
    paths = [path for path in (scripts / "benchmarks").glob("*.py") if path.stem != "__init__"]
    names = ("benchmark", "cell_comparison", "toy_grammar", "training_results")
    names += ("translation_equivalence",)
    paths += [scripts / f"{name}.py" for name in names]
    assert len(paths) > 10
    for path in paths:
        place = path.relative_to(scripts).parent
        assert (root / "tests" / "scripts" / place / f"test_{path.name}").is_file(), path


def test_scripts_know_every_cell(root):
    text = (root / "scripts" / "env.sh").read_text()
    assert re.search(r'^CELLS="(.*)"$', text, re.MULTILINE)[1].split() == list(CELLS)
