"""``python -m reliability.faults [cell …]``: try every cell, and write records/faults.md."""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import groupby, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.markdown import table

from multitudes.data.planted import PlantedConfig, plant, write_world
from reliability.faults import dependencies
from reliability.faults.cells import SETTINGS, Cell
from reliability.faults.dependencies import FAULTS, HOW, MOMENTS, WHY_NOT_HERE
from reliability.server import MAIN

_RESULTS, _PAGE = ROOT / "reliability" / "results" / "faults.json", ROOT / "records" / "faults.md"
_NOT_YET = "not tried yet"
_HEAD = """# Faults

Written by `python -m reliability.faults`; do not edit. Every dependency is slow, full, gone or wrong when the service
starts, serves, takes up a publish or stops. The faults are real: a file system of ours, a proxy before a server, a
signal, a false clock. In each cell 6 users ask for candidates and 4 send an event; then the fault is mended. Cells are
tried one by one, and kept until they are tried again.

“Marked”: the answer says why it is less than the full one. *Afterwards*: whether the service is well within 30 s of the
mending. *Lost*: acknowledged events that are then in no user state, and those in no log. “Not felt”: nobody met the
fault. The service has a deadline of {deadline} ms, {read} s for a read of user states and {write} s for a write; a
release has 150 items; the disk has releases, logs and user states.

{ran}
"""


def main() -> None:
    """Try the cells that begin with the given words, all by default, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m reliability.faults")
    parser.add_argument("cells", nargs="*", metavar="cell", help="such as 'Redis', 'Redis full' or 'Redis full stop'")
    given = tuple(parser.parse_args().cells)
    known = {name for name, *_ in _kept_cells()}  # is not replaced by why it cannot be tried here
    places = [(name, *place) for name in HOW for place in product(HOW[name], MOMENTS)]
    wanted = [place for place in places if " ".join(place).startswith(given)] if given else places
    wanted = [place for place in wanted if given or not WHY_NOT_HERE.get(place[0]) or place[0] not in known]
    if not wanted:
        parser.error(f"no cell {given}; dependencies: {', '.join(HOW)}")
    context = MeasurementContext()
    with TemporaryDirectory(prefix="multitudes-faults-") as folder:
        for cell in _try_cells(wanted, Path(folder)):
            cells = _kept_cells() | {(cell["dependency"], cell["fault"], cell["moment"]): cell}
            found = context.head(("multitudes", "uvicorn", "redis", "pymilvus"))
            cell["commit"] = found["versions"]["commit"]
            found["cells"] = [cells.get(place) or _empty_cell(*place, _NOT_YET) for place in places]
            _RESULTS.write_text(json.dumps(found, ensure_ascii=False) + "\n", encoding="utf-8")
            _PAGE.write_text(page(found), encoding="utf-8")


def _empty_cell(name: str, fault: str, moment: str, why: str) -> dict[str, Any]:
    return {"dependency": name, "fault": fault, "moment": moment, "left_out": why}


def _kept_cells() -> dict[tuple[str, ...], dict[str, Any]]:
    cells = json.loads(_RESULTS.read_text(encoding="utf-8"))["cells"] if _RESULTS.exists() else []
    tried = (cell for cell in cells if cell.get("left_out") != _NOT_YET)
    return {(cell["dependency"], cell["fault"], cell["moment"]): cell for cell in tried}


def _try_cells(cells: list[tuple[str, str, str]], folder: Path) -> Iterator[dict[str, Any]]:
    _make_world(folder / "world")
    with ExitStack() as stack, ThreadPoolExecutor(4) as threads:  # most of the time they wait
        if any(name == "Milvus" for name, *_ in cells) and not WHY_NOT_HERE["Milvus"]:
            from tests.milvus.server import Server  # noqa: PLC0415 (only where the package is there)

            dependencies.milvus_server = Server(folder / "milvus").start()
            stack.callback(dependencies.milvus_server.stop)
        yield from threads.map(partial(_cell, folder), cells)


def _cell(folder: Path, cell: tuple[str, str, str]) -> dict[str, Any]:
    name, fault, moment = cell
    why_not = f"not tried: {WHY_NOT_HERE[name]}" if WHY_NOT_HERE.get(name) else ""
    if name == "S3" and moment != "publish":
        why_not = "not possible: the service reads no object store"
    why_not = HOW[name][fault] if HOW[name][fault].startswith("not ") else why_not
    if why_not:
        return _empty_cell(name, fault, moment, why_not)
    place = folder / f"{name.replace(' ', '-')}-{fault.replace(' ', '-')}-{moment}"
    place.mkdir()
    try:
        with getattr(dependencies, name.lower().replace(" ", "_"))(place) as surroundings:
            seen = Cell(surroundings, folder / "world").run(fault if fault in FAULTS else "", moment)
            seen["said"] = seen["said"].replace(f"{place}/", "")
    except Exception as error:  # the others are tried all the same
        seen = {"left_out": f"**the trial failed**: {type(error).__name__}: {str(error)[:300]}"}
    print(f"{cell}: {seen}", file=sys.stderr, flush=True)
    return {"dependency": name, "fault": fault, "moment": moment} | seen


def _make_world(folder: Path) -> None:
    """Publish a release of PinnerSage, which needs no torch."""
    config = PlantedConfig(users=120, items=150, events=4_000, niches=12, topics=6, embedding_width=16)
    write_world(plant(config), folder / "data")
    for call in (
        f"prepare {folder}/data --out {folder}/prepared --split user",
        f"train {folder}/prepared --method pinnersage --out {folder}/run",
        f"publish {folder}/run --to {folder}/releases",
    ):
        subprocess.run([sys.executable, "-c", MAIN, *call.split()], check=True, capture_output=True)


def page(found: dict[str, Any]) -> str:
    """Return the page of what was seen."""
    commits = sorted({cell["commit"] for cell in found["cells"] if "commit" in cell})
    ran = "{when}, commits {}. {machine[cpu]}, {machine[os]}.".format(", ".join(commits), **found)
    limits = {"deadline": SETTINGS["deadlines"]["default_ms"], "read": SETTINGS["state"]["read_s"]}
    head = _HEAD.format(ran=ran, write=SETTINGS["state"]["write_s"], **limits)
    names = ["dependency", "fault", "at", "a user sees", "in one line", "afterwards", "lost"]
    return "\n".join([head, *table(names, list(_rows(found["cells"])))])


def _rows(cells: list[dict[str, Any]]) -> Iterator[list[str]]:
    for (name, fault), some in groupby(cells, lambda cell: (cell["dependency"], cell["fault"])):
        row = list(some)
        if len({cell.get("left_out") for cell in row}) == 1 and "left_out" in row[0]:
            yield [name, fault, "all", row[0]["left_out"], "", "", ""]
            continue
        for number, cell in enumerate(row):
            what = fault if number else f"{fault}: {HOW[name][fault]}"
            if "left_out" in cell:
                yield [name, what, cell["moment"], cell["left_out"], "", "", ""]
                continue
            sees = cell["sees"] + "; not felt" * (cell["felt"] == 0) + "; **traceback**" * cell.get("traceback", False)
            said = cell["said"].removeprefix("multitudes: ").replace("|", "/").replace("<", "&lt;")[:240]
            lost = f"{cell['lost']} and {cell['unlogged']} of {cell['told']}" if "told" in cell else ""
            yield [name, what, cell["moment"], sees, said, cell["afterwards"], lost]


if __name__ == "__main__":
    main()
