"""Makes the course edition: notebooks for students, for teachers, and slides.

CONTRIBUTING says how an exercise is written: a question (tag ``exercise``), its solution
(``solution``) and a check of the answer (``exercise-check``). Here each exercise becomes one answer
cell and one graded cell, with nbgrader's metadata and marks; nbgrader's own steps then make the
edition for students out of that for teachers. So what students get is what
``nbgrader generate_assignment`` would give them, and ``nbgrader autograde`` grades it.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbformat import NotebookNode

from affectlib import paths
from affectlib.errors import AffectError
from affectlib.runner import folders
from affectlib.runner.notebooks import find_notebooks, tags

EXERCISE = "exercise"
SOLUTION = "solution"
CHECK = "exercise-check"
# Markdown cells near the top of a notebook.
GOALS = "goals"
PREREQUISITES = "prerequisites"

GLOSSARY = paths.ROOT / "site" / "glossary.md"
# Of nbgrader's metadata.
SCHEMA = 3
# A link of Markdown or HTML to a file of the checkout: its beginning, its path.
_LINK = re.compile(r"""(\]\(|href="|src=")(?!https?:|mailto:|data:|attachment:|#|/)([^)"#\s]+)""")
_CONFIG = '''"""Settings of nbgrader for this course."""

import os
import sys
from pathlib import Path

c = get_config()  # noqa: F821
here = Path(__file__).resolve().parent
c.CourseDirectory.root = str(here)
# A cell may train a network. In seconds.
c.ExecutePreprocessor.timeout = 3600
# nbgrader calls alembic, which was installed beside Python.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
# Figures of the notebooks that are graded go here, not among those of the checkout.
os.environ.setdefault("AFFECTLIB_FIGURES", str(here / "figures"))
'''


class ExerciseError(AffectError, ValueError):
    """An exercise of a notebook is not written as CONTRIBUTING says."""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook.

    Args:
        id: unique in its notebook
        points: for a right answer
        minutes: that it takes
        answer: name of the variable that the check reads
        question: place of the question among the cells
        solution: places of the solution's cells
        check: place of the check
        discussion: places of the solution's cells after the check, for teachers only
    """

    id: str
    points: float
    minutes: float
    answer: str
    question: int
    solution: range
    check: int
    discussion: tuple[int, ...]


def build(folder: Path) -> None:
    """Writes the course edition: ``student``, ``teacher`` and ``slides``.

    Args:
        folder: where the edition goes; an older one there is replaced

    Raises:
        ExerciseError: if an exercise is not written as it should be; nothing is written then
        FolderError: if the folder holds something else, or answers and grades of students
    """
    folder = Path(folder)
    _check_folder(folder)
    paths.make_folder(folder.parent)
    with TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary, "course")
        for notebook in find_notebooks().values():
            _write_editions(notebook, made)
        (made / "teacher" / "nbgrader_config.py").write_text(_CONFIG, encoding="utf-8")
        # Citations need the site's list of references.
        glossary = re.sub(r"\s*\{cite:p\}`\w+`", "", GLOSSARY.read_text(encoding="utf-8"))
        for place in ("student", "teacher/source", "teacher/solved"):
            (made / place / GLOSSARY.name).write_text(glossary, encoding="utf-8")
        folders.replace(folder, made)


def _check_folder(folder: Path) -> None:
    """Refuses to replace what is no course edition, and one with the work of students."""
    folders.check_replaceable(folder, sign="teacher/nbgrader_config.py")
    for name in ("submitted", "gradebook.db"):
        work = folder / "teacher" / name
        if work.exists():
            raise folders.FolderError(
                f"{work}: answers or grades of students would be deleted: move {folder}, "
                "or name another folder"
            )


def _write_editions(notebook: Path, course: Path) -> None:
    name = notebook.stem
    for_teacher = teacher_edition(notebook)
    source = course / "teacher" / "source" / name
    _write(moved_links(for_teacher), source / notebook.name)
    solved = course / "teacher" / "solved" / name
    _write(moved_links(solved_edition(notebook)), solved / notebook.name)
    student = course / "student" / name
    _write(moved_links(student_edition(for_teacher)), student / notebook.name)
    _write_slides(notebook, course / "slides")


def _write(notebook: NotebookNode, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(nbformat.writes(notebook), encoding="utf-8")


# ---------------------------------------------------------------- exercises of a notebook


def exercises(notebook: Path) -> list[Exercise]:
    """All exercises of a notebook, in order.

    Raises:
        ExerciseError: if one is not written as CONTRIBUTING says; it names notebook and cell
    """
    return _exercises(notebook, _read(notebook).cells)


def _exercises(notebook: Path, cells: Sequence[NotebookNode]) -> list[Exercise]:
    """All exercises among the cells of a notebook; its name is for messages."""
    found = []
    for question, cell in enumerate(cells):
        if EXERCISE in tags(cell):
            try:
                found.append(_exercise(cells, question))
            except ExerciseError as error:
                raise ExerciseError(f"{notebook.name}, cell {cell.id}: {error}") from None
    _check_together(notebook, cells, found)
    return found


def _read(notebook: Path) -> NotebookNode:
    return nbformat.read(notebook, as_version=4)


def _exercise(cells: Sequence[NotebookNode], question: int) -> Exercise:
    """The exercise whose question stands at a place."""
    given = _settings(cells[question])
    end = question + 1
    while end < len(cells) and not {EXERCISE, CHECK} & {*tags(cells[end])}:
        end += 1
    if end == len(cells) or CHECK not in tags(cells[end]):
        raise ExerciseError(f"expected a cell tagged {CHECK} after this question, found none")
    solved = [i for i in range(question + 1, end) if SOLUTION in tags(cells[i])]
    if not solved or not any(cells[i].cell_type == "code" for i in solved):
        raise ExerciseError(f"expected a code cell tagged {SOLUTION} before the check, found none")
    solution = range(solved[0], solved[-1] + 1)
    if len(solution) != len(solved):
        raise ExerciseError(
            f"expected the cells tagged {SOLUTION} one after the other, found others among them"
        )
    discussion = _solution_cells_after(cells, end)
    return Exercise(**given, question=question, solution=solution, check=end, discussion=discussion)


def _solution_cells_after(cells: Sequence[NotebookNode], check: int) -> tuple[int, ...]:
    """Places of the cells tagged solution between a check and the next question."""
    found = []
    for i in range(check + 1, len(cells)):
        if EXERCISE in tags(cells[i]):
            break
        if SOLUTION in tags(cells[i]):
            found.append(i)
    return tuple(found)


def _settings(cell: NotebookNode) -> dict[str, object]:
    """The exercise's metadata, checked."""
    given = cell.metadata.get(EXERCISE)
    expected = {"id": str, "points": (int, float), "minutes": (int, float), "answer": str}
    if not isinstance(given, Mapping) or given.keys() != expected.keys():
        raise ExerciseError(
            f"expected the metadata exercise with {', '.join(expected)}, found {given}"
        )
    for name, kind in expected.items():
        if not isinstance(given[name], kind) or isinstance(given[name], bool):
            raise ExerciseError(f"exercise.{name} is {given[name]!r}, expected {_words(kind)}")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", given["id"]):
        raise ExerciseError(f"exercise.id is {given['id']!r}, expected letters, digits, - and _")
    if given["points"] <= 0 or given["minutes"] <= 0:
        raise ExerciseError("exercise.points and exercise.minutes have to be above 0")
    if not given["answer"].isidentifier():
        raise ExerciseError(f"exercise.answer is {given['answer']!r}, expected a variable's name")
    return dict(given)


def _words(kind: object) -> str:
    return "a text" if kind is str else "a number"


def _check_together(
    notebook: Path, cells: Sequence[NotebookNode], found: Sequence[Exercise]
) -> None:
    """Refuses ids that occur twice, checks that belong to no exercise, answers that are given."""
    ids = [exercise.id for exercise in found]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ExerciseError(f"{notebook.name}: two exercises are called {', '.join(twice)}")
    used = {exercise.check for exercise in found}
    for i, cell in enumerate(cells):
        if CHECK in tags(cell) and i not in used:
            raise ExerciseError(
                f"{notebook.name}, cell {cell.id}: a check that belongs to no exercise; expected "
                f"a Markdown cell tagged {EXERCISE} before it"
            )
    for exercise in found:
        own = {*exercise.solution, *exercise.discussion}
        given = [cell for i, cell in enumerate(cells) if i not in own]
        solved = [cells[i] for i in exercise.solution]
        if exercise.answer not in _assigned(solved):
            raise ExerciseError(
                f"{notebook.name}: the solution of {exercise.id} does not assign {exercise.answer}"
            )
        if exercise.answer in _assigned(given):
            raise ExerciseError(
                f"{notebook.name}: {exercise.answer}, the answer of {exercise.id}, is assigned "
                "elsewhere too: an empty answer could pass"
            )
    _check_names(notebook, cells, found)


def _check_names(notebook: Path, cells: Sequence[NotebookNode], found: Sequence[Exercise]) -> None:
    """Refuses cells for students that need a name of a solution that no question asks for."""
    hidden = [cell for cell in cells if SOLUTION in tags(cell)]
    shown = [cell for cell in cells if SOLUTION not in tags(cell)]
    asked = {exercise.answer for exercise in found}
    for exercise in found:
        asked.update(re.findall(r"`(\w+)`", cells[exercise.question].source))
    only_hidden = _assigned(hidden) - _assigned(shown) - asked
    for cell in shown:
        missing = sorted(_used(cell) & only_hidden)
        if found and missing:
            raise ExerciseError(
                f"{notebook.name}, cell {cell.id}: students do not have {', '.join(missing)}, "
                f"which only cells tagged {SOLUTION} define"
            )


def _used(cell: NotebookNode) -> set[str]:
    """Names that a cell reads."""
    if cell.cell_type != "code":
        return set()
    return {node.id for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)}


