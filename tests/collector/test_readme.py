"""The README of the collector says what is true."""

from dataclasses import fields
from pathlib import Path

from aforo_collector.settings import Settings

README = Path(__file__).parents[2] / "collector" / "README.md"


def test_every_setting_is_in_the_readme() -> None:
    """The table of settings names each flag with its variable."""
    text = README.read_text()
    for field in fields(Settings):
        flag = f"`--{field.name.replace('_', '-')}`" if field.metadata.get("flag", True) else "–"
        assert f"| {flag} | `{field.metadata['env']}` |" in text
