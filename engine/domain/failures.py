"""What went wrong, where, and what to do: partial results and the error tree.

A list that is processed gives `Partial[T]`: the good value plus one `Failure` for each item that
could not be handled. Exceptions are for whole-run failures only; each carries the exit code of
the command line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class FailureReason(StrEnum):
    """Why an item could not be processed. The codes are part of the public JSON."""

    INVALID = "INVALID"
    PARSING = "PARSING"
    MISSING_DATA = "MISSING_DATA"
    UNSUPPORTED = "UNSUPPORTED"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    CURRENCY_CONVERSION = "CURRENCY_CONVERSION"
    CALCULATION_FAILED = "CALCULATION_FAILED"


@dataclass(frozen=True, slots=True)
class Failure:
    """One item that was not processed.

    Attributes
    ----------
    reason : FailureReason
        Machine-readable code.
    item : str
        Id of the position, agreement, factor or row concerned.
    where : str
        File and row, agreement, or step: the place a person goes to mend it.
    message : str
        What was wrong (with the value) and what to do.
    """

    reason: FailureReason
    item: str
    where: str
    message: str

    def to_dict(self) -> dict[str, str]:
        """Return the failure as the JSON object shown to users."""
        return {
            "reason": self.reason.value,
            "item": self.item,
            "where": self.where,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class Partial(Generic[T]):
    """A value computed from the items that worked, and the failures of those that did not."""

    value: T
    failures: tuple[Failure, ...] = field(default=())

    def with_failures(self, more: Iterable[Failure]) -> Partial[T]:
        """Return the same value with `more` failures appended."""
        return Partial(self.value, (*self.failures, *more))


class McaError(Exception):
    """Base of every error a user may see. `exit_code` is the process exit code it causes."""

    exit_code = 70


class UsageError(McaError):
    """The command was called wrongly."""

    exit_code = 2


class InputError(McaError):
    """The input cannot be used as a whole; the message names file, row, field and remedy."""

    exit_code = 3


class MissingDependencyError(McaError):
    """A package or service this command needs is not available; the message says how to get it."""

    exit_code = 5
