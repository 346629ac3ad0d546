"""Trace trees on a terminal: one line per span, with its tokens and its cost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from .printing import visible

_STYLES = {"chat": "cyan", "execute_tool": "yellow", "invoke_agent": "bold", "invoke_workflow": "bold"}
WIDTH_PLAIN = 200


def print_tree(trace: dict[str, Any]) -> None:
    """The spans of a session; `trace` is the `data` of its reading endpoint."""
    root = Tree(Text(f"session {visible(trace['sessionId'])}", style="bold"))
    todo = [(root, node) for node in reversed(trace["roots"])]
    while todo:
        branch, node = todo.pop()
        below = branch.add(_line(node))
        todo += [(below, child) for child in reversed(node["children"])]
    Console(width=None if sys.stdout.isatty() else WIDTH_PLAIN).print(root)


def flat_nodes(trace: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every span of the tree without its children, parents first."""
    todo = list(reversed(trace["roots"]))
    while todo:
        node = todo.pop()
        yield {name: value for name, value in node.items() if name != "children"}
        todo += reversed(node["children"])


def _line(node: dict[str, Any]) -> Text:
    line = Text(visible(node["name"]), style=_STYLES.get(node["operation"] or "", ""))
    line.append(f"  {node['durationMs']} ms", style="dim")
    tokens = node["tokens"]
    if tokens:
        line.append(f"  {tokens['total']} tokens ({_pools(tokens)})", style="green")
    if node["providerCost"] is not None:
        line.append(f"  ${node['providerCost']}", style="magenta")
    if node["status"] == "ERROR":
        line.append("  failed", style="red")
    if node["standing"] not in ("billed", "structure"):
        line.append(f"  [{node['standing']}]", style="dim")
    return line


def _pools(tokens: dict[str, int]) -> str:
    named = {
        "input": "in",
        "cacheRead": "cache read",
        "cacheWrite": "cache write",
        "output": "out",
        "reasoning": "reasoning",
    }
    return ", ".join(f"{tokens[pool]} {name}" for pool, name in named.items() if tokens.get(pool))
