"""CPU that each plugin adds to a call, beside the leanest of its peers, and what importing it costs.

A canonical run per framework, with models and tools that answer at once: what is left is the framework and the
metering. In a process of its own, on one core, each subject takes turns with the plain run in short blocks; `added`
is the median difference of neighbours in process CPU (all threads, the background included), per model or tool call,
above `plain`. The subjects of a scene take turns in rounds, of which the median counts. Our spool is on and the
collector down; peers encode what they export, by batches, and do not send it. `spans` is what one run leaves behind;
`of peer` compares with the leanest, round by round: median and quartiles. Less than nothing is noise. Compare ratios,
never figures of different machines. Imports are the best of five. `--rounds 1` is for a quick look.

    .venv/bin/python tests/bench/bench_plugins.py
    tests/environments/crewai/.venv/bin/python tests/bench/bench_plugins.py [--peer-venv DIR]... [scene ...]

Subjects that are not installed here are left out; `--peer-venv DIR` adds those of another environment.
"""

import argparse
import gc
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from operator import sub
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import plugin_autogen
import plugin_crewai
import plugin_mcp
from plugin_variants import Subject, Variant

SUBJECTS = [*plugin_crewai.SUBJECTS, *plugin_autogen.SUBJECTS, *plugin_mcp.SUBJECTS]
BLOCK_S = 0.025
IMPORTS_OF_EACH = 5
IMPORTS = {
    "aforo_crewai": ("crewai", "crewai"),
    "aforo_autogen": ("autogen_agentchat.agents, autogen_agentchat.teams", "autogen_agentchat"),
    "aforo_autogen.ag2": ("ag2", "ag2"),
    "aforo_mcp": ("mcp.server", "mcp"),
}
"""Plugin → what a program imports that uses the framework, and the module that must be there."""
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "FASTMCP_CHECK_FOR_UPDATES": "off",
    "TRACELOOP_TELEMETRY": "false",
}


class Figures(NamedTuple):
    """CPU per call: `added_us` above `plain_us`; `spans` per run."""

    added_us: float
    plain_us: float
    spans: float


def block(variant: Variant, runs: int) -> float:
    """CPU of one run in a block of them, in microseconds."""
    variant.enter()
    variant.play(1)
    variant.settle()
    start_s = time.process_time()
    variant.play(runs)
    variant.settle()
    spent_s = time.process_time() - start_s
    variant.leave()
    return spent_s / runs * 1e6


def measure(subject: Subject, blocks: int) -> Figures:
    """What a subject costs in this process, which stays on one core: moving threads between cores costs more
    than the metering, and differs from process to process.
    """
    logging.disable(logging.WARNING)
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    plain, metered, span_count = subject.start()
    block(plain, 1)
    runs = max(int(BLOCK_S * 1e6 / block(plain, 5)), 3)
    gc.collect()
    gc.freeze()
    block(metered, runs)
    written = span_count()
    before, after = [], []
    for _ in range(blocks):
        before.append(block(plain, runs))
        after.append(block(metered, runs))
    return Figures(
        statistics.median(map(sub, after, before)) / subject.calls,
        statistics.median(before) / subject.calls,
        (span_count() - written) / blocks / (runs + 1),
    )


def in_process_of_its_own(python: str, position: int, blocks: int) -> Figures | None:
    """Measure one subject with an interpreter; None, and the reason printed, if it fails there."""
    command = [python, __file__, "--measure", str(position), "--blocks", str(blocks)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | QUIET, check=False)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        sys.stderr.write(f"{SUBJECTS[position].name}: {done.stderr[-1500:]}\n")
        return None
    return Figures(*json.loads(lines[-1]))


