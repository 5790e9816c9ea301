"""Tests stand where what they test stands: every module has a test file of its name."""

# Without behaviour of their own: a handle, and what a package of commands is named after.
EXEMPT = {"ops/library.py"}


def test_every_module_has_its_test_file(root):
    package = root / "fairseq_lrn"
    missing = []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        if place.stem in ("__init__", "__main__") or str(place) in EXEMPT:
            continue
        if not (root / "tests" / place.parent / f"test_{place.name}").is_file():
            missing.append(str(place))
    assert missing == []
