"""`hfal run` on several processes of this machine."""

import os
import subprocess
import sys

from hfal.config import load_config
from hfal.running import run_config


def run_on(processes, config, *changes):
    """Run a config on so many processes, to its end."""
    options = [part for change in changes for part in ("--set", change)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--standalone"),
            *("-m", "hfal", "run", str(config), *options),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def run_here(config, *changes):
    """The same in this process: what other numbers of processes are held against."""
    return run_config(load_config(config, changes), lambda *_: None)
