"""Parameters of notebooks are strict."""

import pytest
import yaml

from affectlib.runner import notebooks
from affectlib.runner.notebooks import (
    PROFILES,
    ParameterError,
    checked_parameters,
    default_parameters,
    find_notebooks,
    profile_parameters,
    read_settings,
)


@pytest.fixture
def notebook(tmp_path, write_notebook):
    return write_notebook(tmp_path / "n.ipynb")


def test_parameters_are_read_with_their_types(notebook):
    assert default_parameters(notebook) == {"epochs": 3, "rate": 0.5, "name": None}


def test_parameters_that_equal_the_default_are_left_out(notebook):
    given = {"epochs": 3, "rate": 1, "name": "x"}
    assert checked_parameters(notebook, given) == {"rate": 1, "name": "x"}


@pytest.mark.parametrize(
    "given", [{"epoch": 4}, {"epochs": "4"}, {"epochs": True}, {"rate": "1e-3"}]
)
def test_unknown_or_mistyped_parameter_is_an_error(notebook, given):
    with pytest.raises(ParameterError, match=next(iter(given))):
        checked_parameters(notebook, given)


def test_a_parameter_may_have_another_type_where_its_annotation_says_so(tmp_path, write_notebook):
    parameters = "features: str | dict = 'descriptors'\nepochs: int = 3"
    notebook = write_notebook(tmp_path / "n.ipynb", parameters=parameters)
    mapping = {"face": "descriptors"}
    assert checked_parameters(notebook, {"features": mapping}) == {"features": mapping}
    for given in ({"features": 3}, {"features": ["face"]}, {"epochs": mapping}):
        with pytest.raises(ParameterError, match="the default"):
            checked_parameters(notebook, given)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (
            "features={expression: descriptors, audio: organisers} epochs=5",
            {"features": {"expression": "descriptors", "audio": "organisers"}, "epochs": 5},
        ),
        ("lengths=[[1, 2], [3]] name='a b'", {"lengths": [[1, 2], [3]], "name": "a b"}),
        ("films='[REC] 2.mp4'", ParameterError),
        ("features={face: descriptors epochs=5", ParameterError),
        ("features={face: a, face: b} epochs=5", ParameterError),
        ("model=/films/[REC/a epochs=5", {"model": "/films/[REC/a", "epochs": 5}),
        ("""title='{"a": "["}' epochs=5""", {"title": {"a": "["}, "epochs": 5}),
    ],
)
def test_a_list_or_mapping_goes_on_to_its_closing_bracket(text, settings):
    if settings is ParameterError:
        with pytest.raises(ParameterError):
            read_settings(text)
    else:
        assert read_settings(text) == settings


def test_a_default_must_be_a_literal(tmp_path, write_notebook):
    notebook = write_notebook(tmp_path / "n.ipynb", parameters="epochs: int = 3 * two")
    with pytest.raises(ParameterError, match="epochs is no literal"):
        default_parameters(notebook)


@pytest.mark.parametrize(
    "file", sorted((notebooks.NOTEBOOKS / "parameters").glob("*.yaml")), ids=lambda f: f.name
)
def test_every_profile_fits_its_notebook(file):
    slug, profile = file.stem.split(".")
    notebook = notebooks.notebook_file(slug)
    given = yaml.safe_load(file.read_text()) or {}
    assert set(checked_parameters(notebook, given)) <= set(given)
    assert profile in PROFILES


@pytest.mark.parametrize(
    "file", sorted((notebooks.NOTEBOOKS / "parameters").glob("*.full.yaml")), ids=lambda f: f.name
)
def test_the_full_profile_says_first_what_it_is_not(file):
    assert file.read_text().startswith("# Not the paper")


def test_a_corpus_that_does_not_exist_is_refused(tmp_path, write_notebook):
    notebook = write_notebook(tmp_path / "n.ipynb", parameters="corpus: str = 'simulated'")
    assert checked_parameters(notebook, {"corpus": "real"}) == {"corpus": "real"}
    with pytest.raises(ParameterError, match="no corpus 'rael'; there are simulated, real"):
        checked_parameters(notebook, {"corpus": "rael"})


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("slug", find_notebooks())
def test_every_profile_has_parameters_that_its_notebook_knows(slug, profile):
    notebook = find_notebooks()[slug]
    given = profile_parameters(notebook, slug, profile, "simulated")
    full = profile_parameters(notebook, slug, "full", "simulated")
    # The paper's profile has its sizes, and what comes on top of them.
    assert profile != "paper" or full.items() <= given.items()
    assert profile != "demo" or given == {}
