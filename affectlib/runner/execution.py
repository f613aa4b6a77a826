"""Executes one notebook with papermill, and stores an executed notebook in the checkout."""

import json
import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from affectlib import AVX2_VARIABLES, AVX512_OFF, paths
from affectlib.progress import OPENED_IN_JUPYTER
from affectlib.runner import estimate, notebooks
from affectlib.runner.content_key import figures_hash
from affectlib.runner.failures import FAILED, report

# Metadata that differ from run to run: nbstripout removes them.
EXTRA_KEYS = (
    "metadata.papermill cell.metadata.papermill cell.metadata.execution "
    "metadata.language_info.version metadata.widgets metadata.affectlib"
)
STRIPPED = ("--keep-output", "--keep-count", "--keep-id", "--extra-keys", EXTRA_KEYS)
WIDGET = "application/vnd.jupyter.widget-view+json"
# The cell of a notebook that tells how long it takes.
HOW_LONG = "how-long"


@dataclass(frozen=True)
class Job:
    """One notebook to run.

    Args:
        slug: of the notebook
        notebook: its file
        output: where the executed copy goes
        parameters: those that differ from the defaults
        key: content key of the notebook under these parameters
    """

    slug: str
    notebook: Path
    output: Path
    parameters: dict[str, object]
    key: str

    @property
    def done(self) -> bool:
        """Whether an executed copy has this key, and every file in figures/ is that copy's."""
        record = run_record(self.output)
        return record.get("key") == self.key and record.get("figures") == figures_hash(self.slug)


def run_record(output: Path) -> dict[str, object]:
    """Content key, hash of the figures and seconds of an executed notebook.

    Empty where there is none, and where the file is cut or holds something else: it is then run
    again.
    """
    try:
        record = json.loads(output.read_bytes())["metadata"]["affectlib"]
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return {}
    return record if isinstance(record, dict) else {}


def execute(job: Job) -> None:
    """Runs one notebook in this process and prints one line per cell.

    The executed copy appears only when it is complete.

    Raises:
        PapermillExecutionError: if a cell failed
        WriteError: if the disk is full, or the folder of the executed copy may not be written
    """
    import papermill
    from papermill.engines import papermill_engines

    begun = time.perf_counter()
    papermill_engines.register("affectlib", _engine(job, begun))
    paths.make_folder(job.output.parent)
    paths.remove_leftovers(paths.FIGURES / job.slug)
    partial = partial_copy(job)
    papermill.execute_notebook(
        str(job.notebook),
        str(partial),
        job.parameters,
        engine_name="affectlib",
        progress_bar=False,
        cwd=str(notebooks.NOTEBOOKS),
        kernel_name="python3",
    )
    content = json.loads(partial.read_text(encoding="utf-8"))
    content["metadata"]["affectlib"] = {
        "key": job.key,
        "figures": figures_hash(job.slug),
        "seconds": round(time.perf_counter() - begun, 1),
    }
    paths.write(job.output, _notebook_bytes(content))
    estimate.remember(job, content, _peak_of_kernel())
    # papermill's own copy has no key: it is of use only where a cell failed.
    partial.unlink()


def _peak_of_kernel() -> int:
    """Most bytes of memory that a child of this process has held: its kernel, which has ended."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    return peak if sys.platform == "darwin" else peak * 1024


def _engine(job: Job, begun: float) -> type:
    """An engine for papermill that prints a line for each cell and talks to its kernel by files."""
    from papermill.engines import NBClientEngine
    from traitlets.config import Config

    class Progress(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, manager, kernel_name, **options):
            manager.cell_start = _announced(job, manager, begun)
            with TemporaryDirectory() as folder:
                options["config"] = Config({"KernelManager": _transport(folder)})
                # Errors only: at Ctrl-C a kernel would tell that it ends too.
                options["extra_arguments"] = ["--log-level=ERROR"]
                return super().execute_managed_notebook(manager, kernel_name, **options)

    return Progress


def _transport(folder: str) -> dict[str, str]:
    """How a kernel and its client talk: by socket files in a folder, or by ports.

    Kernels that start at once may pick the same ports, so files are better. A socket file with a
    long path cannot be opened; batch systems give such folders for temporary files.
    """
    from zmq import IPC_PATH_MAX_LEN

    stem = str(Path(folder) / "kernel")
    # The kernel adds a number to the name: its five sockets are kernel-1 to kernel-5.
    if len(os.fsencode(f"{stem}-1")) <= IPC_PATH_MAX_LEN:
        return {"transport": "ipc", "ip": stem}
    return {"transport": "tcp", "ip": "127.0.0.1"}


def _announced(job: Job, manager: object, begun: float) -> Callable:
    """The manager's ``cell_start``, which now prints a line before each code cell."""
    cell_start = manager.cell_start
    titles = _headings(job.notebook)
    code = [cell for cell in manager.nb.cells if cell.cell_type == "code"]
    # By identity: two cells may be equal, and an injected cell has no id in the file.
    numbers = {id(cell): number for number, cell in enumerate(code, 1)}

    def announce(cell, cell_index=None, **options):
        if id(cell) in numbers:
            place = f"cell {numbers[id(cell)]:>2} of {len(code)}"
            seconds = time.perf_counter() - begun
            title = titles.get(cell.get("id"), "")
            print(f"{job.slug:<14} {place}  {seconds:5.0f} s  {title}", flush=True)
        return cell_start(cell, cell_index, **options)

    return announce