def _assigned(cells: Iterable[NotebookNode]) -> set[str]:
    """Names that some cells bind."""
    names = set()
    for cell in cells:
        if cell.cell_type != "code":
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.alias):
                names.add(node.asname or node.name.split(".")[0])
    return names


# ---------------------------------------------------------------- editions


def teacher_edition(notebook: Path) -> NotebookNode:
    """A notebook with one answer cell and one graded cell per exercise, as nbgrader reads it.

    A solution's text becomes a comment below its code.

    Raises:
        ExerciseError: if an exercise is not written as it should be
    """
    content = _read(notebook)
    cells = list(content.cells)
    found = _exercises(notebook, cells)
    # From the end, so that places of earlier exercises stay what they are.
    for number, exercise in reversed(list(enumerate(found, start=1))):
        for place in reversed(exercise.discussion):
            del cells[place]
        _mark_check(cells[exercise.check], exercise)
        solved = [cells[i] for i in exercise.solution]
        cells[exercise.solution.start : exercise.solution.stop] = [
            _answer_cell(solved, exercise, number)
        ]
        cells[exercise.question].source += (
            f"\n\n*{_count(exercise.points, 'point')}, about {_count(exercise.minutes, 'minute')}. "
            f"Assign your answer to* `{exercise.answer}`*.*"
        )
    for cell in cells:
        if SOLUTION in tags(cell):
            # Of no exercise: students get an empty cell, and nobody grades it.
            cell.metadata["nbgrader"] = _nbgrader(f"ungraded-{cell.id}", solution=True)
    content.cells = _with_summary(cells, found)
    return content


