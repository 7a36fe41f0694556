"""Speed, as ratios side by side in one run: `make bench`, or `python -m benchmarks [NAME ...]`.

Each benchmark prints what was measured, its ratio to a peer or a physical limit, and the ratio it must reach.
"""

from __future__ import annotations

import argparse
import logging

from benchmarks import passes, selection, strategies, visual, words

BENCHMARKS = {
    **selection.BENCHMARKS,
    **strategies.BENCHMARKS,
    **passes.BENCHMARKS,
    **words.BENCHMARKS,
    **visual.BENCHMARKS,
}


def main() -> None:
    """Run those named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}")
    names = parser.parse_args().names or list(BENCHMARKS)
    logging.getLogger("hfal").setLevel(logging.ERROR)
    print("| work | hfal | peer or limit | ratio | must reach |\n|---|---|---|---|---|", flush=True)
    for name in names:
        for row in BENCHMARKS[name]():
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
