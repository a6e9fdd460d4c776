"""Build step that pyproject.toml cannot express: the package description without links into the repository."""

import re
from pathlib import Path

from setuptools import setup


def long_description(readme: str) -> str:
    """Make README.md readable outside the repository, for example on PyPI.

    Relative images are removed and relative links become plain text, because the repository has no public address yet.
    """
    text = re.sub(r"^!\[[^]]*\]\((?!https?:)[^)]*\)\n", "", readme, flags=re.MULTILINE)
    return re.sub(r"\[([^]]*)\]\((?!https?:|#)[^)]*\)", r"\1", text)


if __name__ == "__main__":
    readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    setup(long_description=long_description(readme), long_description_content_type="text/markdown")
