"""In which folder do the clips of a class lie, if its name may hold anything?"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

# What leads elsewhere, or cannot be in a file name on some system.
UNSAFE_CHARACTERS = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|]')
LEADING_DOTS = re.compile(r"^\.+")
# Four bytes each in UTF-8, they stay below the 255 bytes that file systems allow.
MAX_CHARACTERS = 60


def folder_names(class_names: Sequence[str], reserved: Iterable[str] = ()) -> dict[str, str]:
    """
    A folder name for each class name: the name itself, with `_` for what a folder name cannot hold. Names that would
    meet on a file system without upper and lower case get a number.

    Args:
        class_names (`Sequence[str]`): all classes of a model, so that a class always gets the same folder.
        reserved (`Iterable[str]`): names that no folder may have.

    Returns:
        `dict[str, str]`: class name to folder name, in the same order.
    """
    taken = {_compared(name) for name in reserved}
    folders = {}
    for name in class_names:
        safe = folder = _safe(name)
        number = 1
        while _compared(folder) in taken:
            number += 1
            folder = f"{safe} ({number})"
        taken.add(_compared(folder))
        folders[name] = folder
    return folders


def _safe(name: str) -> str:
    text = UNSAFE_CHARACTERS.sub("_", unicodedata.normalize("NFC", name))
    # A name in dots is a hidden folder or the folder above; some systems drop blanks and dots at the end.
    return LEADING_DOTS.sub("_", text)[:MAX_CHARACTERS].rstrip(" .") or "_"


def _compared(folder: str) -> str:
    return unicodedata.normalize("NFC", folder.casefold())
