"""The layers of the package: who may import whom, and who may patch fairseq or torch.

The imports are read from the source (ast), those inside functions included.
"""

import ast
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Set, Tuple

import pytest

PACKAGE = "fairseq_lrn"
FOUNDATION = {"errors", "options", "files", "checkpoints", "word_vectors"}
# setuptools builds the C++ kernels.
TORCH_ONLY = {"torch", "triton", "setuptools"}
# For each layer the layers that it may import; every layer may import itself.
ALLOWED = {
    "errors": set(),
    "command": {"errors"},
    "options": {"errors"},
    "files": {"errors"},
    "checkpoints": {"errors", "files"},
    "averaging": {"errors", "checkpoints"},
    "word_vectors": {"errors", "files"},
    "ops": set(),
    "modules": {"ops"},
    "compat": {"modules", *FOUNDATION},
    "models": {"modules", "ops", "compat", *FOUNDATION},
    "criterions": {"modules", "ops", "compat", *FOUNDATION},
    "optim": {"modules", "ops", "compat", *FOUNDATION},
    "data": {"compat", *FOUNDATION},
    "generation": {"data", "modules", "ops", "compat", *FOUNDATION},
    "tasks": {"generation", "data", "modules", "ops", "compat", *FOUNDATION},
    "analysis": {"generation", "data", "modules", "ops", *FOUNDATION},
    "demo": {"analysis", "generation", "data", *FOUNDATION},
}
# The interface of a model, but no concrete model.
EXTRA = {("generation", f"{PACKAGE}.models.base")}
# These may import every layer: the package itself, and what users run.
TOP = {"", "__main__", "commands"}


class Module(NamedTuple):
    """A source file.

    Attributes:
        name: dotted name.
        is_package: whether it is the file of a package.
        tree: its syntax tree.
        imports: names of the modules that it imports.
    """

    name: str
    is_package: bool
    tree: ast.Module
    imports: Set[str]

    @property
    def layer(self) -> str:
        """The first part of the name below the package."""
        return (self.name.split(".") + [""])[1]


def read(root: Path) -> List[Module]:
    """All modules of the package in the directory *root*."""
    paths = {dotted(path.relative_to(root)): path for path in (root / PACKAGE).rglob("*.py")}
    found = []
    for name, path in sorted(paths.items()):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {known(imported, paths) for imported in imports(tree)} - {name}
        found.append(Module(name, path.stem == "__init__", tree, names))
    return found


def dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module) -> Iterator[str]:
    """Every imported name; of ``from a import b`` both ``a.b``, which may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def known(name: str, paths: Dict[str, Path]) -> str:
    """The longest prefix of *name* that is a module of the package; others as they are."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in paths:
            return ".".join(parts[:end])
    return name


def layer_violations(modules: List[Module]) -> Iterator[str]:
    for module in modules:
        if module.layer in TOP:
            continue
        for name in sorted(module.imports):
            if not name.startswith(PACKAGE):
                continue
            layer = (name.split(".") + [""])[1]
            allowed = {module.layer, *ALLOWED[module.layer]}
            if layer not in allowed and (module.layer, name) not in EXTRA:
                # ops/__main__.py prints the version
                if not (layer == "" and module.name.endswith("__main__")):
                    yield f"{module.name} imports {name}"


def family_violations(modules: List[Module]) -> Iterator[str]:
    """Packages below models/ are task families; none may import another."""
    packages = {module.name for module in modules if module.is_package}
    families = {name for name in packages if name.count(".") == 2 and ".models." in name}
    for module in modules:
        own = ".".join(module.name.split(".")[:3])
        if own in families:
            for name in sorted(module.imports):
                other = ".".join(name.split(".")[:3])
                if other in families - {own}:
                    yield f"{module.name} imports {name}"


def foreign_violations(modules: List[Module], layers: Set[str], allowed: Set[str]) -> Iterator[str]:
    """Modules of the *layers* that import anything except Python's own library and *allowed*."""
    for module in modules:
        if module.layer in layers:
            for name in sorted(module.imports):
                root = name.split(".")[0]
                if root != PACKAGE and root not in allowed | set(sys.stdlib_module_names):
                    yield f"{module.name} imports {name}"


def script_violations(modules: List[Module], scripts: Set[str]) -> Iterator[str]:
    for module in modules:
        for name in sorted(module.imports):
            if name.split(".")[0] in scripts:
                yield f"{module.name} imports {name}"


