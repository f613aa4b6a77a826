"""One pass forward over a media file: frames at requested times, frame pairs, 16 kHz mono sound.

A file is read once and never sought in: where keyframes lie far apart, a seek per frame decodes the
same frames again and again (``benchmarks/reading.py``). Packets that no wanted frame needs are read
and not decoded; a film whose frames do not come as its packets say is read anew, as a whole.
Pictures and sound are handed on while the file is being read, so a film of three hours is never in
memory as a whole. Times count from the start of the file, in seconds, so a variable frame rate
needs no special case.

Unusual files that are read correctly:

- films that are turned by right angles, or mirrored
- sound that changes its channels or its sampling rate
- files that do not begin at 0 s
- cover pictures, which are left out
- files that do not say how long they are: their packets are read once to measure it

Not corrected: pixels that are not square, as on a DVD. Pictures come as the file stores them, for
example 720 x 576 of a film that a player shows at 1024 x 576, and :func:`probe` tells this size.

Files that are refused by name:

- a file cut short, and one whose time stamps begin anew (several files joined into one)
- pictures that change their size, or are turned by less than a right angle
- sound with values that are not numbers
- lists of other files
- a file that says it lasts longer than a day
- a picture that is damaged, as far as its decoder notices: H.264 and MPEG-4 notice nearly all
  damage, VP8 and MP3 nearly none. Damage in packets that no wanted frame needs is not seen
"""

from affectlib.media._container import FILM_ENDINGS, Media, film_seconds, is_film, probe
from affectlib.media._reading import (
    SAMPLING_RATE,
    Clip,
    Look,
    Picture,
    Sound,
    clips,
    grid,
    read,
    stream,
)

__all__ = [
    "FILM_ENDINGS",
    "SAMPLING_RATE",
    "Clip",
    "Look",
    "Media",
    "Picture",
    "Sound",
    "clips",
    "film_seconds",
    "grid",
    "is_film",
    "probe",
    "read",
    "stream",
]
