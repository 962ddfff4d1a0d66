"""What pyproject.toml can't say: a README without the Space's front matter, and a model from outside the package."""

import re
from pathlib import Path

from setuptools import find_packages, setup

readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")

setup(
    # A package index would show the front matter as a rule and one huge heading.
    long_description=re.sub(r"\A---\n.*?\n---\n\s*", "", readme, flags=re.DOTALL),
    long_description_content_type="text/markdown",
    packages=[*find_packages(include=["charlstm", "charlstm.*"]), "charlstm.checkpoints"],
    package_dir={"charlstm.checkpoints": "checkpoints"},
)