def _count(number: float, noun: str) -> str:
    """A number with its noun: 1 point, 2 points."""
    return f"{number:g} {noun}" if number == 1 else f"{number:g} {noun}s"


def _with_summary(cells: list[NotebookNode], found: Sequence[Exercise]) -> list[NotebookNode]:
    """Puts a line on the exercises below the notebook's first cell."""
    if not found:
        return cells
    points = _count(sum(exercise.points for exercise in found), "point")
    minutes = _count(sum(exercise.minutes for exercise in found), "minute")
    summary = nbformat.v4.new_markdown_cell(
        f"**Course edition.** {_count(len(found), 'exercise')} at the end, {points}, about "
        f"{minutes} once the notebook has been read. Write each answer into its cell, and run the "
        "check below it: no message means that it passed.",
        id="course-edition",
    )
    return [cells[0], summary, *cells[1:]]


def _answer_cell(solved: Sequence[NotebookNode], exercise: Exercise, number: int) -> NotebookNode:
    """All cells of a solution as one, with nbgrader's marks around it."""
    parts = []
    for cell in solved:
        if cell.cell_type == "code":
            parts.append(cell.source)
        else:
            parts.append("\n".join(f"# {line}".rstrip() for line in cell.source.split("\n")))
    solution = "\n\n".join(parts)
    answer = nbformat.v4.new_code_cell(
        f"# Exercise {number}: assign your answer to {exercise.answer}.\n"
        f"### BEGIN SOLUTION\n{solution}\n### END SOLUTION",
        id=solved[0].id,
    )
    answer.outputs = [out for cell in solved for out in cell.get("outputs", [])]
    answer.metadata["nbgrader"] = _nbgrader(f"{exercise.id}-answer", solution=True)
    return answer


def _mark_check(cell: NotebookNode, exercise: Exercise) -> None:
    cell.metadata["nbgrader"] = _nbgrader(exercise.id, grade=True) | {"points": exercise.points}


def _nbgrader(grade_id: str, *, solution: bool = False, grade: bool = False) -> dict[str, object]:
    return {
        "grade": grade,
        "grade_id": grade_id,
        "locked": grade,
        "schema_version": SCHEMA,
        "solution": solution,
        "task": False,
    }


def solved_edition(notebook: Path) -> NotebookNode:
    """A notebook as it is stored, with its solutions folded away: one click opens them."""
    content = _read(notebook)
    for cell in content.cells:
        if SOLUTION in tags(cell) and cell.cell_type == "code":
            cell.metadata["jupyter"] = {"source_hidden": True, "outputs_hidden": True}
    return content


