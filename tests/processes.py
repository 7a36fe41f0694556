"""`hfal` in other processes of this machine, which start quickly or once for several runs."""

import contextlib
import io
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from hfal.cli import main
from hfal.config import load_config
from hfal.running import run_config

ON_CPU = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}  # one thread: sums in one order


def run_on(processes, config, *changes):
    """Run a config on so many processes, to its end; quicker than torchrun, which `run_all_on` takes."""
    with tempfile.TemporaryDirectory() as folder:
        shared = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()} | ON_CPU
        started = []
        for rank in range(processes):
            said, mine = Path(folder) / f"said-{rank}", {"RANK": rank, "LOCAL_RANK": rank}
            started.append((forked("run", config, *options_of(changes), said=said, **shared | mine), said))
        for process, _ in started:
            process.join(200)
        codes = [process.exitcode for process, _ in started]
        assert not any(codes), "\n".join([str(codes), *(said.read_text() for _, said in started)])


def run_all_on(processes, config, runs):
    """By torchrun, several lists of changes in processes that start once: what each run printed, in all of them."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "runs.json"
        asked.write_text(json.dumps([["run", str(config), *options_of(changes)] for changes in runs]))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--standalone"),
                *("-m", "tests.processes", str(asked)),
            ],
            capture_output=True,
            text=True,
            env={**os.environ, **ON_CPU},
            cwd=Path(__file__).parent.parent,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("said-*.json"))]
        return ["".join(parts) for parts in zip(*said, strict=True)]


def run_here(config, *changes):
    """The same in this process: what other numbers of processes are held against."""
    return run_config(load_config(config, changes), lambda *_: None)


def forked(*arguments, said=os.devnull, **environment):
    """`hfal ARGUMENTS` in a process of its own, which need not import anything first; it prints into the file `said`.

    It can be killed as any other.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hfal.cli", "hfal.cli.runs", "hfal.running", "hfal.labeling.page"])
    process = context.Process(target=_forked, args=(list(map(str, arguments)), str(said), environment))
    process.start()
    return process


def started(*arguments, said):
    """`hfal ARGUMENTS` as a shell starts it, which hears ctrl-C also where tests run in the background."""
    with open(said, "w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "hfal", *map(str, arguments)],
            stdout=file,
            stderr=file,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def _forked(arguments, said, environment):
    os.environ.update({name: str(value) for name, value in environment.items()})
    if "OMP_NUM_THREADS" in environment:  # torch was there before
        import torch

        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["hfal", *arguments]
    main()


def free_port():
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def options_of(changes):
    """As the command line has them."""
    return [part for change in changes for part in ("--set", change)]


def _run_one_by_one(asked):
    """In each process: run them, and leave what it printed."""
    said = []
    for arguments in json.loads(asked.read_text()):
        sys.argv = ["hfal", *arguments]
        with contextlib.redirect_stdout(io.StringIO()) as out:
            try:
                main()
            except SystemExit as stop:
                if stop.code:
                    raise
        said.append(out.getvalue())
    asked.with_name(f"said-{os.environ['RANK']}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    _run_one_by_one(Path(sys.argv[1]))
