"""pyproject.toml, requirements.lock and environment.yml say the same; imports run downward; imports stay light."""

import ast
import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from affectlib import THREAD_VARIABLES
from affectlib.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
DIRECT = {re.match(r"[\w-]+", line).group() for line in PROJECT["dependencies"]}
USER_FIXED = {"jupyterlab", "papermill", "torch", "torchvision", "pytorch-lightning", "librosa", "seaborn",
              "matplotlib", "scikit-learn", "umap-learn", "nbval"}

# house.md: each layer may import those below it.
LAYERS = [("paths", "__init__"), ("corpora", "metrics"), ("media",), ("simulate", "features", "models"),
          ("training", "statistics"), ("stacked",), ("plots", "results"), ("reproduce",), ("sweep",)]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def test_every_direct_dependency_is_locked_with_hashes():
    blocks = dict(re.findall(r"^([\w.-]+)==(.*?)(?=^\S|\Z)", LOCK, flags=re.M | re.S))
    assert set(blocks) >= DIRECT >= USER_FIXED
    assert all("--hash=sha256:" in block for block in blocks.values())


def test_lock_names_no_address():
    assert "://" not in LOCK and "index-url" not in LOCK


def test_environment_yml_explains_exactly_the_direct_dependencies():
    text = (ROOT / "environment.yml").read_text()
    explained = set(re.findall(r"^# - ([\w-]+)(?:\[\w+\])?: \S", text, flags=re.M))
    assert explained == DIRECT
    content = yaml.safe_load(text)
    assert {"pip": ["-r requirements.lock"]} in content["dependencies"]
    assert f"python{PROJECT['requires-python']}" in content["dependencies"]


@pytest.mark.parametrize("file", sorted((ROOT / "affectlib").rglob("*.py")), ids=lambda f: str(f.name))
def test_imports_run_downward(file):
    layer = file.relative_to(ROOT / "affectlib").parts[0].removesuffix(".py")
    assert layer in RANK, f"{layer} has no place in the layers"
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("affectlib"):
            names = [node.module] if node.module != "affectlib" else [f"affectlib.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.startswith("affectlib.")]
        for name in names:
            other = (name.split(".") + ["__init__"])[1]
            if other != layer and other in RANK:
                assert RANK[other] < RANK[layer], f"{file.name} imports {name}: not downward"


def test_no_module_is_over_400_lines():
    long = {f.name: n for f in (ROOT / "affectlib").rglob("*.py") if (n := f.read_text().count("\n")) > 400}
    assert not long


@pytest.mark.parametrize(("module", "absent"), [
    ("affectlib", ("numpy", "pandas", "torch")),
    ("affectlib.corpora", ("torch", "librosa", "cv2", "matplotlib")),
    ("affectlib.features", ("torch", "librosa", "cv2", "dlib", "opensmile", "dask")),
    ("affectlib.plots", ("umap", "seaborn", "sklearn", "torch")),
])
def test_import_loads_nothing_heavy(module, absent):
    code = f"import sys, {module}; print([m for m in {absent!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_one_thread_is_set_before_any_library_loads():
    code = (f"import os; [os.environ.pop(v, None) for v in {THREAD_VARIABLES!r}]\n"
            "import affectlib, torch, threadpoolctl, sklearn.manifold\n"
            "print({p['num_threads'] for p in threadpoolctl.threadpool_info()} | {torch.get_num_threads()})")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "{1}"
