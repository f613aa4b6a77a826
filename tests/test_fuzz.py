"""Whatever bytes a file holds, only errors of affectlib come out: damaged copies of valid files.

Hypothesis flips, cuts, inserts and repeats bytes of small valid files. In ``make test`` it tries
the same few hundred damages every time. ``AFFECTLIB_FUZZ=3600`` looks for new ones for that many
seconds, shared among the readers, and prints how many it has tried.
"""

import contextlib
import itertools
import os
import time
import warnings
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pympi
import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from affectlib import corpora, media, paths, simulate
from affectlib.errors import AffectError
from affectlib.features.organisers import organisers
from affectlib.features.pretrained import hdf5, weights
from affectlib.film.annotation import read_annotation
from affectlib.models.attend_affect import from_released
from affectlib.runner.notebooks import ParameterError, check_plain, read_yaml

SECONDS = float(os.environ.get("AFFECTLIB_FUZZ") or 0)
EXAMPLES = 25  # damages of each reader in `make test`
LONGEST = 20.0  # seconds that one damaged file may take
LARGEST = 500e6  # bytes of memory that one damaged file may take

# Text that has broken readers of tables, lists and mappings before.
TOKENS = [
    b"",
    b"\0",
    b"\n",
    b"\t",
    b",",
    b'"',
    b"nan",
    b"inf",
    b"-1",
    b"1e309",
    b"99999999999999999999",
    b"../../etc/passwd",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"[",
    b"{",
    b"&a *a",
    b"!!python/object/apply:os.system ['true']",
]

damages = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "end", "insert", "repeat", "token"]),
        st.floats(0, 1),
        st.integers(0, 255),
        st.sampled_from(TOKENS),
    ),
    min_size=1,
    max_size=5,
)


def damaged(content, steps):
    """A copy of some bytes after some damages.

    Args:
        content: bytes of a valid file
        steps: kind of damage, place as a share of the file, a number, and a token
    """
    content = bytearray(content)
    for kind, share, number, token in steps:
        place = int(share * max(len(content) - 1, 0))
        if kind == "flip" and content:
            content[place] ^= number or 1
        elif kind == "cut":
            del content[place : place + number]
        elif kind == "end":
            del content[place:]
        elif kind == "insert":
            content[place:place] = bytes([number] * 4)
        elif kind == "repeat":
            content[place:place] = content[place : place + 8 * number]
        elif kind == "token":
            content[place : place + len(token)] = token
    return bytes(content)


# ---------------------------------------------------------------- readers


def loader(make, load, **options):
    """A small corpus, and the function that loads it."""

    def prepare(folder):
        with warnings.catch_warnings():
            # Each of them is a part of the published corpus, and says so.
            warnings.simplefilter("ignore")
            make(folder, jobs=1, **options)
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        texts = [file for file in files if file.suffix not in (".mp4", ".png")]
        texts = [file for file in texts if file.name != "SIMULATED.json"]
        return texts, lambda file: load(folder)

    return prepare


def organisers_features(folder):
    corpus = simulate.make_mediaeval18(folder, n_films=3, seconds=2, jobs=1)
    seconds = corpora.segments(corpus, seconds=1.0)
    files = sorted(folder.rglob("*_cl.txt"))[:2] + sorted(folder.rglob("*.csv"))[:2]
    return files, lambda file: organisers(seconds, folder, ("audio", "cl"))


def films(folder):
    corpus = simulate.make_cognimuse(folder, n_films=1, seconds=2, jobs=1)

    def read(file):
        media.probe(file)
        for _ in media.stream(file, [0.0, 0.5, 1.0], side=64, sound=True):
            pass

    return [Path(corpus.clips["path"][0])], read


def frames(folder):
    corpus = simulate.make_afew_va(folder, n_clips=10, frames=(3, 4), jobs=1)
    files = sorted(folder.rglob("*.png"))[:3]

    def read(file):
        return corpora.frame_array(corpus, jobs=1)

    return files, read


def checkpoint(folder):
    name = "MDB_arousal_COGNIMUSE_attention_model_Feature_AAN_only_audio.pth"
    released = paths.GOLDEN / "attend_affect" / name
    if not released.exists():
        pytest.skip(f"no {name} in {paths.GOLDEN}")
    file = folder / name
    file.write_bytes(released.read_bytes())
    return [file], from_released


