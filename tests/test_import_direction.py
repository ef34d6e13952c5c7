"""Who may import whom: the arrows of the design, read off the source without running it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("configuration", "modeling", "tokenization", "datasets_scripts", "training")
ALLOWED = {
    "configuration": {"configuration"},
    "modeling": {"configuration", "modeling"},
    "tokenization": {"configuration", "modeling", "tokenization"},
    "datasets_scripts": {"configuration", "modeling", "tokenization", "datasets_scripts"},
    "training": {"configuration", "modeling", "tokenization", "training"},
    # The program at the root; its parts lie in training.
    "push_to_hub.py": {"configuration", "modeling", "tokenization", "training"},
}
# run_demo conducts the whole chain; the converter is a program too: it saves processors beside models.
EXTRA = {
    "training/run_demo.py": {"datasets_scripts"},
    "modeling/convert_original_checkpoints.py": {"tokenization"},
}
HEAVY = {"accelerate", "datasets", "evaluate", "matplotlib", "gradio", "tensorboard"}
HEAVY_FOLDERS = {"datasets_scripts", "training", "push_to_hub.py"}
SOURCES = sorted([ROOT / "push_to_hub.py", *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))])


def imported_modules(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, anywhere in it."""
    package = ["melspec_gpt", *path.relative_to(ROOT).parent.parts]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names} if module == "melspec_gpt" else {module}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path):
    relative = path.relative_to(ROOT).as_posix()
    folder = path.relative_to(ROOT).parts[0]
    allowed = ALLOWED[folder] | EXTRA.get(relative, set())
    for name in imported_modules(path):
        top, _, rest = name.partition(".")
        if top == "melspec_gpt":
            target = rest.partition(".")[0]
            assert target in allowed or target == "__version__", f"{relative} imports {name}"
        assert top not in HEAVY or folder in HEAVY_FOLDERS, f"{relative} imports {top}"


def test_programs_that_reach_further_are_imported_by_nobody():
    programs = {"melspec_gpt." + relative.removesuffix(".py").replace("/", ".") for relative in EXTRA}
    for path in SOURCES:
        assert not programs & imported_modules(path), path


def test_module_names_are_unique_across_folders():
    names = [path.name for path in SOURCES if path.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))


def test_root_init_imports_absolutely():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    assert [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level] == []


def test_root_holds_only_the_agreed_python_files():
    assert {path.name for path in ROOT.glob("*.py")} <= {"__init__.py", "push_to_hub.py"}
