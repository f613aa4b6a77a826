"""Faults of the store: damaged files, films that were replaced, files that may not be read."""

import errno
import os
import shutil
import sys
import tempfile
import warnings
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from affectlib.errors import FileFormatError
from affectlib.features import Extractor, Store, extract, film
from affectlib.features.store import Place, StoreError, write


def speech(path: Path, seed: int = 0) -> Path:
    """A wav of one second of noise."""
    samples = np.random.default_rng(seed).integers(-9000, 9000, 16000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    return path


def loudness(seen: list) -> Extractor:
    """An extractor that writes down each clip that it describes."""

    def vector(signal):
        seen.append(len(signal))
        return [np.abs(signal).mean(), signal.std()]

    return Extractor("loudness", 1, ("mean", "deviation"), vector, sound=True)


class Run:
    """Extraction from one film with one store.

    Attributes:
        computed: number of clips that were described, and not taken from the store
    """

    def __init__(self, folder: Path):
        self.store = Store(folder / "store")
        self.path = speech(folder / "film.wav")
        self.computed = 0

    def __call__(self) -> np.ndarray:
        seen = []
        corpus = film(self.path, seconds=0.5)
        table = extract(corpus, [loudness(seen)], store=self.store, jobs=1, progress=False)
        self.computed = len(seen)
        return table["loudness"]

    @property
    def stored(self) -> Path:
        """The only file with features."""
        (path,) = self.store.root.glob("loudness/*")
        return path


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path)


def test_every_flipped_bit_is_found_and_the_features_are_computed_again(run):
    right = run()
    assert run.computed == 2
    whole = run.stored.read_bytes()
    values = whole.index(right.tobytes())
    # In the header, in the first value, in the last value, in the digest.
    for place in (60, values, values + right.nbytes - 1, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        run.stored.write_bytes(damaged)
        with pytest.warns(UserWarning, match=rf"{run.stored.name}: .*damaged.*computed again"):
            again = run()
        assert run.computed == 2
        np.testing.assert_array_equal(again, right)
        assert run.stored.read_bytes() == whole
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(run(), right)
    assert run.computed == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 no archive",
        b"\x93NUMPY nonsense",
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 4), }".ljust(117)
        + b"\n",
    ],
    ids=["empty", "begins like a zip", "no array", "says that it has 16 TB"],
)
def test_any_damaged_content_is_computed_again(run, content):
    right = run()
    run.stored.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        np.testing.assert_array_equal(run(), right)


def test_features_of_earlier_versions_have_no_digest_and_are_served(run):
    right = run()
    np.save(run.stored, right)
    np.testing.assert_array_equal(run(), right)
    assert run.computed == 0


def test_a_film_replaced_under_the_same_size_and_date_is_read_again(run, tmp_path):
    other = speech(tmp_path / "other.wav", seed=1)
    assert other.stat().st_size == run.path.stat().st_size
    dates = (10**9, 10**9)
    os.utime(run.path, dates)
    first = run()
    for replace in (shutil.copyfile, os.replace):
        replacement = shutil.copyfile(other, tmp_path / "copy.wav")
        os.utime(replacement, dates)
        speech(run.path)
        os.utime(run.path, dates)
        np.testing.assert_array_equal(run(), first)
        replace(replacement, run.path)
        os.utime(run.path, dates)
        assert not np.array_equal(run(), first)


@pytest.mark.parametrize(
    "content",
    [b"\xff" * 64, b"", b"0" * 64, None],
    ids=["no text", "empty", "another digest", "folder"],
)
def test_a_damaged_digest_of_a_film_is_computed_again(run, content):
    right = run()
    (kept,) = (run.store.root / "films").iterdir()
    digest = run.store.content(run.path)
    kept.unlink()
    if content is None:
        kept.mkdir()
    else:
        kept.write_bytes(content)
    assert run.store.content(run.path) == digest
    np.testing.assert_array_equal(run(), right)
    assert run.computed == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names")
def test_a_film_whose_name_is_not_utf_8_is_refused_by_name(run):
    digest = run.store.content(run.path)
    run.path = run.path.rename(run.path.with_name(os.fsdecode(b"caf\xe9.wav")))
    assert run.store.content(run.path) == digest
    with pytest.raises(FileFormatError, match=r"caf\\udce9\.wav: expected a name in UTF-8"):
        run()


