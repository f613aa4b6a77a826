"""Films that everybody may watch, copy and analyse, to try a model on a real one.

They are downloaded from the Internet Archive, on the machine of the person who asks for one. The
archive is asked for size and MD5 of the file, and what came is compared with them.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

from affectlib import media, paths
from affectlib.errors import AffectError, FileFormatError
from affectlib.features.pretrained.download import BLOCK, TIMEOUT, Unfinished, receive

ARCHIVE = "https://archive.org"
# In bytes: a list of the files of one film has some kilobytes.
LARGEST_ANSWER = 16 << 20


class DownloadError(AffectError, OSError):
    """A film cannot be downloaded. The message names the film, the address and the reason."""


@dataclass(frozen=True)
class OpenFilm:
    """A film under a Creative Commons licence.

    Args:
        name: short name, as on the command line
        title: with the year
        licence: its name and version
        attribution: whom to name where the film or pictures of it are shown
        page: of the people who made it
        item: name of the film in the Internet Archive
        file: name of one copy of the film there, of ordinary size
    """

    name: str
    title: str
    licence: str
    attribution: str
    page: str
    item: str
    file: str


FILMS = (
    OpenFilm(
        name="sintel",
        title="Sintel (2010)",
        licence="Creative Commons Attribution 3.0 (CC BY 3.0)",
        attribution="(c) copyright Blender Foundation, www.sintel.org",
        page="https://durian.blender.org",
        item="Sintel",
        file="sintel-2048-stereo_512kb.mp4",
    ),
    OpenFilm(
        name="big_buck_bunny",
        title="Big Buck Bunny (2008)",
        licence="Creative Commons Attribution 3.0 (CC BY 3.0)",
        attribution="(c) copyright 2008, Blender Foundation, www.bigbuckbunny.org",
        page="https://peach.blender.org",
        item="BigBuckBunny_124",
        file="Content/big_buck_bunny_720p_surround.mp4",
    ),
    OpenFilm(
        name="elephants_dream",
        title="Elephants Dream (2006)",
        licence="Creative Commons Attribution 2.5 (CC BY 2.5)",
        attribution="(c) copyright 2006, Blender Foundation, Netherlands Media Art Institute",
        page="https://orange.blender.org",
        item="ElephantsDream",
        file="ed_1024_512kb.mp4",
    ),
    OpenFilm(
        name="tears_of_steel",
        title="Tears of Steel (2012)",
        licence="Creative Commons Attribution 3.0 (CC BY 3.0)",
        attribution="(CC) Blender Foundation, mango.blender.org",
        page="https://mango.blender.org",
        item="Tears-of-Steel",
        file="tears_of_steel_720p.mp4",
    ),
)


@dataclass(frozen=True)
class _Listed:
    """What the archive says of a file.

    Args:
        size: in bytes
        md5: its checksum, empty where the archive states none
    """

    size: int
    md5: str


def film_named(name: str) -> OpenFilm | None:
    """The film of a short name such as ``"sintel"``; None if there is none of it."""
    for film in FILMS:
        if film.name == name.lower():
            return film
    return None


def folder() -> Path:
    """Where downloaded films are kept; may be deleted."""
    return paths.CACHE / "films"


def fetch(
    film: OpenFilm,
    *,
    archive: str = ARCHIVE,
    progress: bool | None = True,
    tell: Callable[[str], None] = print,
) -> Path:
    """Downloads a film, unless it is there, and checks it.

    Licence, attribution and size are told before the first byte of the film is asked for. A
    download that was cut off goes on where it stopped. The film takes its name when it is complete.

    Args:
        film: one of ``FILMS``
        archive: address of the Internet Archive
        progress: show a bar
        tell: is called with each line of text

    Returns:
        the film, in :func:`folder`

    Raises:
        DownloadError: if the archive does not answer, or has no such file
        FileFormatError: if another file came than the archive lists, or less than announced
        WriteError: if the disk is full, or the folder may not be written
    """
    path = folder() / f"{film.name}{Path(film.file).suffix}"
    tell(f"{film.title}: {film.licence}. Name: {film.attribution}. {film.page}")
    if path.is_file():
        tell(f"{path}: there already")
        return path
    paths.make_folder(path.parent)
    listed = _look_up(film, archive)
    tell(f"downloading {listed.size / 1e6:.0f} MB from {archive}/details/{film.item}")
    unfinished = Unfinished(path)
    _receive(film, archive, unfinished, progress)
    try:
        checked = _check(unfinished.content, listed)
    except FileFormatError:
        # A wrong file is nothing to go on from.
        unfinished.remove()
        raise
    os.replace(unfinished.content, path)
    unfinished.remove()
    tell(f"{path}: {checked}")
    return path


def _look_up(film: OpenFilm, archive: str) -> _Listed:
    """Asks the archive for the size and the checksum of a film."""
    address = f"{archive}/metadata/{film.item}"
    try:
        with urlopen(address, timeout=TIMEOUT) as reply:
            answer = json.loads(reply.read(LARGEST_ANSWER))
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DownloadError(f"{film.name}: no answer from {address} ({error})") from error
    files = answer.get("files", []) if isinstance(answer, Mapping) else []
    for entry in files:
        if entry.get("name") == film.file:
            return _Listed(int(entry.get("size", 0)), entry.get("md5", ""))
    raise DownloadError(f"{film.name}: {address} lists no file {film.file}")


def _receive(film: OpenFilm, archive: str, unfinished: Unfinished, progress: bool | None) -> None:
    """Downloads what is not there yet."""
    address = f"{archive}/download/{film.item}/{quote(film.file)}"
    try:
        receive(
            address,
            unfinished,
            name=film.name,
            have=unfinished.size,
            has_checksum=True,
            progress=progress,
        )
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, AffectError):
            raise
        text = f"{film.name}: {address} stopped ({error}); the same command goes on"
        raise DownloadError(text) from error


def _check(path: Path, listed: _Listed) -> str:
    """Compares a downloaded file with what the archive lists.

    Returns:
        what it was checked by
    """
    size = path.stat().st_size
    if listed.size and size != listed.size:
        raise FileFormatError(path, f"expected {listed.size} bytes, {size} came")
    if not listed.md5:
        media.film_seconds(path)
        return "its size is as listed, and it can be decoded; the archive lists no checksum"
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    found = digest.hexdigest()
    if found != listed.md5:
        raise FileFormatError(path, f"expected the MD5 {listed.md5}, found {found}")
    return "size and MD5 are as the archive lists them"
