"""Exit codes of `mca`: other programs and schedulers rely on them."""

from __future__ import annotations

OK = 0
DONE_WITH_FAILURES = 1
USAGE = 2
BAD_INPUT = 3
THRESHOLD_BREACHED = 4
DEPENDENCY_MISSING = 5
INTERNAL = 70
INTERRUPTED = 130

MEANING = {
    OK: "done",
    DONE_WITH_FAILURES: "done, but some items failed and are listed",
    USAGE: "the command was called wrongly",
    BAD_INPUT: "the input cannot be used",
    THRESHOLD_BREACHED: "a threshold given with --fail-on was breached",
    DEPENDENCY_MISSING: "a package or service is missing",
    INTERNAL: "an error in the program; the message says where its details are",
    INTERRUPTED: "interrupted",
}