@pytest.mark.parametrize("keeps_its_date", [True, False])
def test_a_film_replaced_while_it_is_read_is_not_stored(run, tmp_path, keeps_its_date):
    """Another film of the same size takes its place, by a rename, before the first clip is read."""
    other = speech(tmp_path / "other.wav", seed=1)
    corpus = film(run.path, seconds=0.5)
    if keeps_its_date:
        for path in (run.path, other):
            os.utime(path, (10**9, 10**9))

    def vector(signal):
        if other.exists():
            os.replace(other, run.path)
        return [np.abs(signal).mean(), signal.std()]

    extractor = Extractor("loudness", 1, ("mean", "deviation"), vector, sound=True)
    with pytest.raises(FileFormatError, match=r"film\.wav: changed while it was read"):
        extract(corpus, [extractor], store=run.store, jobs=1, progress=False)
    assert not list(run.store.root.glob("loudness/*.npy"))


def test_a_film_that_is_only_touched_while_it_is_read_is_stored(run):
    def vector(signal):
        run.path.chmod(0o600)
        os.utime(run.path, (10**9, 10**9))
        return [np.abs(signal).mean(), signal.std()]

    extractor = Extractor("loudness", 1, ("mean", "deviation"), vector, sound=True)
    extract(film(run.path), [extractor], store=run.store, jobs=1, progress=False)
    assert run.stored.exists()


@pytest.mark.parametrize("date", [4 * 10**9, 0, -(10**9)], ids=["2096", "1970", "1938"])
def test_a_film_of_any_date_is_described_once(run, date):
    os.utime(run.path, (date, date))
    right = run()
    np.testing.assert_array_equal(run(), right)
    assert run.computed == 0


@pytest.mark.parametrize(
    "name",
    [
        "ärger \u4f60\u597d.wav",
        "with space.wav",
        "new\nline.wav",
        "esc\x1b[31m.wav",
        "quote'\"$(x)`y`.wav",
        "-dash.wav",
        "a:0001.wav",
        "x" * 245 + ".wav",
        "%s{0}.wav",
    ],
)
def test_a_film_of_any_name_is_described_and_served(run, name):
    right = run()
    run.path = run.path.rename(run.path.with_name(name))
    np.testing.assert_array_equal(run(), right)
    assert run.computed == 0


def test_what_killed_writes_have_left_in_the_store_is_removed(run):
    right = run()
    stored = run.stored
    folder = stored.parent
    old = folder / ".a.npy.0123.part"
    at_work = folder / ".b.npy.4567.part"
    for file in (old, at_work):
        file.write_bytes(b"half")
    os.utime(old, (0, 0))
    stored.unlink()
    np.testing.assert_array_equal(run(), right)
    assert not old.exists()
    assert at_work.exists()


@contextmanager
def another_user() -> Iterator[None]:
    """Root may read everything, so it becomes nobody meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_no_permission_is_not_damage(public):
    path = public / "features.npy"
    place = Place(path, "film.mp4", (0, 0), (2, 3))
    path.write_bytes(b"")
    path.chmod(0)
    with another_user(), pytest.raises(StoreError, match=r"features\.npy: no permission to read"):
        place.load()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_a_store_that_may_not_be_written_is_named(public):
    public.chmod(0o555)
    film = speech(public.parent / f"{public.name}.wav")
    try:
        with another_user():
            store = Store(public)
            place = store.place(film, loudness([]), [0.0], [1.0])
            with pytest.raises(
                StoreError, match=r"\.npy: this file cannot be written \(Permission"
            ):
                place.save(np.zeros((1, 2)))
    finally:
        film.unlink()
        public.chmod(0o755)


def test_a_full_disk_is_the_reason_that_is_told(tmp_path, monkeypatch):
    def no_room(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", no_room)
    with pytest.raises(StoreError, match=r"a\.npy: this file cannot be written \(No space"):
        write(tmp_path / "new" / "a.npy", b"values")


def test_a_folder_in_the_place_of_features_is_named(run):
    run()
    stored = run.stored
    stored.unlink()
    stored.mkdir()
    with pytest.raises(StoreError, match=rf"{stored.name}: .*cannot be read \(Is a directory"):
        run()
