"""Every environment variable: read in one place, documented, refused in one sentence; and the limits they set."""

import ast
import re
from pathlib import Path

import pytest

from charlstm.environment import LOCAL_LIMITS, SPACE_LIMITS, VARIABLES, Limits, env_name, limits
from charlstm.errors import ConfigError


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPACE_ID", *map(env_name, Limits.model_fields)):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHARLSTM_MAX_MINUTES", "ten"),
        ("CHARLSTM_MAX_CORPUS_MB", "inf"),
        ("CHARLSTM_MAX_DISK_MB", "nan"),
        ("CHARLSTM_MAX_RUNS", "0"),
        ("CHARLSTM_MAX_RUNS", "1.5"),
        ("CHARLSTM_TRASH_DAYS", "soon"),
        ("CHARLSTM_TRASH_DAYS", "nan"),
        ("CHARLSTM_TRASH_DAYS", "-1"),
        ("CHARLSTM_PUBLIC", "yes"),
        ("CHARLSTM_ALLOWED_HOSTS", "https://"),
        ("CHARLSTM_MAX_MINUTES", "-1"),
        ("CHARLSTM_MAX_QUEUE", "1.5"),
        ("OMP_NUM_THREADS", "0"),
        ("OMP_NUM_THREADS", "4,x"),
        ("GRADIO_ROOT_PATH", "https://[x"),
        ("GRADIO_SERVER_PORT", "abc"),
        ("GRADIO_SERVER_PORT", "70000"),
        ("GRADIO_SERVER_PORT", "-1"),
        ("GRADIO_NUM_PORTS", "x"),
        ("FORWARDED_ALLOW_IPS", "*"),
        ("FORWARDED_ALLOW_IPS", "172.18.0.2, nginx"),
    ],
)
def test_a_value_that_can_not_be_used_is_named_with_what_it_must_be(name: str, value: str) -> None:
    variable = VARIABLES[name]
    message = re.escape(f"the environment variable {name} is {value!r}; it must be {variable.must_be}.")
    with pytest.raises(ConfigError, match=f"^{message}$"):
        variable.read({name: value})
    assert variable.must_be
    assert variable.read({}) == variable.read({name: " "}) == variable.default


def test_a_limit_says_which_numbers_it_takes() -> None:
    said = {name: VARIABLES[env_name(name)].must_be.partition(" (")[0] for name in Limits.model_fields}
    assert (said["max_minutes"], said["max_queue"]) == ("a number of 0 or more", "a whole number of 0 or more")
    assert said["max_runs"] == "a whole number of 1 or more"


def test_no_other_module_reads_the_environment(repository: Path) -> None:
    """Others write to it, before libraries read it."""
    readers = set()
    for module in (repository / "charlstm").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv"):
                readers.add(module.relative_to(repository / "charlstm").as_posix())
    assert readers == {
        "environment.py",
        "process_setup.py",
        "proxy_cleanup.py",
        "hub/__init__.py",
        "ui/gradio_import.py",
    }


def test_a_person_at_home_has_no_limits_but_one_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits() == LOCAL_LIMITS
    assert [name for name, value in LOCAL_LIMITS.model_dump().items() if value] == ["max_runs", "max_download_mb"]
    monkeypatch.setenv("SPACE_ID", "owner/space")
    assert limits() == SPACE_LIMITS
    assert all(SPACE_LIMITS.model_dump().values())


@pytest.mark.parametrize("name", list(Limits.model_fields))
@pytest.mark.parametrize("on_a_space", [False, True])
def test_every_limit_is_overridden_by_its_variable(
    name: str, on_a_space: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_a_space:
        monkeypatch.setenv("SPACE_ID", "owner/space")
    before = limits().model_dump()
    monkeypatch.setenv(f"CHARLSTM_{name.upper()}", "7")
    assert limits().model_dump() == {**before, name: 7}


def test_every_limit_stands_in_the_documents_with_its_values(repository: Path) -> None:
    table = (repository / "docs" / "variables.md").read_text(encoding="utf-8")
    for name, field in Limits.model_fields.items():
        here = f"{field.default:,.12g}" if field.default else "none"
        public = f"{getattr(SPACE_LIMITS, name):,.12g}"
        assert f"| `{env_name(name)}` | {field.description} | {here}; {public} in a public place |" in table
