"""Memory does not depend on the number of samples: 50 000 stay within 1.5 GB."""

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("memory_child.py")


@pytest.mark.parametrize(("what", "count"), [("images", 50_000), ("features", 50_000)])
def test_fifty_thousand_samples_fit(what, count, tmp_path):
    command = [sys.executable, str(CHILD), what, str(count), str(tmp_path / "zoo.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak = float(done.stdout)
    print(f"{what}: peak {peak:.0f} MB")
    assert peak < 1536
