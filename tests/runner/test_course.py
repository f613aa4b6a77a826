"""The course edition: exercises are found or refused by name, answers are graded by nbgrader."""

import copy
import re
import subprocess
import sys

import nbformat
import pytest

from affectlib.runner import course, site
from affectlib.runner.course import ExerciseError
from affectlib.runner.folders import FolderError
from affectlib.runner.notebooks import find_notebooks

QUESTION = {"id": "mean-valence", "points": 2, "minutes": 5, "answer": "mean_valence"}
SOLUTION = "mean_valence = sum(valence) / len(valence)"
CHECK = """\
assert abs(mean_valence - 0.25) < 1e-9, "the mean of four values"
### BEGIN HIDDEN TESTS
assert isinstance(mean_valence, float), "a float"
### END HIDDEN TESTS"""


def cell(kind, source, *tags, **metadata):
    made = getattr(nbformat.v4, f"new_{kind}_cell")(source)
    made.metadata |= {"tags": list(tags), **metadata}
    return made


def question(**changes):
    return cell("markdown", "1. What is the mean?", "exercise", exercise=QUESTION | changes)


def small_cells():
    return [
        cell("markdown", "# A small notebook\n\n[CCC](../site/glossary.md#ccc)"),
        cell("markdown", "## Goals\n\n- Take a mean, see [01](01_mood_change.ipynb).", "goals"),
        cell("code", "valence = [0.5, 0.0, -0.5, 1.0]"),
        question(),
        cell("code", SOLUTION, "solution"),
        cell("markdown", "Valence is above 0\non average.", "solution"),
        cell("code", CHECK, "exercise-check"),
        cell("code", "print(mean_valence, 'on average')", "solution"),
        cell("markdown", "What it means.", "solution"),
    ]


def stored(folder, cells, name="09_small.ipynb"):
    file = folder / name
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, file)
    return file