def tensors(folder):
    file = folder / "weights.pt"
    torch.save({"layer.weight": torch.zeros(3, 2), "layer.bias": torch.zeros(3)}, file)
    return [file], weights.read_tensors


def feature_table(folder):
    file = folder / "sample.h5"
    with h5py.File(file, "w") as content:
        content["features"] = np.ones((10, 4), np.float32)
    return [file], lambda file: hdf5.read_features(file, 4)


def parameters(folder):
    file = folder / "gla.full.yaml"
    file.write_text("films: 66\nlengths: [3, 4]\ngrid: {a: 1.5, b: text}\n")

    def read(file):
        given = read_yaml(file.read_bytes(), str(file)) or {}
        if not isinstance(given, dict):
            raise ParameterError("no parameters")
        for name, value in given.items():
            check_plain(value, str(name))

    return [file], read


def annotation(folder):
    table = folder / "own.csv"
    table.write_text("start;end;valence;arousal\n0;2,5;0,1;-0,3\n0:00:02.500;5;0,2;\n")
    elan = pympi.Eaf()
    elan.add_tier("valence")
    elan.add_annotation("valence", 0, 2500, "0.1")
    elan.add_annotation("valence", 2500, 5000, "-0.5")
    file = folder / "own.eaf"
    elan.to_file(str(file))
    return [table, file], read_annotation


READERS = {
    "annotation": annotation,
    "afew_va": loader(simulate.make_afew_va, corpora.load_afew_va, n_clips=10, frames=(3, 4)),
    "cognimuse": loader(
        simulate.make_cognimuse, partial(corpora.load_cognimuse, films=False), n_films=2, seconds=2
    ),
    "eimt16": loader(
        simulate.make_eimt16, partial(corpora.load_eimt16, films=False), n_clips=16, seconds=(1, 1)
    ),
    "mediaeval18": loader(
        simulate.make_mediaeval18, corpora.load_mediaeval18, n_films=3, seconds=2, features=()
    ),
    "mediaeval15": loader(
        simulate.make_mediaeval15,
        partial(corpora.load_mediaeval15, films=False),
        n_clips=12,
        seconds=(1, 1),
    ),
    "liris_continuous": loader(
        simulate.make_liris_continuous,
        partial(corpora.load_liris_continuous, films=False),
        n_films=3,
        seconds=2,
    ),
    "heiv": loader(simulate.make_heiv, corpora.load_heiv, n_clips=28, seconds=(1, 1)),
    "ekman6": loader(simulate.make_ekman6, corpora.load_ekman6, n_clips=24, seconds=(1, 1)),
    "videoemotion8": loader(
        simulate.make_videoemotion8, corpora.load_videoemotion8, n_clips=32, seconds=(1, 1)
    ),
    "organisers": organisers_features,
    "films": films,
    "frames": frames,
    "checkpoint": checkpoint,
    "tensors": tensors,
    "hdf5": feature_table,
    "parameters": parameters,
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Gives the valid files and the function that reads them, each made once."""
    made = {}

    def find(name):
        if name not in made:
            made[name] = READERS[name](tmp_path_factory.mktemp(name))
        return made[name]

    return find


def peak_memory():
    """The most memory that this process has had, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_damaged(files, read, which, steps):
    """Damages one file, reads, and puts the file back; only an AffectError may come out."""
    file = files[which % len(files)]
    valid = file.read_bytes()
    file.write_bytes(damaged(valid, steps))
    before = peak_memory()
    begun = time.perf_counter()
    try:
        with contextlib.suppress(AffectError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(file)
    finally:
        file.write_bytes(valid)
    assert time.perf_counter() - begun < LONGEST
    assert peak_memory() - before < LARGEST


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_give_named_errors_only(name, prepared, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    files, read = prepared(name)
    read(files[0])  # the valid file is read
    end = time.monotonic() + SECONDS / len(READERS)
    n_read = 0

    @settings(
        max_examples=EXAMPLES,
        derandomize=not SECONDS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(which=st.integers(0, 50), steps=damages)
    def check(which, steps):
        nonlocal n_read
        n_read += 1
        read_damaged(files, read, which, steps)

    check()
    # Other damages than those of the last hour; Hypothesis prints the one that fails.
    for number in itertools.count(time.time_ns()):
        if time.monotonic() > end:
            break
        seed(number)(check)()
    if SECONDS:
        print(f"{name}: {n_read} damaged files")
