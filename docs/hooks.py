"""What the site holds beside its pages: the command line, observations and notebooks as pages, and files from above docs/."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import jupytext
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click
from wbench.benchmark.registry import all_families
from wbench.cli import app
from wbench.commands.show import observation

ROOT = Path(__file__).parents[1]
ABOVE = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CITATION.cff": "project/citation.cff",
    "hub/README.md": "project/hub.md",
}
LINK = re.compile(r"(?<=\]\()([^)#\s]+)")


def command_line() -> str:
    """Every command with its arguments and options, as Typer documents it."""
    command = typer.main.get_command(app)
    with command.make_context("wbench", [], resilient_parsing=True) as context:
        text = get_docs_for_click(obj=command, ctx=context, name="wbench")  # type: ignore[arg-type]
    text = text.partition("\n")[2]  # the page has a title of its own
    return re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+", "", text)  # they follow, and are cut short here


def observations() -> str:
    """What an agent of each family observes, number by number."""
    parts = []
    for family in all_families():
        if family.layout:
            found = observation(family.name)
            rows = [found.header, ["---"] * len(found.header), *found.rows]
            table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
            parts.append(f"## `{family.name}`\n\n{found.text[0].upper()}{found.text[1:]}.\n\n{table}\n")
    return "\n".join(parts)


MADE: dict[str, Callable[[], str]] = {"<!-- command line -->": command_line, "<!-- observations -->": observations}


def on_startup(**_: object) -> None:
    """Copy the package for mkdocstrings: the checkout is the package, and holds environments and links into itself as well."""
    package = ROOT / "build" / "api" / "wbench"  # see `paths` in mkdocs.yml
    shutil.rmtree(package, ignore_errors=True)
    parts = [init.parent for init in ROOT.glob("[a-z]*/__init__.py")]
    for source in [*ROOT.glob("*.py"), *(file for part in parts for file in part.rglob("*.py"))]:
        copied = package / source.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copied)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie above docs/, and the notebooks, which are Python files there."""
    for source, page in ABOVE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for notebook in sorted(Path(config.docs_dir, "notebooks").glob("*.py")):
        text = re.sub(r"\A---.*?---\n", "", jupytext.writes(jupytext.read(notebook), fmt="md"), flags=re.DOTALL)
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put in what is generated, and turn links to files above docs/ into links to their pages."""
    for marker, make in MADE.items():
        if marker in markdown:
            markdown = markdown.replace(marker, make())
    here = page.file.src_uri
    source = next((above for above, found in ABOVE.items() if found == here), f"docs/{here}")
    return LINK.sub(lambda found: _within(found[1], source, here), markdown)


def _within(link: str, source: str, here: str) -> str:
    """A link of a page of the checkout, as the site has it."""
    if "://" in link:
        return link
    target = os.path.normpath(os.path.join(os.path.dirname(source), link))  # noqa: PTH118, PTH120 - of links, not of files
    page = ABOVE.get(target, target.removeprefix("docs/"))
    return os.path.relpath(page, os.path.dirname(here) or ".")  # noqa: PTH120
