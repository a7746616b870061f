"""The manual is true: nothing is undocumented, and what the documents say can be typed."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from satmachine.attention.items import CONDITIONS
from satmachine.cli import manual
from satmachine.cli.main import NOUNS
from satmachine.cli.manual import Command

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = {command.name: command for command in manual.commands()}
GLOBAL = {"--config", "--operator", "--tz", "--actor", "--version", "--help"}

#: `satmachine ...` in code; what follows a pipe, a comment or the end of the code is not ours.
TYPED = re.compile(r"(?:^|[`&;|] *|sudo \S+ )satmachine((?: +[^`|&;#\n]+)?)", re.MULTILINE)


def test_the_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "commands.md").read_text() == manual.reference(), "run `make docs`"


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_command_has_a_summary_an_example_and_a_word_on_each_option(command: Command) -> None:
    assert len(command.summary) > 10
    assert "Example" in command.text
    assert re.search(rf"satmachine .*{command.name}", command.text), "the example shows another command"
    for parameter in command.parameters:
        if parameter.usage.startswith("-"):
            assert parameter.help, f"{command.name} {parameter.usage} has no help"


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_command_in_the_documents_can_be_typed(path: Path) -> None:
    for match in TYPED.finditer(path.read_text()):
        words = [word for word in match[1].split() if word]
        name = known_name(words)
        if name is None:
            continue
        options = {word.partition("=")[0] for word in words if word.startswith("--")} - GLOBAL
        known = " ".join(parameter.usage for parameter in COMMANDS[name].parameters)
        for option in options:
            assert option in known, f"{path.name}: satmachine {' '.join(words)}: {name} has no {option}"


def known_name(words: list[str]) -> str | None:
    """The command that these words begin with; None where they are prose or a noun alone."""
    plain = [word for word in words if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
    return next((name for name in (" ".join(plain[:2]), " ".join(plain[:1])) if name in COMMANDS), None)


def test_every_alarm_is_explained_with_what_to_do() -> None:
    text = (ROOT / "docs" / "alerts.md").read_text()
    rows = re.findall(r"(?m)^\| `(\w+)` \|(.+)\|(.+)\|$", text)
    assert {condition for condition, _, _ in rows} == set(CONDITIONS)
    assert all(len(meaning.strip()) > 10 and len(remedy.strip()) > 5 for _, meaning, remedy in rows)


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff here")
def test_the_man_pages_are_set_without_a_complaint() -> None:
    pages = manual.man_pages()
    assert set(pages) >= {"satmachine.1", "satmachine-doctor.1", "satmachine-backup.1"}
    for name, page in pages.items():
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-z"], input=page, capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stderr == "", name


def test_completion_is_made_for_three_shells() -> None:
    assert set(manual.completions()) == {"satmachine.bash", "_satmachine", "satmachine.fish"}


def messages() -> list[tuple[str, str]]:
    """(file, `satmachine ..` as a message says it) of the whole program; what is filled in stands as 1."""
    found = []
    for path in sorted((ROOT / "satmachine").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            text = ""
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else " 1" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            found += [
                (path.name, match[1]) for match in re.finditer(r"satmachine ((?:[a-z-]+ ?){1,2}[^`\n.;,:)]*)", text)
            ]
    whole = [(file, said) for file, said in found if len(said.split()) > 1 and said.split()[0] in NOUNS]
    return [(file, said) for file, said in whole if said.split()[1] != "1"]  # the verb itself is filled in


def test_every_command_in_a_message_exists_with_its_options() -> None:
    said = messages()
    assert len(said) > 60
    for file, text in said:
        name = known_name(text.split())
        assert name is not None, f"{file}: satmachine {text}"
        known = " ".join(parameter.usage for parameter in COMMANDS[name].parameters)
        for option in re.findall(r"--[a-z-]+", text):
            assert option in known or option in GLOBAL, f"{file}: satmachine {text}: {name} has no {option}"
