"""What the commands of this folder have in common."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

from core.errors import IdiolectError

Main = Callable[[list[str] | None], int]


def command(main: Main) -> Callable[..., int]:
    """A command's main function, which takes arguments and gives its exit code.

    What is wrong with the input (IdiolectError) is told on stderr with its remedy, and the exit
    code is 2.
    """

    @functools.wraps(main)
    def run(arguments: list[str] | None = None) -> int:
        try:
            return main(arguments)
        except IdiolectError as error:
            hint = f"\n hint: {error.hint}" if error.hint else ""
            print(f"error: {error.message}{hint}", file=sys.stderr)
            return 2

    return run
