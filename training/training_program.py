"""How does a training end when something is wrong that its user can put right?"""

import functools
import logging
import os
import sys
from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)


def training_program(main: Callable[[Sequence[str] | None], None]) -> Callable[[Sequence[str] | None], None]:
    """
    Decorates the `main` of a training. A wrong setting or data set (`ValueError`), a full disk or another failure of
    the files (`OSError`), and a loss that is not a number (`FloatingPointError`) end the program with that sentence
    and exit code 1 instead of a traceback, which is still logged at level DEBUG. Of several processes the first one
    speaks for all, except about its files.
    """

    @functools.wraps(main)
    def program(argv: Sequence[str] | None = None) -> None:
        try:
            main(argv)
        except (OSError, ValueError, FloatingPointError) as error:
            logger.debug("The training failed.", exc_info=True)
            speaks = isinstance(error, OSError) or os.environ.get("RANK", "0") == "0"
            sys.exit(f"The training has stopped: {error}" if speaks else 1)

    return program