def student_edition(for_teacher: NotebookNode) -> NotebookNode:
    """What ``nbgrader generate_assignment`` makes of a teacher's notebook.

    It has no solutions, no outputs and no hidden tests.

    Args:
        for_teacher: by :func:`teacher_edition`
    """
    # nbgrader brings a server and a database along: imported here, so that others need not wait.
    from nbgrader.preprocessors import (
        CheckCellMetadata,
        ClearHiddenTests,
        ClearOutput,
        ClearSolutions,
        ComputeChecksums,
        LockCells,
    )

    content = copy.deepcopy(for_teacher)
    steps = (
        LockCells,
        ClearSolutions,
        ClearOutput,
        ClearHiddenTests,
        ComputeChecksums,
        CheckCellMetadata,
    )
    resources = {}
    for step in steps:
        content, resources = step().preprocess(content, resources)
    return content


def moved_links(notebook: NotebookNode) -> NotebookNode:
    """A copy of a notebook whose links fit the course's folders.

    There each notebook has a folder of its own, and the glossary stands beside these folders.
    """
    content = copy.deepcopy(notebook)
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = _LINK.sub(_moved_link, cell.source)
    return content


def _moved_link(found: re.Match) -> str:
    begin, link = found.groups()
    target = (paths.ROOT / "notebooks" / link).resolve()
    if target == GLOSSARY:
        return f"{begin}../{GLOSSARY.name}"
    if target.suffix == ".ipynb":
        return f"{begin}../{target.stem}/{target.name}"
    return found.group()


# ---------------------------------------------------------------- slides


def slides(notebook: Path) -> NotebookNode:
    """A notebook of slides: the title, then each figure under the headings that lead to it."""
    cells = []
    headings = {}
    for cell in _read(notebook).cells:
        if cell.cell_type == "markdown":
            headings = _current_headings(headings, cell.source)
            continue
        figures = [out for out in cell.get("outputs", []) if _is_figure(out)]
        if not figures:
            continue
        text = "\n\n".join(headings[level] for level in sorted(headings) if level > 1)
        cells.append(_slide(nbformat.v4.new_markdown_cell(text), "slide"))
        cells.append(_slide(nbformat.v4.new_code_cell(outputs=figures), "-"))
    title = _slide(nbformat.v4.new_markdown_cell(headings[1]), "slide")
    return nbformat.v4.new_notebook(cells=[title, *cells])


def _slide(cell: NotebookNode, kind: str) -> NotebookNode:
    cell.metadata["slideshow"] = {"slide_type": kind}
    return cell


def _current_headings(headings: Mapping[int, str], text: str) -> dict[int, str]:
    """Level to heading after a Markdown cell: a heading ends those below it."""
    current = dict(headings)
    for line in text.split("\n"):
        found = re.match(r"(#+) ", line)
        if found:
            level = len(found.group(1))
            current = {above: heading for above, heading in current.items() if above < level}
            current[level] = line
    return current


def _is_figure(output: Mapping) -> bool:
    data = output.get("data", {})
    return "image/png" in data or "<img" in "".join(data.get("text/html", ""))


def _write_slides(notebook: Path, folder: Path) -> None:
    from nbconvert import SlidesExporter

    exporter = SlidesExporter(exclude_input=True, exclude_output_prompt=True)
    name = {"metadata": {"name": notebook.stem}}
    page, _ = exporter.from_notebook_node(slides(notebook), resources=name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{notebook.stem}.html").write_text(page, encoding="utf-8")


# ---------------------------------------------------------------- the page for teachers


def exercise_table() -> str:
    """Goals, prerequisites, exercises, points and minutes of every notebook, as Markdown."""
    lines = ["| notebook | exercises | points | minutes |", "|---|---|---|---|"]
    texts = []
    for notebook in find_notebooks().values():
        found = exercises(notebook)
        points = sum(exercise.points for exercise in found)
        minutes = sum(exercise.minutes for exercise in found)
        link = f"[{notebook.stem}](../notebooks/{notebook.name})"
        lines.append(f"| {link} | {len(found)} | {points:g} | {minutes:g} |")
        texts += _for_teachers(notebook)
    return "\n".join([*lines, "", *texts])


def _for_teachers(notebook: Path) -> list[str]:
    """The cells on goals and prerequisites, without their headings."""
    texts = []
    for cell in _read(notebook).cells:
        if {GOALS, PREREQUISITES} & {*tags(cell)}:
            kept = [line for line in cell.source.split("\n") if not line.startswith("#")]
            # Links stand in the notebook's folder.
            texts.append(_LINK.sub(r"\1../notebooks/\2", "\n".join(kept).strip()) + "\n")
    return [f"## {notebook.stem}\n", *texts] if texts else []
