"""Where the parts of a drawn network stand: columns from left to right."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from statistics import fmean

import networkx

Column = list[Hashable]


def columns_of(edges: Sequence[tuple[str, str]]) -> tuple[list[Column], list[Column]]:
    """Columns in which every edge goes to the right, and few edges cross.

    Args:
        edges: pairs of names, from and to

    Returns:
        The columns, each from top to bottom: names, and tuples where an edge passes on its way
        to a later column. And for each edge its way: the first name, what it passes, the last name.

    Raises:
        ValueError: if the edges go in a circle
    """
    graph = networkx.DiGraph(edges)
    if not networkx.is_directed_acyclic_graph(graph):
        raise ValueError(f"the edges go in a circle: {networkx.find_cycle(graph)}")
    columns = [list(names) for names in networkx.topological_generations(graph)]
    column_of = {name: x for x, column in enumerate(columns) for name in column}
    # An input stands beside the first layer that takes it.
    for name in list(columns[0]):
        column = min(column_of[after] for after in graph.successors(name)) - 1
        if column > 0:
            columns[0].remove(name)
            columns[column].append(name)
            column_of[name] = column
    chains = []
    for start, end in graph.edges:
        between = [(start, end, x) for x in range(column_of[start] + 1, column_of[end])]
        for place in between:
            columns[place[2]].append(place)
        chains.append([start, *between, end])
    _sort(columns, chains)
    return columns, chains


def _sort(columns: list[Column], chains: list[Column]) -> None:
    """Sorts each column by where the neighbours of its members stand, twice there and back."""
    links = [link for chain in chains for link in pairwise(chain)]
    for _ in range(2):
        for order in (range(1, len(columns)), range(len(columns) - 2, -1, -1)):
            for x in order:
                heights = _heights(columns)
                columns[x].sort(key=lambda name, heights=heights: _middle(name, links, heights))


def _heights(columns: list[Column]) -> dict[Hashable, float]:
    """Distance from the middle of its column, for each member."""
    heights = {}
    for column in columns:
        for index, name in enumerate(column):
            heights[name] = index - (len(column) - 1) / 2
    return heights


def _middle(name: Hashable, links: list, heights: dict[Hashable, float]) -> float:
    neighbours = [end for start, end in links if start == name]
    neighbours += [start for start, end in links if end == name]
    return fmean(heights[neighbour] for neighbour in neighbours)
