"""Risk parameter files of venues: read them, and margin positions with their arrays."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from engine.domain.failures import InputError, Partial
from engine.margin.span.positional_file import read_positional
from engine.margin.span.records import SpanParameters
from engine.margin.span.xml_definitions import CreditUnit
from engine.margin.span.xml_file import read_xml


def read_parameter_file(
    path: Path,
    commodities: Collection[str] | None = None,
    credit_unit: CreditUnit | None = None,
) -> Partial[SpanParameters]:
    """Read a risk parameter file; XML or positional is seen from its first character.

    Parameters
    ----------
    path : Path
    commodities : collection of str, optional
        Combined commodities to keep. Memory grows with what is kept, not with the file.
    credit_unit : {"fraction", "per cent"}, optional
        Unit of inter-commodity credits in XML files, which the format does not say. Without it they
        are left out, which makes margins larger, and named in failures.

    Returns
    -------
    Partial of SpanParameters
        Every record that could not be used is a `Failure` with file, line, value and remedy.

    Raises
    ------
    InputError
        If the file cannot be opened, is damaged, or is of another format.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as error:
        raise InputError(f"{path.name}: {error.strerror}; give a readable file") from error
    if start.startswith(b"<"):
        return read_xml(path, commodities, credit_unit)
    if start.startswith(b"0 "):
        return read_positional(path, commodities)
    raise InputError(
        f"{path.name}: begins with {start[:10]!r}, neither XML nor a positional header; give a "
        "risk parameter file (.spn or .pa2), unpacked"
    )
