"""What pyproject.toml can't say: a README for a package index, and a model from outside the package."""

import re
from pathlib import Path

from setuptools import find_packages, setup

readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")


def for_an_index(text: str) -> str:
    """Return the README as a package index can show it, which has none of the files beside it.

    The Space's front matter would be a rule and one huge heading there; a picture or a link would lead nowhere.
    """
    text = re.sub(r"\A---\n.*?\n---\n\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"!\[[^]]*\]\((?!https?:)[^)]*\)\n\s*", "", text)
    text = re.sub(r"\[(\S+)\]\(\1\)", r"`\1`", text)
    return re.sub(r"\[([^]]*)\]\((?!https?:)([^)]*)\)", r"\1 (`\2`)", text)


setup(
    long_description=for_an_index(readme),
    long_description_content_type="text/markdown",
    packages=[*find_packages(include=["charlstm", "charlstm.*"]), "charlstm.checkpoints"],
    package_dir={"charlstm.checkpoints": "checkpoints"},
)
