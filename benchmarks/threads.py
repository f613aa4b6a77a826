"""One thread against two, when both cores are busy: t-SNE and a small training, two of each at once.

Two kernels run at the same time, as `make reproduce JOBS=2` does. GNU OpenMP waits by spinning, so two threads
in each fight for the cores.

    python benchmarks/threads.py
"""

import os
import subprocess
import sys
import time

from affectlib import THREAD_VARIABLES

TASKS = {
    "t-SNE of 600 points": """
        from sklearn.manifold import TSNE
        import numpy as np
        TSNE(max_iter=500, random_state=0).fit_transform(np.random.default_rng(0).normal(size=(600, 128)))""",
    "200 steps of FeatureAAN": """
        import torch
        from affectlib.models.attend_affect import FeatureAAN, mse_pcc_loss
        model = FeatureAAN(sizes=(76, 34, 323, 162, 1582))
        optimiser = torch.optim.Adam(model.parameters())
        for _ in range(200):
            loss = mse_pcc_loss(torch.randn(30), model([torch.randn(30, n) for n in (76, 34, 323, 162, 1582)]))
            optimiser.zero_grad(); loss.backward(); optimiser.step()""",
}


def both(code, threads):
    """Seconds until two processes that run the same code at once have ended."""
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
    lines = "\n".join(line[8:] for line in code.splitlines())
    begun = time.perf_counter()
    for process in [
        subprocess.Popen([sys.executable, "-c", lines], env=environment) for _ in range(2)
    ]:
        process.wait()
    return time.perf_counter() - begun


if __name__ == "__main__":
    print(f"{'two at once':<26} {'1 thread':>9} {'2 threads':>10} {'ratio':>6}")
    for name, code in TASKS.items():
        one, two = both(code, 1), both(code, 2)
        print(f"{name:<26} {one:7.1f} s {two:8.1f} s {two / one:6.1f}")
