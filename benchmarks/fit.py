"""How long do a fit, its bootstrap and a plain answer take, against the bars set for them?

    python benchmarks/fit.py [RUNS.csv] [--columns params="Model Size",flops="Training FLOP"]

Prints one JSON object; exit status 1 when a bar is missed. Without a file, 240 synthetic runs of a known law.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from finetrial.api.run_table import read_runs
from finetrial.scaling.fitting import fit_law
from finetrial.scaling.influence import influence_of
from finetrial.scaling.profiling import profile_intervals
from finetrial.scaling.published_laws import BESIROGLU2024
from finetrial.scaling.resampling import bootstrap
from finetrial.scaling.training_runs import Runs

# seconds on two cores
BARS = {"grid_of_starts": 5.0, "bootstrap_1000": 60.0, "scale_loss_process": 0.3}


def synthetic() -> Runs:
    generator = np.random.default_rng(0)
    params_R, tokens_R = 10 ** generator.uniform(7.5, 10, 240), 10 ** generator.uniform(9, 11.5, 240)
    law = BESIROGLU2024
    loss_R = law.E + law.A / params_R**law.alpha + law.B / tokens_R**law.beta
    return Runs(params_R, tokens_R, loss_R * np.exp(0.005 * generator.standard_normal(240)), np.arange(2, 242))


def timed(action) -> tuple[float, object]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def process_seconds() -> float:
    """The least of seven whole processes, from start to exit."""
    code = "from finetrial.cli.main import main; main()"
    command = [sys.executable, "-c", code, "scale", "loss", "--params", "67B", "--tokens", "4.1T", "--json"]
    return min(timed(lambda: subprocess.run(command, check=True, capture_output=True))[0] for _ in range(7))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--columns", default='params="Model Size",flops="Training FLOP"')
    parser.add_argument("--drop-highest", type=int, default=5)
    arguments = parser.parse_args()
    runs = synthetic()
    if arguments.file is not None:
        runs = read_runs(arguments.file, columns=arguments.columns).without_highest(arguments.drop_highest)
    seconds: dict[str, float] = {}
    seconds["grid_of_starts"], fit = timed(lambda: fit_law(runs))
    seconds["bootstrap_1000"], _ = timed(lambda: bootstrap(fit, count=1000, seed=0))
    seconds["leave_one_out"], _ = timed(lambda: influence_of(fit, flops=1e22))
    seconds["profiles"], _ = timed(lambda: profile_intervals(fit))
    seconds["scale_loss_process"] = process_seconds()
    missed = [name for name, bar in BARS.items() if seconds[name] > bar]
    result = {
        "runs": len(runs),
        "starts": fit.starts,
        "objective": fit.objective,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "bars": BARS,
        "missed": missed,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
    }
    print(json.dumps(result, indent=2))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
