"""The files of the environment say the same; imports run downward and stay light; one thread."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import affectlib
from affectlib import AVX2_VARIABLES, AVX512_OFF, THREAD_VARIABLES
from affectlib.paths import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
REQUIREMENTS = [*PROJECT["dependencies"]]
for group in PYPROJECT["dependency-groups"].values():
    REQUIREMENTS += group
LOCK = (ROOT / "requirements.lock").read_text()
DIRECT = {re.match(r"[\w-]+", line).group() for line in REQUIREMENTS}
USER_FIXED = {
    "jupyterlab",
    "papermill",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "librosa",
    "seaborn",
    "matplotlib",
    "scikit-learn",
    "umap-learn",
    "nbval",
}


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


def test_imports_run_downward_and_in_no_circle():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("affectlib", ("numpy", "pandas", "torch")),
        ("affectlib.corpora", ("torch", "librosa", "cv2", "matplotlib")),
        ("affectlib.features", ("torch", "librosa", "cv2", "dlib", "opensmile", "dask")),
        ("affectlib.plots", ("umap", "seaborn", "sklearn", "torch")),
    ],
)
def test_import_loads_nothing_heavy(module, absent):
    code = f"import sys, {module}; print([m for m in {absent!r} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
        == "[]"
    )


VARIABLES = (*THREAD_VARIABLES, *AVX2_VARIABLES, *AVX512_OFF)

COUNT_THREADS = """
import threadpoolctl
pools = {pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
print(sorted(pools | {torch.get_num_threads()}))
"""


def threads(imports, **variables):
    """The numbers of threads after some imports, in a process with these thread variables only."""
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    run = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", imports + COUNT_THREADS],
        capture_output=True,
        text=True,
        env=clean | variables,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize(
    "imports",
    [
        "import affectlib, numpy, torch, sklearn.manifold",
        "import numpy, torch, sklearn.manifold, affectlib",
    ],
    ids=["affectlib first", "affectlib last"],
)
def test_one_thread_whatever_is_imported_first(imports):
    assert threads(imports) == [1]


def test_a_user_overrules_the_number_of_threads():
    variables = dict.fromkeys(THREAD_VARIABLES, "2")
    assert 2 in threads("import numpy, torch, affectlib", **variables)


def test_a_running_numba_is_not_stopped():
    """Numba refuses a variable that changes while its threads run."""
    code = (
        "import numba\n"
        "numba.set_num_threads(1)\n"  # starts the threads
        "import affectlib\n"
        "print(numba.njit(lambda x: x + 1)(1))\n"
    )
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean)
    assert run.stdout.strip() == "2", run.stderr


def environment_after_import(**given):
    """The variables that affectlib has set in a new process that began without them."""
    code = "import json, os, affectlib; print(json.dumps(dict(os.environ)))"
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    clean.pop("AFFECTLIB_INSTRUCTIONS", None)
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean | given
    )
    assert run.returncode == 0 or "AFFECTLIB_INSTRUCTIONS" in run.stderr, run.stderr
    return json.loads(run.stdout) if run.stdout else run.stderr


HAS_AVX2 = "avx2" in affectlib._instruction_sets()


@pytest.mark.skipif(
    not HAS_AVX2, reason="one instruction set is asked for on x86-64 processors with AVX2 only"
)
def test_one_instruction_set_is_asked_for_before_any_library_loads():
    found = environment_after_import()
    assert found | AVX2_VARIABLES == found
    code = "import affectlib, torch; print(torch.backends.cpu.get_cpu_capability())"
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean)
    assert run.stdout.strip() == "AVX2"


def test_a_user_overrules_the_instruction_set():
    assert not set(AVX2_VARIABLES) & set(environment_after_import(AFFECTLIB_INSTRUCTIONS="native"))
    assert environment_after_import(MKL_CBWR="COMPATIBLE")["MKL_CBWR"] == "COMPATIBLE"
    assert "is avx2 or native, not 'sse'" in environment_after_import(AFFECTLIB_INSTRUCTIONS="sse")
