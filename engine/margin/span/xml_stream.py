"""Streamed walk over an XML risk parameter file: one record in memory at a time.

Built on expat: it gives line numbers, reads no external entity, and a document type declaration
(with which entities could be made to explode) is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from xml.parsers import expat

from engine.domain.failures import InputError
from engine.margin.span.records import Failures, RecordError

CHUNK_BYTES = 1 << 16
MOST_DEPTH = 40
MOST_NODES = 200_000
MOST_TEXT = 200

PORTFOLIOS = ("phyPf", "equityPf", "futPf", "oopPf", "oofPf", "oocPf", "ooePf", "oosPf")
CONTAINERS = {"spanFile", "pointInTime", "clearingOrg", "exchange", "interSpreads", "series"} | set(
    PORTFOLIOS
)
CONTRACTS = ("phy", "equity", "fut", "opt")
RECORDS = {*CONTRACTS, "ccDef", "dSpread"}
# Elements with children that carry nothing the margin needs: names, accounts, currencies, pricing
# inputs behind the arrays.
SKIPPED = {
    "definitions", "curConv", "pbRateDef", "pointDef", "undPf", "undC", "group", "intrRate",
    "divRate", "scanRate", "alias", "venue", "tick",
}  # fmt: skip


class Node:
    """An element of a record: its text, children and line."""

    __slots__ = ("children", "line", "name", "text")

    def __init__(self, name: str, line: int) -> None:
        self.name = name
        self.line = line
        self.text = ""
        self.children: list[Node] = []

    def all(self, name: str) -> list[Node]:
        """Return the children of that name."""
        return [child for child in self.children if child.name == name]

    def first(self, name: str) -> Node | None:
        """Return the first child of that name."""
        return next((child for child in self.children if child.name == name), None)

    def value(self, name: str, default: str = "") -> str:
        """Return the text of the first child of that name."""
        child = self.first(name)
        return default if child is None else child.text.strip()


class Container:
    """An open element that holds records: its scalar children so far."""

    __slots__ = ("fields", "name", "wanted")

    def __init__(self, name: str) -> None:
        self.name = name
        self.fields: dict[str, str] = {}
        self.wanted: bool | None = None


Record = tuple[Node, tuple[Container, ...]]


class _Walker:
    """Expat handlers; finished records collect in `done`."""

    def __init__(
        self, failures: Failures, file: str, names: set[str], want: Callable[[Container], bool]
    ) -> None:
        self.done: list[Record] = []
        self.unknown: dict[str, tuple[int, int]] = {}
        self.containers: list[Container] = []
        self._failures, self._file, self._names, self._want = failures, file, names, want
        self._nodes: list[Node] = []
        self._skip = self._depth = self._count = 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _doctype(self, *_: object) -> None:
        raise InputError(
            f"{self._file} line {self.parser.CurrentLineNumber}: a document type declaration is "
            "not part of the format; obtain the file again from the venue"
        )

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise InputError(
                f"{self._file} line {self.parser.CurrentLineNumber}: elements are nested deeper "
                f"than {MOST_DEPTH}; this is not a risk parameter file"
            )
        if self._depth == 1 and name != "spanFile":
            raise InputError(
                f"{self._file}: the outermost element is {name[:40]!r}, not 'spanFile'; give an "
                "XML risk parameter file"
            )
        if self._skip:
            self._skip += 1
        elif self._nodes:
            self._child(name)
        elif name in CONTAINERS and not self._unwanted():
            self.containers.append(Container(name))
        elif name in SKIPPED or self._not_asked(name):
            self._skip = 1
        else:
            self._count = 1
            self._nodes.append(Node(name, self.parser.CurrentLineNumber))

    def _child(self, name: str) -> None:
        self._count += 1
        node = Node(name, self.parser.CurrentLineNumber)
        if self._count <= MOST_NODES:
            self._nodes[-1].children.append(node)
        self._nodes.append(node)

    def _unwanted(self) -> bool:
        """Whether the open portfolio is one the caller did not ask for."""
        portfolio = next((c for c in self.containers if c.name in PORTFOLIOS), None)
        if portfolio is None:
            return False
        if portfolio.wanted is None:
            portfolio.wanted = self._want(portfolio)
        return not portfolio.wanted

    def _not_asked(self, name: str) -> bool:
        if name in RECORDS and name not in self._names:
            return True
        return name in (*CONTRACTS, "series") and self._unwanted()

    def _end(self, _name: str) -> None:
        self._depth -= 1
        if self._skip:
            self._skip -= 1
        elif self._nodes:
            node = self._nodes.pop()
            if not self._nodes:
                self._finished(node)
        elif self.containers:
            self.containers.pop()

    def _finished(self, node: Node) -> None:
        if self._count > MOST_NODES:
            message = f"the record has more than {MOST_NODES} elements; obtain the file again"
            error = RecordError(node.name, message)
            self._failures.add(error.failure(f"{self._file} line {node.line}"))
        elif node.name in RECORDS:
            self.done.append((node, tuple(self.containers)))
        elif node.children:
            line, count = self.unknown.get(node.name, (node.line, 0))
            if node.name in self.unknown or len(self.unknown) < MOST_TEXT:
                self.unknown[node.name[:MOST_TEXT]] = (line, count + 1)
        elif self.containers and len(node.name) < MOST_TEXT:
            fields = self.containers[-1].fields
            if node.name in fields or len(fields) < MOST_TEXT:
                fields[node.name] = node.text.strip()

    def _text(self, data: str) -> None:
        """Keep the text of the open element; what is too long is cut and can be no number."""
        if self._nodes and len(self._nodes[-1].text) <= MOST_TEXT:
            text = self._nodes[-1].text + data
            cut = text[:MOST_TEXT] + "..."
            self._nodes[-1].text = text if len(text) <= MOST_TEXT else cut


def walk(
    path: Path,
    failures: Failures,
    names: set[str],
    want: Callable[[Container], bool],
    unknown: dict[str, tuple[int, int]],
) -> Iterator[Record]:
    """Yield the records named in `names` with the containers they are in, in file order.

    `want` is asked once for every portfolio whether its contracts are wanted. Elements that are
    neither read nor known to be unneeded are counted in `unknown`: name -> first line, count.

    Raises
    ------
    InputError
        If the file cannot be opened, is not well-formed XML or not a risk parameter file.
    """
    walker = _Walker(failures, path.name, names, want)
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                walker.parser.Parse(chunk, False)
                yield from walker.done
                walker.done.clear()
        walker.parser.Parse(b"", True)
    except OSError as error:
        raise InputError(f"{path.name}: {error.strerror}; give a readable file") from error
    except expat.ExpatError as error:
        raise InputError(
            f"{path.name} line {error.lineno}: {expat.ErrorString(error.code)}; the file is "
            "damaged or cut short: obtain it again"
        ) from error
    yield from walker.done
    unknown.update(walker.unknown)
