"""`python -m tests.chaos --minutes 10 --seed S --mode sync|async`: a soak test under random faults.

`--measure` instead injects one fault of each kind, and reports how long detection and recovery take.
"""

from __future__ import annotations

import argparse
import random

from tests.chaos.measuring import measure
from tests.chaos.soak import soak
from tests.integration.local_runs import SESSION
from workers.supervisor.process import start_zygote


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--mode", default="sync")
    parser.add_argument("--measure", action="store_true")
    given = parser.parse_args()
    connection = start_zygote(SESSION)
    try:
        if given.measure:
            for line in measure():
                print(line, flush=True)
        else:
            print(soak(given.mode, given.seed, 60 * given.minutes, say=lambda line: print(line, flush=True)))
    finally:
        connection.close()


if __name__ == "__main__":
    main()