def _headings(notebook: Path) -> dict[str, str]:
    """Section title above each code cell, by cell id."""
    title = ""
    titles = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            lines = re.findall(r"^#+ (.*)", "".join(cell["source"]), flags=re.M)
            title = lines[-1] if lines else title
        else:
            titles[cell.get("id")] = title
    return titles


def partial_copy(job: Job) -> Path:
    """Where the cells stand that a notebook has run so far."""
    return job.output.with_suffix(".partial.ipynb")


def _remove_if_cut(file: Path) -> None:
    """Deletes a notebook that is no whole file."""
    try:
        json.loads(file.read_bytes())
    except ValueError:
        file.unlink()
    except OSError:
        return


def execute_and_report(job: Job) -> int:
    """Executes a notebook; a failing cell, a killed kernel or a full disk is told in one line.

    The traceback stands in the partial copy beside the output.

    Returns:
        exit status: 0, or 1 where it failed
    """
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        execute(job)
    except DeadKernelError:
        print(
            f"error: {job.notebook.name}: its kernel was killed (out of memory?); "
            f"its cells so far: {partial_copy(job)}",
            file=sys.stderr,
        )
        return FAILED
    except PapermillExecutionError as error:
        place = f"{job.notebook.name}, cell {error.exec_count}"
        print(f"error: {place}: {error.ename}: {error.evalue}", file=sys.stderr)
        return FAILED
    except OSError as error:
        partial = partial_copy(job)
        _remove_if_cut(partial)
        place = Path(error.filename) if error.filename else partial
        return report(paths.write_error(error, place))
    return 0


def end_with_parent(parent: int) -> None:
    """Ends this process, and with it its kernel, once its parent is gone.

    A killed parent can tell its child nothing; the child then has another parent.

    Args:
        parent: process id of the parent, as the parent gives it: it may be gone already
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def child_command(job: Job) -> list[str]:
    """The command that runs one job in a process of its own, which ends with this process."""
    fields = {
        "slug": job.slug,
        "notebook": str(job.notebook),
        "output": str(job.output),
        "parameters": job.parameters,
        "key": job.key,
        "parent": os.getpid(),
    }
    code = "import sys; from affectlib.runner.execution import child; sys.exit(child(sys.argv[1]))"
    return [sys.executable, "-c", code, json.dumps(fields)]


def child(text: str) -> int:
    """Runs the job that a parent process has written as JSON; returns the exit status."""
    fields = json.loads(text)
    end_with_parent(fields["parent"])
    # Also where a notebook that is open in Jupyter has started the runner.
    os.environ.pop(OPENED_IN_JUPYTER, None)
    job = Job(
        slug=fields["slug"],
        notebook=Path(fields["notebook"]),
        output=Path(fields["output"]),
        parameters=fields["parameters"],
        key=fields["key"],
    )
    return execute_and_report(job)


def run_in_child(job: Job, *, profile: str, parameters: Mapping[str, object]) -> bool:
    """Runs one notebook in a process of its own, which ends with this process.

    Args:
        job: the notebook
        profile: of the run
        parameters: those of a user's own, beside the profile's

    Returns:
        whether it succeeded
    """
    environment = dict(os.environ)
    environment["AFFECTLIB_FIGURES"] = str(paths.FIGURES)
    if profile != "demo" or parameters:
        # The demo trains anew each time, which its tests rely on. A run of hours goes on.
        environment["AFFECTLIB_KEEP"] = "1"
    if profile != "demo":
        # Only the demo's digits are compared between processors; a run of hours is as fast as it
        # can be.
        for variable in (*AVX2_VARIABLES, *AVX512_OFF):
            environment.pop(variable, None)
        environment["AFFECTLIB_INSTRUCTIONS"] = "native"
    # In a session of its own: Ctrl-C ends this process, which says so, and its end ends the child.
    run = subprocess.run(child_command(job), check=False, env=environment, start_new_session=True)
    return run.returncode == 0


def store(job: Job) -> None:
    """Puts an executed notebook into the checkout.

    Outputs, counts and ids of cells are kept; timings and widgets are dropped. A cell tagged
    ``timing`` keeps no output, since it prints something else in every run. The cell with the id
    ``how-long`` tells how long the notebook takes.
    """
    content = json.loads(job.output.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell.get("id") == HOW_LONG:
            cell["source"] = estimate.how_long(job)
        if cell["cell_type"] != "code":
            cell.pop("outputs", None)
        elif "timing" in notebooks.tags(cell):
            cell["outputs"] = []
        else:
            outputs = cell.get("outputs", [])
            cell["outputs"] = [each for each in outputs if WIDGET not in each.get("data", {})]
    # By pipes: nbstripout would leave half a file on a full disk.
    command = [sys.executable, "-m", "nbstripout", *STRIPPED]
    run = subprocess.run(
        command, check=True, input=_notebook_bytes(content), stdout=subprocess.PIPE
    )
    paths.write(job.notebook, run.stdout)


def _notebook_bytes(content: dict) -> bytes:
    """A notebook as a file, in the form in which Jupyter writes it."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    return text.encode("utf-8")
