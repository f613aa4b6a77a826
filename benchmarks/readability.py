"""How dense the code is, measured as in the libraries that it is compared with.

Run ``python benchmarks/readability.py`` for the library beside its neighbours, or name files and
folders to measure these alone. ``tests/test_readability.py`` holds the library to the neighbours'
range.

Measured are, over all Python files below a folder:
    - the mean length of a line of code, with its indentation, in characters;
    - the share of lines of code with more than 88 columns;
    - operations per statement: calls, arithmetic, comparisons, subscripts, comprehensions, lambdas
      and conditional expressions. Imports, docstrings, and headers of functions and classes are not
      counted;
    - the share of statements with six or more operations;
    - the share of lines that are a comment;
    - the share of public functions whose arguments and result all have types.
"""

import ast
import importlib.util
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Well-kept libraries of this environment that the project was compared with.
NEIGHBOURS = ("audinterface", "pooch", "torchmetrics.functional.regression")

OPERATIONS = (
    ast.Call,
    ast.BinOp,
    ast.BoolOp,
    ast.Compare,
    ast.UnaryOp,
    ast.Subscript,
    ast.IfExp,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.Lambda,
    ast.NamedExpr,
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NOT_COUNTED = (ast.Import, ast.ImportFrom, ast.ClassDef, *FUNCTIONS)


class Density(NamedTuple):
    """What is measured of some code; shares in percent."""

    line_length: float
    long_lines: float
    operations: float
    dense_statements: float
    comments: float
    annotated: float


def code_files(place: Path) -> list[Path]:
    """The Python files of a folder, or the file itself."""
    if place.is_file():
        return [place]
    return sorted(place.rglob("*.py"))


def measure(places: list[Path]) -> Density:
    """Measures all files of some folders together."""
    lengths: list[int] = []
    operations: list[int] = []
    annotated: list[bool] = []
    n_lines = 0
    n_comments = 0
    for file in (file for place in places for file in code_files(place)):
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text)
        lines = text.splitlines()
        comments = comment_lines(file)
        without_code = comments | docstring_lines(tree)
        n_lines += len(lines)
        n_comments += len(comments)
        for number, line in enumerate(lines, 1):
            if line.strip() and number not in without_code:
                lengths.append(len(line))
        operations += [n_operations(statement) for statement in statements(tree)]
        annotated += [is_annotated(function) for function in public_functions(tree)]
    return Density(
        line_length=sum(lengths) / len(lengths),
        long_lines=percent([length > 88 for length in lengths]),
        operations=sum(operations) / len(operations),
        dense_statements=percent([number >= 6 for number in operations]),
        comments=100 * n_comments / n_lines,
        annotated=percent(annotated),
    )


def percent(flags: list[bool]) -> float:
    """The share of true flags in percent, nan if there is none."""
    return 100 * sum(flags) / len(flags) if flags else float("nan")


def comment_lines(file: Path) -> set[int]:
    """Numbers of the lines that hold a comment and nothing else."""
    with tokenize.open(file) as stream:
        tokens = list(tokenize.generate_tokens(stream.readline))
    return {
        token.start[0]
        for token in tokens
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip()
    }


def docstring_lines(tree: ast.Module) -> set[int]:
    """Numbers of the lines of all docstrings."""
    numbers: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and is_text(node):
            numbers |= set(range(node.lineno, node.end_lineno + 1))
    return numbers


def is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a constant alone, as a docstring is."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements whose operations are counted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and not isinstance(node, NOT_COUNTED) and not is_text(node):
            yield node


def n_operations(statement: ast.stmt) -> int:
    """Operations of a statement, without those of the statements inside it."""
    count = 0
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        count += isinstance(node, OPERATIONS)
        waiting += [c for c in ast.iter_child_nodes(node) if not isinstance(c, ast.stmt)]
    return count


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Functions, methods and constructors that a user may call."""
    for node in tree.body:
        if isinstance(node, FUNCTIONS) and not node.name.startswith("_"):
            yield node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                public = not getattr(method, "name", "_").startswith("_")
                if isinstance(method, FUNCTIONS) and (public or method.name == "__init__"):
                    yield method


def is_annotated(function: ast.FunctionDef) -> bool:
    """Whether each argument has a type, and the result too, which a constructor has not."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every = [argument for argument in every if argument.arg not in ("self", "cls")]
    has_result = function.returns is not None or function.name == "__init__"
    return has_result and all(argument.annotation is not None for argument in every)


def neighbour(name: str) -> Path:
    """The folder or file of an installed package; nothing of it is imported but its parents."""
    origin = Path(importlib.util.find_spec(name).origin)
    return origin.parent if origin.name == "__init__.py" else origin


def main(places: list[str]) -> None:
    """Prints a table of what is named, or of the library and its neighbours."""
    root = Path(__file__).resolve().parents[1]
    if places:
        measured = {place: measure([Path(place)]) for place in places}
    else:
        measured = {"affectlib": measure([root / "affectlib"])}
        measured |= {name: measure([neighbour(name)]) for name in NEIGHBOURS}
    print(f"{'':<36}" + "".join(f"{field:>18}" for field in Density._fields))
    for name, density in measured.items():
        print(f"{name:<36}" + "".join(f"{value:>18.1f}" for value in density))


if __name__ == "__main__":
    main(sys.argv[1:])