def importable(module: str) -> bool:
    """Whether a module could be imported here."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def home_of(subject: Subject, pythons: list[str]) -> str | None:
    """The first interpreter that has all that a subject needs."""
    check = (
        f"import sys; sys.path[0] = {str(Path(__file__).parent)!r}; from bench_plugins import importable; "
    )
    check += f"sys.exit(not all(map(importable, {subject.modules!r})))"
    return next(
        (one for one in pythons if not subprocess.run([one, "-c", check], check=False).returncode), None
    )


def compare(scene: str, pythons: list[str], rounds: int, blocks: int) -> None:
    """Measure all subjects of a scene in rounds, and print a line for each."""
    homes = {
        position: home
        for position, subject in enumerate(SUBJECTS)
        if subject.of == scene and (home := home_of(subject, pythons)) is not None
    }
    if not any(SUBJECTS[position].is_ours for position in homes):
        return
    found: dict[int, list[Figures]] = {position: [] for position in homes}
    for _ in range(rounds):
        for position, home in homes.items():
            figures = in_process_of_its_own(home, position, blocks) if position in found else None
            if figures is not None:
                found[position].append(figures)
            else:
                found.pop(position, None)
    leanest = leanest_peer(found)
    for position in homes:
        name = f"{scene:20}{SUBJECTS[position].name:26}"
        if position not in found:
            print(f"{name}   failed")
            continue
        added_us, plain_us, spans = map(statistics.median, zip(*found[position], strict=True))
        ratio = "" if leanest is None else of_peer(found[position], leanest)
        print(f"{name}{added_us:9.1f}{plain_us:9.0f}{spans:7.1f}{ratio}", flush=True)


def leanest_peer(found: dict[int, list[Figures]]) -> list[Figures] | None:
    """The rounds of the peer that adds least, of those that add anything."""
    added = {
        position: statistics.median(one.added_us for one in rounds)
        for position, rounds in found.items()
        if not SUBJECTS[position].is_ours
    }
    peers = [position for position, us in added.items() if us > 0]
    return found[min(peers, key=added.__getitem__)] if peers else None


def of_peer(rounds: list[Figures], peer: list[Figures]) -> str:
    """What is added, in parts of what a peer adds in the same round: the median, and between which quartiles."""
    parts = [own.added_us / theirs.added_us for own, theirs in zip(rounds, peer, strict=True)]
    if len(parts) == 1:
        return f"{parts[0]:8.2f}"
    low, middle, high = statistics.quantiles(parts, n=4, method="inclusive")
    return f"{middle:8.2f}  {low:.2f}-{high:.2f}"


def import_s(statement: str) -> float:
    """CPU seconds that a fresh process spends on an import, the best of several."""
    code = f"import time; start = time.process_time(); {statement}; print(time.process_time() - start)"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=os.environ | QUIET | {"HOME": tempfile.gettempdir()},
            check=True,
        )
        for _ in range(IMPORTS_OF_EACH)
    ]
    return min(float(run.stdout.splitlines()[-1]) for run in runs)


def compare_imports() -> None:
    """Print what importing each plugin costs after its framework."""
    print(f"\n{'import':20}{'after':26}{'added ms':>9}{'its ms':>9}")
    for plugin, (framework, needed) in IMPORTS.items():
        if not importable(plugin.partition(".")[0]) or not importable(needed):
            continue
        code = f"import {framework}; middle = time.process_time(); import {plugin}; start += middle - start"
        added_s, framework_s = import_s(code), import_s(f"import {framework}")
        print(f"{plugin:20}{needed:26}{added_s * 1e3:9.1f}{framework_s * 1e3:9.1f}", flush=True)


def main() -> None:
    """Measure, and print one line per subject."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    scenes = list(dict.fromkeys(subject.of for subject in SUBJECTS))
    parser.add_argument("scenes", nargs="*", metavar="scene", help=", ".join(scenes))
    parser.add_argument("--rounds", type=int, default=9, help="processes per subject")
    parser.add_argument("--blocks", type=int, default=48, help="pairs of blocks in a process")
    parser.add_argument("--peer-venv", type=Path, action="append", default=[], help="environment of a peer")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(SUBJECTS[options.measure], options.blocks)), flush=True)
        os._exit(0)  # peers' exporters would hold the exit up
    pythons = [sys.executable, *(str(venv / "bin" / "python") for venv in options.peer_venv)]
    print(f"{'CPU per call':20}{'':26}{'added µs':>9}{'plain µs':>9}{'spans':>7}{'of peer':>8}")
    for scene in options.scenes or scenes:
        compare(scene, pythons, options.rounds, options.blocks)
    compare_imports()


if __name__ == "__main__":
    main()
