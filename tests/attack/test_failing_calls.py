"""The n-th write, fsync and rename fails, for every n: whatever was there before is whole, and a new try works.

python -m pytest tests/attack/test_failing_calls.py                            # of a run's calls every eighth
CHARLSTM_ATTACKS=8 python -m pytest tests/attack/test_failing_calls.py -s      # all of them
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
STRIDE = max(1, 8 // int(os.environ.get("CHARLSTM_ATTACKS", "1")))

pytestmark = [
    pytest.mark.attack,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs LD_PRELOAD and a C compiler"),
]


def test_after_every_failing_call_all_is_whole_and_a_new_try_works(
    tmp_path: Path, repository: Path, pangrams: str
) -> None:
    library = tmp_path / "failing_calls.so"
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(HERE / "failing_calls.c"), "-ldl"]
    subprocess.run(command, check=True)
    (tmp_path / "text").write_text(pangrams, encoding="utf-8")
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "PYTHONPATH": str(repository),
        "CHARLSTM_KERNEL": "off",  # which need not be compiled for this
    }
    arguments = [library, tmp_path, tmp_path / "text", STRIDE]
    command = [sys.executable, str(HERE / "failing.py"), *map(str, arguments)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.stdout.write(f"\n{done.stdout}")
    counts = {name: numbers.split() for name, numbers in (line.split(":") for line in done.stdout.splitlines())}
    assert set(counts) == {"save_model", "save_training_state", "start", "rename, delete, restore", "run"}
    assert all(int(number) > 0 for each in counts.values() for number in each), "nothing was made to fail"
