"""One thread against two, when both cores are busy: two t-SNE at once, and two small trainings.

Two processes run at the same time, as two notebooks do in `make reproduce JOBS=2`. GNU OpenMP waits
by spinning, so two threads in each process fight for the cores.

    python benchmarks/threads.py
"""

import os
import subprocess
import sys
import textwrap
import time

from affectlib import THREAD_VARIABLES

TASKS = {
    "t-SNE of 600 points": """
        import numpy as np
        from sklearn.manifold import TSNE
        points = np.random.default_rng(0).normal(size=(600, 128))
        TSNE(max_iter=500, random_state=0).fit_transform(points)
        """,
    "200 steps of FeatureAAN": """
        import torch
        from affectlib.models.attend_affect import FeatureAAN, mse_pcc_loss
        sizes = (76, 34, 323, 162, 1582)
        model = FeatureAAN(sizes=sizes)
        optimiser = torch.optim.Adam(model.parameters())
        for _ in range(200):
            prediction = model([torch.randn(30, size) for size in sizes])
            loss = mse_pcc_loss(torch.randn(30), prediction)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        """,
}


def seconds_for_two(code: str, threads: int) -> float:
    """Seconds until two processes that run the same code at once have ended."""
    # Set before the child loads a library; affectlib leaves variables alone that are set already.
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
    command = [sys.executable, "-c", textwrap.dedent(code)]
    begun = time.perf_counter()
    processes = [subprocess.Popen(command, env=environment) for _ in range(2)]
    for process in processes:
        process.wait()
    return time.perf_counter() - begun


if __name__ == "__main__":
    print(f"{'two at once':<26} {'1 thread':>9} {'2 threads':>10} {'ratio':>6}")
    for name, code in TASKS.items():
        one = seconds_for_two(code, threads=1)
        two = seconds_for_two(code, threads=2)
        print(f"{name:<26} {one:7.1f} s {two:8.1f} s {two / one:6.1f}")
