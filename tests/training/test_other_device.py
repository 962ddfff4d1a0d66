"""What a GPU needs of a training step, shown without one; see other_device.py."""

from pathlib import Path

import pytest
from forked import Fork

_UNKNOWN = 77  # see there
_SCRIPT = Path(__file__).parents[1] / "support" / "other_device.py"


def test_on_another_device_updates_mix_no_devices_and_wait_for_no_value_and_a_state_is_copied_where_it_is(
    fork: Fork,
) -> None:
    process = fork(f"import runpy; runpy.run_path({str(_SCRIPT)!r}, run_name='__main__')")
    _, complaint = process.communicate(timeout=100)
    if process.returncode == _UNKNOWN:
        pytest.skip("this PyTorch knows no device that is made in Python")
    assert process.returncode == 0, complaint
