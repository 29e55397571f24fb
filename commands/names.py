"""The commands that say what there is: list, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console import Json, answer
from ..errors import require
from .data import print_datasets


def list_names(
    what: Annotated[str, typer.Argument(help="datasets: the releases, and what of them is here. Left out: all names.")] = "",
    as_json: Json = False,
) -> None:
    """List families, agents, protocols, releases and trainable agents; or the datasets."""
    from ..benchmark.data.release import RELEASES
    from ..benchmark.protocol.spec import SIZES
    from ..benchmark.registry import list_agents, list_families
    from ..learning.training import trainer_names

    if what:
        require(what == "datasets", "what to list", what, "datasets, or left out")
        print_datasets(as_json)
        return
    names: dict[str, list[str]] = {
        "families": list_families(),
        "agents": list_agents(),
        "protocols": list(SIZES),
        "releases": list(RELEASES),
        "trainable": trainer_names(),
    }
    answer(as_json, names, ["what", "names"], [[what, ", ".join(found)] for what, found in names.items()])


def show(
    name: Annotated[str, typer.Argument(help="A family (or FILE.py of your own), variant, agent or protocol.")],
    site: Annotated[
        str | None,
        typer.Option(help="Of a variant: what is hidden at these sites, e.g. 3 (held out) or dev:0-2. Left out: none."),
    ] = None,
    layout: Annotated[
        bool, typer.Option("--observation", help="Of a family: what each number of an observation is, and its column in a log.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Of handover, with one --site: the file for a map. Left out: none is drawn.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a family, variant, agent or protocol is; of an agent that is trained, the settings of its training too."""
    from ..benchmark.registry import register_family
    from ..benchmark.site import parse_sites
    from ..benchmark.user_code import is_file
    from .show import describe, draw, observation, print_description

    if is_file(name):
        name = register_family(name).name
    sites = parse_sites(site) if site else ()
    require(not sites or "/" in name, "--site", site, f"given with a variant, not with {name}: see wbench show {name}")
    if picture is not None:
        draw(name, sites, picture)
    print_description(observation(name) if layout else describe(name, sites), as_json)
