"""Which token id does a code, a class name or "no class" have, and what does a sentence of ids read like?"""

import difflib
import json
import re
import unicodedata
from pathlib import Path

from transformers import PreTrainedTokenizer

from ..configuration.strict_fields import refuse_misspelled
from ..modeling.portable_code import PortableCodeMixin

NULL_TOKEN = "<null>"
ARGUMENTS = ("codebook_size", "class_names", "labels_file")
CODE_TOKEN = re.compile(r"<\d+>")
NAMES_IN_MESSAGE = 20


class MelCodeTokenizer(PortableCodeMixin, PreTrainedTokenizer):
    r"""
    Vocabulary of [`MelGPTForCausalLM`]: ids `0` to `codebook_size - 1` are codes, written `<0>`, `<1>`, ...; then one
    id for each class name, in the order given; the last id is the null class, written `<null>`, which stands for "no
    class" and is both the beginning-of-sentence and the padding token.

    A class name is one token, however many words it has: `"Dog bark"` is one id. A sentence reads
    `"Dog bark <17> <3> <99>"`, and encoding that text gives the same ids again. A name that differs from a known one
    in upper and lower case only is understood.

    Args:
        codebook_size (`int`): number of different codes.
        class_names (`list[str]`, *optional*): names of the classes; an empty list for a model without classes.
        labels_file (`str`, *optional*): JSON file with the list of class names, instead of `class_names`.

    Raises:
        ValueError: if `codebook_size` is not a positive integer, if not exactly one of `class_names` and `labels_file`
            is given or the name of one of the three is misspelled, if the names collide with each other or with the
            tokens of codes, or if `bos_token` or `pad_token` is another than the null class.
    """

    vocab_files_names = {"labels_file": "labels.json"}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(
        self,
        codebook_size: int = 128,
        class_names: list[str] | None = None,
        labels_file: str | None = None,
        **kwargs,
    ):
        refuse_misspelled("MelCodeTokenizer has no argument", kwargs, ARGUMENTS)
        if isinstance(codebook_size, bool) or not isinstance(codebook_size, int) or codebook_size < 1:
            raise ValueError(f"`codebook_size` is {codebook_size!r}; it has to be an integer, 1 or more.")
        if class_names is None and labels_file is None:
            raise ValueError(
                "There are no class names: give `class_names` or a `labels_file`; a saved tokenizer has its names in "
                "the file labels.json."
            )
        if class_names is not None and labels_file is not None:
            raise ValueError("There are `class_names` and a `labels_file`: give one of them.")
        names = _read_labels(labels_file) if class_names is None else class_names
        self.codebook_size = codebook_size
        self._class_names = _check_class_names(names)
        tokens = [f"<{code}>" for code in range(codebook_size)] + self._class_names + [NULL_TOKEN]
        self._id_to_token = tokens
        self._token_to_id = {token: index for index, token in enumerate(tokens)}
        for name in ("bos_token", "pad_token"):
            given = str(kwargs.setdefault(name, NULL_TOKEN))
            if given != NULL_TOKEN:
                raise ValueError(f"`{name}` is {given!r}; it is always {NULL_TOKEN!r}, the null class: leave it out.")
        kwargs["special_tokens_pattern"] = "none"
        # The clean-up would remove blanks in front of punctuation, which may be part of a name.
        super().__init__(codebook_size=codebook_size, **{"clean_up_tokenization_spaces": False, **kwargs})

    @property
    def class_names(self) -> list[str]:
        """The class names in the order of their ids: name `i` has the id `codebook_size + i`."""
        return list(self._class_names)

    @property
    def vocab_size(self) -> int:
        """Number of ids: codes, classes and the null class."""
        return len(self._id_to_token)

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id, added ones included."""
        return self._token_to_id | self.added_tokens_encoder

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        """Writes the class names as a JSON list to `labels.json` in `save_directory` and returns the file's path."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        path = Path(save_directory, prefix + self.vocab_files_names["labels_file"])
        path.write_text(json.dumps(self._class_names, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return (str(path),)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Tokens to text, with blanks between them."""
        return " ".join(tokens)

    def _tokenize(self, text: str, **kwargs) -> list[str]:
        pieces = (piece.strip() for piece in re.split(f"({CODE_TOKEN.pattern})", text))
        return [self._known_token(piece) for piece in pieces if piece]

    def _convert_token_to_id(self, token: str) -> int:
        return self._token_to_id[self._known_token(token)]

    def _convert_id_to_token(self, index: int) -> str:
        if not 0 <= index < self.vocab_size:
            raise ValueError(f"There is no token with the id {index}; the ids are 0 to {self.vocab_size - 1}.")
        return self._id_to_token[index]

    def _known_token(self, text: str) -> str:
        """The token that `text` means: itself, or the only class name that equals it up to case."""
        if text in self._token_to_id:
            return text
        if CODE_TOKEN.fullmatch(text):
            raise ValueError(f"{text} is not a code; the codes are <0> to <{self.codebook_size - 1}>.")
        candidates = [name for name in self._class_names if _fold(name) == _fold(text)]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise ValueError(f"The class name {text!r} is ambiguous; write it as one of {_quoted(candidates)}.")
        raise ValueError(f"Unknown class name {text!r}. {self._known_names(text)}")

    def _known_names(self, text: str) -> str:
        """A sentence that lists the class names, those most like `text` first."""
        if not self._class_names:
            return "This tokenizer has no classes."
        folded = {_fold(name): name for name in self._class_names}
        close = [folded[match] for match in difflib.get_close_matches(_fold(text), folded, n=5)]
        names = close + [name for name in self._class_names if name not in close]
        shown = _quoted(names[:NAMES_IN_MESSAGE])
        hint = f"Did you mean {close[0]!r}? " if close else ""
        if len(names) > NAMES_IN_MESSAGE:
            return f"{hint}Of {len(names)} classes, the nearest are {shown}; `class_names` has all of them."
        return f"{hint}The known ones are {shown}."


def _fold(text: str) -> str:
    """`text` without differences of case or of Unicode composition."""
    return unicodedata.normalize("NFC", text.strip()).casefold()


def _quoted(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _read_labels(labels_file: str) -> list[str]:
    """Class names from a JSON file that holds them as a list."""
    try:
        return json.loads(Path(labels_file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"`labels_file` {labels_file} cannot be read as JSON in UTF-8: {error}") from error


def _check_class_names(names: list[str]) -> list[str]:
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"The class names have to be a list of strings, not {names!r}.")
    for name in names:
        if not name.strip():
            raise ValueError(f"The class name {name!r} is empty; every class needs a name.")
        if name != name.strip():
            raise ValueError(f"The class name {name!r} begins or ends with a blank; remove it.")
        if CODE_TOKEN.search(name) or NULL_TOKEN in name.casefold():
            raise ValueError(f"The class name {name!r} holds what reads as a code or as {NULL_TOKEN}; rename it.")
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ValueError(f"The class names {_quoted(duplicates)} occur more than once; every class needs its own.")
    return list(names)
