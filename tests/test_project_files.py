"""Files that GitHub, Docker, Binder and pre-commit read agree with the project."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib

import pytest
import yaml
from typer.main import get_command

import affectlib
from affectlib import corpora
from affectlib.paths import ROOT
from affectlib.runner import cli
from affectlib.runner.execution import STRIPPED
from affectlib.runner.notebooks import CORPORA, NOTEBOOKS, PROFILES, find_notebooks

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FOR_PROGRAMS = [
    *FORMS,
    *WORKFLOWS,
    *(ROOT / ".binder").iterdir(),
    ROOT / ".devcontainer" / "devcontainer.json",
    ROOT / ".dockerignore",
    ROOT / ".pre-commit-config.yaml",
    ROOT / "CITATION.cff",
    ROOT / "Dockerfile",
]


def read(*names):
    """A YAML file of the checkout."""
    return yaml.safe_load(ROOT.joinpath(*names).read_text(encoding="utf-8"))


def has_target(name):
    """Whether the Makefile has this target."""
    return re.search(rf"^{name}:", MAKEFILE, flags=re.M) is not None


def is_a_python_of_the_project(version):
    """Whether the project runs on this Python, such as 3.11."""
    lowest, highest = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    return int(lowest) <= int(version.removeprefix("3.")) < int(highest)


@pytest.mark.parametrize("file", FOR_PROGRAMS, ids=lambda file: file.name)
def test_no_file_names_an_address(file):
    assert "://" not in file.read_text(encoding="utf-8")


# ---------------------------------------------------------------- citation


def test_the_citation_is_of_this_version():
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert str(citation["version"]) == PROJECT["version"] == affectlib.__version__
    assert citation["license"] == PROJECT["license"]


def test_the_citation_has_the_five_papers_of_the_readme():
    rows = re.findall(r"^\| `(\w+)` \| .*? (\d{4}), \*(.*?)\* \|", README, flags=re.M)
    references = {each["notes"]: each for each in read("CITATION.cff")["references"]}
    assert len(rows) == 5
    assert set(references) == {slug for slug, _, _ in rows}
    for slug, year, title in rows:
        assert title.lower() in references[slug]["title"].lower()
        assert references[slug]["year"] == int(year)
        for author in references[slug]["authors"]:
            assert set(author) == {"family-names", "given-names"}


# ---------------------------------------------------------------- GitHub


def fields(form):
    """The fields of an issue form by id."""
    return {field["id"]: field for field in form["body"] if field["type"] != "markdown"}


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.stem)
def test_an_issue_form_is_one(file):
    form = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert {"name", "description", "labels", "body"} == set(form)
    kinds = {"markdown", "input", "textarea", "dropdown", "checkboxes"}
    assert {field["type"] for field in form["body"]} <= kinds
    questions = [field for field in form["body"] if field["type"] != "markdown"]
    labels = [field["attributes"]["label"] for field in questions]
    assert len(set(labels)) == len(labels) == len(fields(form))
    for label in form["labels"]:
        assert f"`{label}`" in CONTRIBUTING
    assert form["name"] in CONTRIBUTING


def test_the_choices_of_the_forms_are_those_of_the_library():
    loaders = [name for name in dir(corpora) if name.startswith("load_")]
    refused = fields(read(".github", "ISSUE_TEMPLATE", "corpus-refused.yml"))
    names = [loader.removeprefix("load_") for loader in loaders]
    assert refused["corpus"]["attributes"]["options"] == sorted(names)
    differ = fields(read(".github", "ISSUE_TEMPLATE", "numbers-differ.yml"))
    stems = [path.stem for path in find_notebooks().values()]
    assert differ["notebook"]["attributes"]["options"] == stems
    assert differ["profile"]["attributes"]["options"] == list(PROFILES)
    assert differ["corpora"]["attributes"]["options"] == list(CORPORA)


@pytest.mark.parametrize(("name", "command"), [("test", ".ci/run"), ("pages", "make site")])
def test_a_workflow_runs_what_the_project_has(name, command):
    workflow = read(".github", "workflows", f"{name}.yml")
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in steps if "run" in step] == [command]
    if command.startswith("make "):
        assert has_target(command.removeprefix("make "))
    else:
        assert os.access(ROOT / command, os.X_OK)
    versions = [step["with"]["python-version"] for step in steps if "setup-python" in str(step)]
    assert versions
    assert all(is_a_python_of_the_project(version) for version in versions)
    # Nothing but the deployment may write.
    assert workflow["permissions"] == {"contents": "read"}


def test_the_site_is_deployed_from_where_it_is_built():
    (build, deploy) = read(".github", "workflows", "pages.yml")["jobs"].values()
    assert build["steps"][-1]["with"]["path"] == "build/site"
    assert deploy["permissions"] == {"pages": "write", "id-token": "write"}


# ---------------------------------------------------------------- pre-commit


def hooks():
    """Hook to the words of its command."""
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    return {hook["id"]: shlex.split(hook["entry"]) for hook in repository["hooks"]}


def test_hooks_are_programs_of_the_environment():
    lock = (ROOT / "requirements.lock").read_text()
    for program, *_ in hooks().values():
        assert program.startswith(".venv/bin/")
        assert f"\n{program.removeprefix('.venv/bin/')}==" in lock


def test_the_hook_strips_what_make_notebooks_strips():
    assert hooks()["nbstripout"][1:] == list(STRIPPED)
    stored = (NOTEBOOKS / "00_start_here.ipynb").read_bytes()
    command = [sys.executable, "-m", "nbstripout", *hooks()["nbstripout"][1:]]
    run = subprocess.run(command, input=stored, stdout=subprocess.PIPE, check=True)
    assert run.stdout == stored


# ---------------------------------------------------------------- containers


def test_the_image_copies_what_is_there_and_calls_a_command():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    (image,) = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert is_a_python_of_the_project(re.fullmatch(r"python:(3\.\d+)-slim", image)[1])
    copies = [line.split() for line in lines if line.startswith("COPY --chown")]
    assert len(copies) == 2
    for _, _, *copied, _ in copies:
        assert all((ROOT / name).exists() for name in copied)
    (command,) = [json.loads(line[4:]) for line in lines if line.startswith("CMD ")]
    assert command[0] in PROJECT["scripts"]
    assert command[1] in get_command(cli.app).commands
    assert "ARG TORCH=lock" in lines
    # Nothing that git ignores goes into the image.
    assert {".venv", "build", "data"} <= set((ROOT / ".dockerignore").read_text().split())


def test_the_development_container_builds_the_environment():
    content = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert is_a_python_of_the_project(content["image"].removeprefix("python:"))
    assert content["postCreateCommand"] == "make env"
    settings = content["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"].endswith("/.venv/bin/python")


def test_binder_installs_the_lock_and_the_checkout():
    folder = ROOT / ".binder"
    (line,) = (folder / "requirements.txt").read_text().splitlines()
    assert (folder / line.removeprefix("-r ")).resolve() == ROOT / "requirements.lock"
    runtime = (folder / "runtime.txt").read_text().strip()
    assert is_a_python_of_the_project(runtime.removeprefix("python-"))
    script = folder / "postBuild"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    assert "pip install --no-deps --no-build-isolation --editable ." in script.read_text()
