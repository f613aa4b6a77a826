"""The notebooks of the checkout: their files, their code cells and their parameters.

Parameters are strict: a name that the parameters cell does not assign, or a value of another type,
is an error.
"""

import ast
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from affectlib import paths
from affectlib.errors import AffectError

NOTEBOOKS = paths.ROOT / "notebooks"
# The files of each profile, the later ones on top of the earlier: the paper's features and protocol
# come on top of its sizes.
LAYERS = {"demo": ("demo",), "full": ("full",), "paper": ("full", "paper")}
PROFILES = tuple(LAYERS)
CORPORA = ("simulated", "real")


class ParameterError(AffectError, ValueError):
    """A notebook parameter that does not exist, or whose value has another type."""


def find_notebooks() -> dict[str, Path]:
    """Slug to file of every notebook, in reading order.

    Raises:
        ParameterError: if there is none, as in a package that was installed from a wheel
    """
    if not NOTEBOOKS.is_dir():
        raise ParameterError(
            f"{NOTEBOOKS}: no such folder; notebooks come with the checkout of affectlib, not with "
            "the installed package: run this command there"
        )
    found = {}
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        _, slug = path.stem.split("_", 1)
        found[slug] = path
    return found


def notebook_file(slug: str) -> Path:
    """File of one notebook.

    Raises:
        ParameterError: if there is no such notebook; it lists those there are
    """
    notebooks = find_notebooks()
    if slug not in notebooks:
        raise ParameterError(f"no notebook {slug!r}; there are {', '.join(notebooks)}")
    return notebooks[slug]


def tags(cell: Mapping) -> list[str]:
    """Tags of a cell."""
    return cell["metadata"].get("tags", [])


def cells(notebook: Path | str, tag: str | None = None) -> list[dict]:
    """Code cells of a notebook, all or only those with a tag."""
    content = json.loads(Path(notebook).read_text(encoding="utf-8"))
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    if tag is None:
        return code
    return [cell for cell in code if tag in tags(cell)]


def code_cells(notebook: Path | str) -> list[str]:
    """Sources of the code cells."""
    return ["".join(cell["source"]) for cell in cells(notebook)]


def default_parameters(notebook: Path | str) -> dict[str, object]:
    """Names and literal defaults of the cell tagged ``parameters``.

    Raises:
        ParameterError: if there is not exactly one such cell, or a default is no literal
    """
    # papermill.inspect_notebook reads this cell too, but gives every default as text and does not
    # refuse a default that is no literal: types could not be checked.
    tagged = cells(notebook, "parameters")
    if len(tagged) != 1:
        raise ParameterError(
            f"{notebook}: expected one cell tagged parameters, found {len(tagged)}"
        )
    defaults = {}
    for node in ast.parse("".join(tagged[0]["source"])).body:
        if isinstance(node, ast.AnnAssign):
            target = node.target
        elif isinstance(node, ast.Assign):
            target = node.targets[0]
        else:
            continue
        try:
            defaults[target.id] = ast.literal_eval(node.value)
        except ValueError:
            raise ParameterError(f"{notebook}: parameter {target.id} is no literal") from None
    return defaults


def checked_parameters(notebook: Path | str, given: Mapping[str, object]) -> dict[str, object]:
    """The given parameters that differ from the defaults.

    Raises:
        ParameterError: for a name that the parameters cell does not assign, or a value of another
            type
    """
    name_of_file = Path(notebook).name
    defaults = default_parameters(notebook)
    types = _annotated_types(notebook)
    different = {}
    for name, value in given.items():
        if name not in defaults:
            raise ParameterError(
                f"{name_of_file}: no parameter {name!r}; it has {', '.join(defaults)}"
            )
        default = defaults[name]
        if not _same_type(value, default) and type(value).__name__ not in types.get(name, ()):
            raise ParameterError(
                f"{name_of_file}: {name}={value!r} is {type(value).__name__}, "
                f"the default {default!r} is {type(default).__name__}"
            )
        if name == "corpus":
            # Without this check a notebook would take any other word for simulated films.
            _check_word(name, value, CORPORA)
        if value != default:
            different[name] = value
    return different


def _annotated_types(notebook: Path | str) -> dict[str, set[str]]:
    """Names of the types that a parameter may have, such as ``features: str | dict``."""
    types = {}
    for node in ast.parse("".join(cells(notebook, "parameters")[0]["source"])).body:
        if isinstance(node, ast.AnnAssign):
            types[node.target.id] = set(ast.unparse(node.annotation).split(" | "))
    return types


def _check_word(kind: str, word: object, known: Sequence[str]) -> None:
    if word not in known:
        raise ParameterError(f"no {kind} {word!r}; there are {', '.join(known)}")


def _same_type(value: object, default: object) -> bool:
    """Whether a value may take the place of a default. None says nothing about the type."""
    if default is None:
        return True
    # YAML writes 1.0 as 1. The types are compared exactly, since True is an int for isinstance.
    if type(default) is float and type(value) is int:
        return True
    return type(value) is type(default)


