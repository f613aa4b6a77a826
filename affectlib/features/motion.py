"""Motion: dense optical flow and cuts.

References:
    Hanjalic and Xu (2005), Affective video content representation and modeling, IEEE Trans. Multimedia 7(1):
    motion activity and density of cuts as signs of arousal.
"""

import numpy as np

from affectlib.features.store import Extractor

WIDTH = 160  # of the frames that flow is computed on, in pixels
DIRECTIONS = 8
CUT = 0.35  # distance of colour histograms from which two looks at a film belong to different shots
FLOW_STATISTICS = (
    "mean",
    "sd",
    "p50",
    "p95",
    "still",
    "global_x",
    "global_y",
    "residual",
    "zoom",
    "turn",
)
MOTION_NAMES = tuple(
    [f"flow_{what}_{how}" for how in ("mean", "sd") for what in FLOW_STATISTICS + ("difference",)]
    + [f"direction_{k * 360 // DIRECTIONS}" for k in range(DIRECTIONS)]
    + ["change_mean", "change_sd", "change_max", "cuts_per_second"]
)


def __getattr__(name):
    """The networks, imported when they are asked for: torch takes seconds."""
    if name in ("I3D", "FlowNetS", "OpenPoseBody"):
        from affectlib.features.pretrained import networks

        return getattr(networks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def motion(*, rate=2.0) -> Extractor:
    """Optical flow statistics in frame widths per second, directions, change between looks and cut rate.

    Args:
        rate: frame pairs per second of film
    """
    return Extractor("motion", 1, MOTION_NAMES, motion_vector, rate=rate, pairs=True)


def motion_vector(pictures):
    """Describes the motion in frame pairs.

    Args:
        pictures: :class:`affectlib.media.Picture` with the frame following each

    Shape:
        result ``(34,)``
    """
    import cv2

    cv2.setNumThreads(1)
    flow_of = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    rows, directions, colours, times = [], np.zeros(DIRECTIONS), [], []
    for picture in pictures:
        height = max(16, round(WIDTH * picture.image.shape[0] / picture.image.shape[1]))
        small = [
            cv2.resize(x, (WIDTH, height), interpolation=cv2.INTER_AREA)
            for x in (picture.image, picture.following)
        ]
        first, second = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in small)
        flow = flow_of.calc(first, second, None) / (WIDTH * picture.gap)  # (height, width, 2)
        rows.append(
            _flow_statistics(flow) + [float(np.abs(second.astype(np.float32) - first).mean()) / 255]
        )
        speed, angle = np.hypot(flow[..., 0], flow[..., 1]), np.arctan2(flow[..., 1], flow[..., 0])
        bins = (
            np.floor((angle / (2 * np.pi) + 0.5 / DIRECTIONS) * DIRECTIONS).astype(int) % DIRECTIONS
        )
        directions += np.bincount(bins.ravel(), weights=speed.ravel(), minlength=DIRECTIONS)
        histogram = cv2.calcHist(small[:1], [0, 1, 2], None, [6, 6, 6], [0, 256] * 3).ravel()
        colours.append(histogram / histogram.sum())
        times.append(picture.time)
    rows = np.array(rows)  # (pairs, 11)
    changes = np.array(
        [np.abs(a - b).sum() / 2 for a, b in zip(colours[1:], colours, strict=False)] or [0.0]
    )
    cuts = (changes > CUT).sum() / max(times[-1] - times[0], 1.0)
    return np.concatenate(
        [
            rows.mean(0),
            rows.std(0),
            directions / max(directions.sum(), 1e-9),
            [changes.mean(), changes.std(), changes.max(), cuts],
        ]
    )


def _flow_statistics(flow):
    """Ten numbers of one flow field ``(height, width, 2)``: its speed, and how the picture moves as a whole."""
    speed = np.hypot(flow[..., 0], flow[..., 1])  # (height, width)
    whole = np.median(flow, axis=(0, 1))  # (2,)
    rest = flow - whole
    y, x = (np.linspace(-1, 1, n) for n in flow.shape[:2])
    zoom = (rest[..., 0] * x + rest[..., 1] * y[:, None]).mean()
    turn = (rest[..., 1] * x - rest[..., 0] * y[:, None]).mean()
    p50, p95 = np.percentile(speed, [50, 95])
    return [
        speed.mean(),
        speed.std(),
        p50,
        p95,
        (speed < 0.02).mean(),
        *np.abs(whole),
        np.hypot(rest[..., 0], rest[..., 1]).mean(),
        zoom,
        turn,
    ]
