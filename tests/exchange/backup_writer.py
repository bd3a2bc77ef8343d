"""Adds models to a collection until it is stopped, and says the name of each as soon as it is committed."""

from __future__ import annotations

import sys

import numpy as np

from engine import Engine
from engine.config import Settings

if __name__ == "__main__":
    url, folder = sys.argv[1:]
    with Engine.open(url, settings=Settings(index_folder=folder)) as eng:
        number = 0
        while True:
            rows = np.random.default_rng(number).normal(size=(20, 8)).astype(np.float32)
            eng.ingest_outcome(rows, name=f"w{number:05}", encoder="external:test", tags=["written"])
            print(f"w{number:05}", flush=True)
            number += 1