def profile_parameters(
    notebook: Path | str,
    slug: str,
    profile: str,
    corpus: str,
    first_seed: int = 0,
    settings: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Parameters of a profile's YAML files; corpus and first seed where the notebook has them.

    A paper without a file for a profile has the same sizes under it.

    Args:
        notebook: its file
        slug: its slug
        profile: ``"demo"``, ``"full"`` (the paper's sizes), or ``"paper"`` (the paper's features
            and protocol as well)
        corpus: ``"simulated"`` or ``"real"``
        first_seed: first of the seeds under which the notebook trains
        settings: parameters of one's own, which take the place of the profile's

    Raises:
        ParameterError: for another profile or corpus than there are, a file that is no YAML, or a
            parameter that the notebook does not have
    """
    _check_word("profile", profile, PROFILES)
    _check_word("corpus", corpus, CORPORA)
    given = {}
    for layer in LAYERS[profile]:
        given |= _layer(NOTEBOOKS / "parameters" / f"{slug}.{layer}.yaml")
    defaults = default_parameters(notebook)
    for name, value in {"corpus": corpus, "first_seed": first_seed}.items():
        if name in defaults:
            given[name] = value
    return checked_parameters(notebook, given | dict(settings or {}))


def _layer(source: Path) -> dict[str, object]:
    """The parameters in one YAML file; none where the file is not there."""
    if not source.exists():
        return {}
    given = read_yaml(source.read_bytes(), str(source)) or {}
    if not isinstance(given, dict):
        raise ParameterError(f"{source}: expected parameters, each with its value")
    for name, value in given.items():
        check_plain(value, f"{source}, {name}")
    return given


def read_settings(text: str) -> dict[str, object]:
    """Parameters from a line such as ``epochs=5 features=organisers lengths=[3, 6]``.

    Values are plain YAML; words are split as a shell splits them. A list or mapping goes on to its
    closing bracket.

    Raises:
        ParameterError: for a word that is no ``name=value``, a name that stands twice, or a value
            that is no plain YAML

    Examples:
        >>> read_settings("epochs=5 protocol=paper lengths='[3, 6]'")
        {'epochs': 5, 'protocol': 'paper', 'lengths': [3, 6]}
        >>> read_settings("features={expression: descriptors} epochs=5")
        {'features': {'expression': 'descriptors'}, 'epochs': 5}
    """
    words = []
    try:
        for word in shlex.split(text):
            if words and _is_open(words[-1]):
                words[-1] += f" {word}"
            else:
                words.append(word)
    except ValueError as error:
        raise ParameterError(f"SET: {error}, found {text}") from None
    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise ParameterError(f"SET: expected name=value, not {word!r}")
        if name in settings:
            raise ParameterError(f"SET: {name} stands twice")
        settings[name] = read_yaml(value, f"SET, {name}")
        check_plain(settings[name], f"SET, {name}")
    return settings


def _is_open(word: str) -> bool:
    """Whether a word is the beginning of a list or mapping whose closing bracket is missing."""
    value = word.partition("=")[2]
    if not value.startswith(("[", "{")):
        return False
    try:
        yaml.load(value, _StrictLoader)
    except (yaml.parser.ParserError, yaml.scanner.ScannerError):
        return True
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return False
    return False


class _StrictLoader(yaml.SafeLoader):
    """Reads plain YAML: no name stands twice in a mapping, and nothing refers to a place above."""

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            problem = "an alias, expected the value itself"
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, problem, mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                problem = f"the name {key.value!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(content: bytes | str, source: str) -> object:
    """Reads YAML without running anything that it names.

    Args:
        content: of a file, or text from the command line
        source: name of the file, or a word for the text, for messages

    Raises:
        ParameterError: if it is no plain YAML; it names the line and what is wrong there
    """
    try:
        return yaml.load(content, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ParameterError(f"{source}{place}: {error.problem or error.context}") from None
    # A date that no calendar has, or bytes that are no text.
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ParameterError(f"{source}: no plain YAML: {reason}") from None


def check_plain(value: object, place: str) -> None:
    """Refuses a value that would not reach a notebook as it is.

    Parameters travel as JSON: text, whole and decimal numbers, true, false, null, and lists and
    mappings of these whose names are text.

    Args:
        value: of a parameter
        place: where it stands, for messages

    Raises:
        ParameterError: for anything else, such as a date, bytes, a tuple or a number as a name
    """
    if isinstance(value, list):
        for number, item in enumerate(value, 1):
            check_plain(item, f"{place}, value {number}")
    elif isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise ParameterError(f"{place}: {_described(name)} as a name, expected text")
            check_plain(item, f"{place}, {name}")
    elif type(value) not in (str, int, float, bool, type(None)):
        raise ParameterError(
            f"{place}: {_described(value)}, expected text, a number, true, false, null, "
            "or lists and mappings of these"
        )


def _described(value: object) -> str:
    return f"{value!r} is {type(value).__name__}"