def grades(root, assignment):
    """Points of each student, read from nbgrader's own table."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{root / 'gradebook.db'}") as book:
        return {row.student.id: row.score for row in book.assignment_submissions(assignment)}


def nbgrader(root, *words):
    command = [sys.executable, "-m", "nbgrader", *words]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nbgrader_grades_a_right_a_wrong_and_an_empty_answer(tmp_path, monkeypatch):
    notebook = stored(tmp_path, small_cells())
    monkeypatch.setattr(course, "find_notebooks", lambda: {"small": notebook})
    edition = tmp_path / "edition"
    course.build(edition)
    root = edition / "teacher"
    assert "cite:" not in (edition / "student" / "glossary.md").read_text(encoding="utf-8")
    handed_out = nbformat.read(edition / "student/09_small/09_small.ipynb", as_version=4)
    nbgrader(root, "generate_assignment", "09_small")
    released = nbformat.read(root / "release/09_small/09_small.ipynb", as_version=4)
    assert [c.source for c in released.cells] == [c.source for c in handed_out.cells]

    answers = {"ada": SOLUTION, "bob": "mean_valence = 0", "cyd": None}
    for student, answer in answers.items():
        handed_in = copy.deepcopy(handed_out)
        for written in handed_in.cells:
            if answer and "NotImplementedError" in written.source:
                written.source = answer
        folder = root / "submitted" / student / "09_small"
        folder.mkdir(parents=True)
        nbformat.write(handed_in, folder / "09_small.ipynb")
    # A student who also rewrites the check gains nothing: nbgrader puts the true one back.
    cheat = root / "submitted" / "bob" / "09_small" / "09_small.ipynb"
    cheat.write_text(cheat.read_text().replace("assert abs(", "assert True or abs("))
    nbgrader(root, "autograde", "09_small")
    assert grades(root, "09_small") == {"ada": 2, "bob": 0, "cyd": 0}


@pytest.mark.parametrize("work", ["submitted/ada/answer.txt", "gradebook.db"])
def test_the_work_of_students_is_never_replaced(tmp_path, monkeypatch, work):
    notebook = stored(tmp_path, small_cells())
    monkeypatch.setattr(course, "find_notebooks", lambda: {"small": notebook})
    edition = tmp_path / "edition"
    course.build(edition)
    course.build(edition)
    file = edition / "teacher" / work
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("of Ada")
    with pytest.raises(FolderError, match="of students would be deleted"):
        course.build(edition)
    assert file.read_text() == "of Ada"


@pytest.mark.parametrize("build", [course.build, site.build])
def test_a_folder_with_something_else_is_never_replaced(tmp_path, build):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FolderError, match="holds something else"):
        build(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_students_get_no_solution_no_output_and_no_hidden_test(tmp_path):
    cells = small_cells()
    cells[4].outputs = [nbformat.v4.new_output("stream", text="0.25")]
    student = course.student_edition(course.teacher_edition(stored(tmp_path, cells)))
    text = nbformat.writes(student)
    for secret in ("sum(valence)", "above 0", "isinstance", "0.25\\n", "on average", "What it"):
        assert secret not in text
    answer = next(c for c in student.cells if "NotImplementedError" in c.source)
    assert answer.source.startswith("# Exercise 1: assign your answer to mean_valence.")
    assert "2 points, about 5 minutes" in text
    assert not any(c.get("outputs") for c in student.cells)


def test_a_solution_of_no_exercise_is_an_answer_that_nobody_grades(tmp_path):
    cells = [cell("markdown", "# Title"), cell("code", "secret = 1", "solution")]
    student = course.student_edition(course.teacher_edition(stored(tmp_path, cells)))
    assert "secret" not in nbformat.writes(student)
    assert student.cells[1].metadata.nbgrader.grade is False


def test_a_question_may_ask_for_more_than_the_answer(tmp_path):
    cells = small_cells()
    cells[3].source = "1. What are the mean, and the number of values, `n`?"
    cells[4].source = f"n = len(valence)\n{SOLUTION}"
    cells[6].source = f"assert n == 4\n{CHECK}"
    assert len(course.exercises(stored(tmp_path, cells))) == 1


def test_links_lead_to_the_glossary_and_the_notebooks_beside(tmp_path):
    moved = course.moved_links(nbformat.read(stored(tmp_path, small_cells()), as_version=4))
    assert "[CCC](../glossary.md#ccc)" in moved.cells[0].source
    assert "[01](../01_mood_change/01_mood_change.ipynb)" in moved.cells[1].source


BAD = {
    "no metadata": (lambda c: c[3].metadata.pop("exercise"), "expected the metadata exercise"),
    "points of 0": (lambda c: c[3].metadata.exercise.update(points=0), "have to be above 0"),
    "points as text": (
        lambda c: c[3].metadata.exercise.update(points="2"),
        "exercise.points is '2', expected a number",
    ),
    "id with a space": (
        lambda c: c[3].metadata.exercise.update(id="mean valence"),
        "expected letters, digits",
    ),
    "no check": (lambda c: c.pop(6), "expected a cell tagged exercise-check"),
    "no solution": (
        lambda c: c.__delitem__(slice(4, 6)),
        "expected a code cell tagged solution before the check",
    ),
    "a cell within": (
        lambda c: c.insert(5, cell("code", "1")),
        "one after the other, found others among them",
    ),
    "a check alone": (lambda c: c.pop(3), "a check that belongs to no exercise"),
    "another answer": (
        lambda c: c[3].metadata.exercise.update(answer="median"),
        "the solution of mean-valence does not assign median",
    ),
    "answer given": (
        lambda c: c[2].update(source="mean_valence = 0; valence = [1]"),
        "is assigned elsewhere too: an empty answer could pass",
    ),
    "a name of the solution": (
        lambda c: (
            c[4].update(source=f"n = len(valence)\n{SOLUTION}"),
            c[6].update(source=f"assert n == 4\n{CHECK}"),
        ),
        "students do not have n, which only cells tagged solution define",
    ),
    "an id twice": (
        lambda c: c.extend(
            [
                question(),
                cell("code", SOLUTION, "solution"),
                cell("code", CHECK, "exercise-check"),
            ]
        ),
        "two exercises are called mean-valence",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_an_exercise_that_is_not_as_written_down_is_refused_by_name(tmp_path, monkeypatch, fault):
    spoil, message = BAD[fault]
    cells = [nbformat.from_dict(c) for c in small_cells()]
    spoil(cells)
    notebook = stored(tmp_path, cells)
    monkeypatch.setattr(course, "find_notebooks", lambda: {"small": notebook})
    with pytest.raises(ExerciseError, match=re.escape(message)) as refused:
        course.build(tmp_path / "edition")
    assert "09_small.ipynb" in str(refused.value)
    assert not (tmp_path / "edition").exists()


def test_slides_hold_each_figure_below_its_headings(tmp_path):
    picture = nbformat.v4.new_output("display_data", data={"image/png": "iVBORw0K"})
    inline = nbformat.v4.new_output("display_data", data={"text/html": '<img alt="a" src="b">'})
    table = nbformat.v4.new_output("display_data", data={"text/html": "<table></table>"})
    cells = [
        cell("markdown", "# Title\n\nText."),
        cell("markdown", "## Data\n\nText."),
        cell("code", "draw()"),
        cell("markdown", "### Faces"),
        cell("code", "draw()"),
        cell("markdown", "## Scores"),
        cell("code", "show()"),
    ]
    cells[2].outputs = [picture]
    cells[4].outputs = [table, inline]
    cells[6].outputs = [table]
    made = course.slides(stored(tmp_path, cells)).cells
    assert [c.source for c in made] == ["# Title", "## Data", "", "## Data\n\n### Faces", ""]
    assert [len(c.get("outputs", [])) for c in made] == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("slug", find_notebooks())
def test_the_exercises_of_a_notebook_are_written_as_contributing_says(slug):
    notebook = find_notebooks()[slug]
    found = course.exercises(notebook)
    cells = nbformat.read(notebook, as_version=4).cells
    solved = {i for exercise in found for i in (*exercise.solution, *exercise.discussion)}
    tagged = {i for i, c in enumerate(cells) if "solution" in c.metadata.get("tags", [])}
    if not found:
        pytest.skip("no graded exercise yet")
    assert tagged == solved, "each solution belongs to an exercise with a check"