def patch_violations(modules: List[Module]) -> Iterator[str]:
    """Assignments to attributes of what was imported from fairseq or torch, outside of compat."""
    for module in modules:
        if module.layer == "compat":
            continue
        foreign = set(foreign_names(module.tree))
        for node in ast.walk(module.tree):
            for target in assigned(node):
                if root_name(target) in foreign:
                    yield f"{module.name}:{node.lineno} assigns {ast.unparse(target)}"


def foreign_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in ("fairseq", "torch"):
                    yield alias.asname or alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in ("fairseq", "torch"):
                yield from (alias.asname or alias.name for alias in node.names)


def assigned(node: ast.AST) -> Iterator[ast.AST]:
    """Attributes that a statement or a call of setattr or delattr changes."""
    targets: List[ast.AST] = []
    if isinstance(node, (ast.Assign, ast.Delete)):
        targets = list(node.targets)
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        targets = [node.target]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in ("setattr", "delattr"):
            yield node.args[0]
    for target in targets:
        elements = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
        yield from (element for element in elements if isinstance(element, ast.Attribute))


def root_name(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def circles(modules: List[Module]) -> List[Tuple[str, ...]]:
    """Groups of modules that import each other, directly or through others."""
    graph = {module.name: module.imports for module in modules}
    reach: Dict[str, Set[str]] = {}
    for start in graph:
        seen: Set[str] = set()
        stack = [start]
        while stack:
            for name in graph.get(stack.pop(), set()) & graph.keys() - seen:
                seen.add(name)
                stack.append(name)
        reach[start] = seen
    groups = {
        tuple(sorted(other for other in reach[name] if name in reach[other]))
        for name in graph
        if name in reach[name]
    }
    return sorted(groups)


@pytest.fixture(scope="module")
def modules(root) -> List[Module]:
    found = read(root)
    assert len(found) > 60
    return found


def test_every_layer_has_a_rule(modules):
    assert {module.layer for module in modules} == {*ALLOWED, *TOP}


def test_imports_point_downwards(modules):
    assert list(layer_violations(modules)) == []


def test_no_task_family_imports_another(modules):
    assert list(family_violations(modules)) == []


def test_ops_and_modules_need_torch_alone(modules):
    assert list(foreign_violations(modules, {"ops", "modules"}, TORCH_ONLY)) == []


def test_installed_code_imports_nothing_from_scripts(modules, root):
    scripts = {path.stem for path in (root / "scripts").iterdir() if path.suffix in ("", ".py")}
    assert {"benchmarks", "ablations", "toy_grammar"} <= scripts
    assert list(script_violations(modules, scripts)) == []


def test_fairseq_and_torch_are_patched_in_compat_alone(modules):
    assert list(patch_violations(modules)) == []


def test_no_circles(modules):
    assert circles(modules) == []


def test_each_rule_finds_what_breaks_it(tmp_path):
    """The rules on a package that breaks every one of them."""
    sources = {
        "__init__": "",
        "ops/__init__": "import fairseq\nfrom fairseq_lrn import modules",
        "modules/__init__": "def f():\n    from fairseq_lrn.ops import g",
        "criterions/__init__": "from fairseq_lrn.models.translation import LRNModel",
        "generation/__init__": "from fairseq_lrn.models import base, translation",
        "tasks/__init__": "import torch.nn\ntorch.nn.Linear.forward = None\nimport toy_grammar",
        "models/__init__": "",
        "models/base": "from fairseq.trainer import Trainer\nsetattr(Trainer, 'x', 1)",
        "models/translation/__init__": "from fairseq_lrn.models.tagging import layers",
        "models/tagging/__init__": "",
        "models/tagging/layers": "",
    }
    for name, source in sources.items():
        path = tmp_path / PACKAGE / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    broken = read(tmp_path)
    assert list(layer_violations(broken)) == [
        "fairseq_lrn.criterions imports fairseq_lrn.models.translation",
        "fairseq_lrn.generation imports fairseq_lrn.models.translation",
        "fairseq_lrn.ops imports fairseq_lrn.modules",
    ]
    assert list(family_violations(broken)) == [
        "fairseq_lrn.models.translation imports fairseq_lrn.models.tagging.layers"
    ]
    assert list(foreign_violations(broken, {"ops", "modules"}, TORCH_ONLY)) == [
        "fairseq_lrn.ops imports fairseq"
    ]
    assert list(script_violations(broken, {"toy_grammar"})) == [
        "fairseq_lrn.tasks imports toy_grammar"
    ]
    assert list(patch_violations(broken)) == [
        "fairseq_lrn.models.base:2 assigns Trainer",
        "fairseq_lrn.tasks:2 assigns torch.nn.Linear.forward",
    ]
    assert circles(broken) == [("fairseq_lrn.modules", "fairseq_lrn.ops")]
