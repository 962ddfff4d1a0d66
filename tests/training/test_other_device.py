"""What a GPU needs of a training step, shown without one; see other_device.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_UNKNOWN = 77  # see there
_SCRIPT = Path(__file__).parents[1] / "support" / "other_device.py"


def test_on_another_device_updates_mix_no_devices_and_wait_for_no_value_and_a_state_is_copied_where_it_is() -> None:
    environment = {**os.environ, "PYTHONPATH": str(_SCRIPT.parents[2])}
    command = [sys.executable, str(_SCRIPT)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if ended.returncode == _UNKNOWN:
        pytest.skip("this PyTorch knows no device that is made in Python")
    assert ended.returncode == 0, ended.stderr
