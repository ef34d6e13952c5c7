"""Which settings does a training run have, and how do a recipe file and the command line set them?"""

import argparse
import dataclasses
import difflib
import functools
import json
import math
import os
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

RECIPES_FOLDER = Path(__file__).parent / "recipes"
SCHEDULES = ("cosine", "linear", "constant", "constant_with_warmup")

ArgumentsType = TypeVar("ArgumentsType", bound="RunArguments")


def setting(default: Any = dataclasses.MISSING, *, help: str) -> Any:
    """A dataclass field with a help text; without a default it has to be given."""
    return field(default=default, metadata={"help": help})


@dataclass(kw_only=True)
class RunArguments:
    """
    Settings that every training has. A stage adds its own by inheriting. The length of a run is set by
    `max_train_steps` or `num_train_epochs` (the steps win if both are given), or by `max_train_minutes`, alone or on
    top of one of them: then the run ends at whichever comes first. Precision, number of processes and sharding are
    settings of `accelerate launch`.

    Raises:
        ValueError: if a setting has the wrong type or an impossible value.
    """

    dataset_path: str = setting(help="Folder of the dataset (written by one of the builders), or its name on the Hub.")
    output_dir: str = setting(help="Folder of the final model, of checkpoints/, best/ and logs/.")
    model_config: str = setting(help="Sizes of the model: a config.json, or the name of a preset such as tiny.")
    model_overrides: dict | None = setting(
        None, help="Config fields that differ from --model_config, as JSON: '{\"residual_dropout\": 0.2}'."
    )
    num_train_epochs: float | None = setting(None, help="Passes over the training split.")
    max_train_steps: int | None = setting(None, help="Optimizer steps; replaces --num_train_epochs.")
    max_train_minutes: float | None = setting(
        None,
        help="Stop after so many minutes, validation and checkpoints included. The learning rate then follows the "
        "share of the time or of the steps that is used up, whichever is further, so that it ends with the run. A run "
        "that the clock decides about is resumed, but cannot be repeated bit for bit.",
    )
    per_device_train_batch_size: int = setting(8, help="Clips in a batch of one process.")
    global_batch_size: int | None = setting(
        None,
        help="Clips of one optimizer step. Given, the batch of one process is this number divided by the number of "
        "processes and by --gradient_accumulation_steps, in place of --per_device_train_batch_size.",
    )
    per_device_eval_batch_size: int = setting(8, help="Clips in a validation batch of one process.")
    gradient_accumulation_steps: int = setting(1, help="Batches whose gradients are added up for one step.")
    learning_rate: float = setting(1e-4, help="Highest learning rate.")
    weight_decay: float = setting(0.01, help="Weight decay; acts on the matrices of linear and convolution layers.")
    lr_scheduler_type: str = setting("cosine", help=f"Shape of the learning rate: {', '.join(SCHEDULES)}.")
    warmup_steps: int = setting(0, help="Steps in which the learning rate rises from 0.")
    max_grad_norm: float = setting(1.0, help="Longest gradient; a longer one is scaled down. 0 turns that off.")
    ema_decay: float = setting(
        0.0,
        help="Decay, per step, of a moving average of the weights, which is then what is validated, shown and saved "
        "as best and final model. It starts short: at most (1 + step) / (10 + step). 0 keeps no average.",
    )
    gradient_checkpointing: bool = setting(False, help="Compute activations twice instead of keeping them.")
    torch_compile: bool = setting(False, help="Compile the model: slow first steps, then faster ones.")
    torch_compile_backend: str = setting("inductor", help="Backend of --torch_compile.")
    seed: int = setting(0, help="Seed of the initial weights, the order of the data and all other random choices.")
    logging_steps: int = setting(50, help="Steps between two log entries.")
    eval_steps: int = setting(500, help="Steps between two validations; 0 validates only at the end.")
    media_steps: int | None = setting(
        None,
        help="Steps between two entries of pictures and sounds in TensorBoard; they are made at a validation. 0 makes "
        "none. Null: at the first validation, and then as often as they take at most 5 % of the time.",
    )
    early_stopping_patience: int | None = setting(
        None, help="Stop after so many validations in a row without improvement. Null: never."
    )
    early_stopping_threshold: float = setting(
        0.0, help="How far the validation loss has to fall below the lowest one so far to be an improvement."
    )
    checkpointing_steps: int = setting(
        500, help="Steps between two checkpoints; 0 writes none but that of a run ended by SIGTERM or Ctrl-C."
    )
    checkpoints_total_limit: int | None = setting(2, help="Checkpoints to keep; null keeps all.")
    resume_from_checkpoint: str | None = setting(
        None, help='A checkpoint folder, or "latest" for the newest of --output_dir.'
    )
    load_best_model_at_end: bool = setting(
        False, help="Make the weights with the lowest validation loss the final model, instead of the last ones."
    )
    dataloader_num_workers: int = setting(0, help="Processes that load data; 0 loads in the training process.")
    streaming: bool = setting(
        False,
        help="Read the training split shard by shard, each process its share: for data that are too many to be copied "
        "to every machine.",
    )
    report_to: str = setting("tensorboard", help='Tracker known to accelerate, or "none".')
    push_to_hub: bool = setting(
        False,
        help="Publish the final model on the Hub, with the token of `hf auth login` or HF_TOKEN. The repository is "
        "created before the training, so that a missing right shows at once.",
    )
    hub_model_id: str | None = setting(
        None, help="Repository of --push_to_hub, such as user/name. Null: one of yours with the name of --output_dir."
    )
    hub_private_repo: bool | None = setting(None, help="Make a new repository private. Null: as its owner has it set.")

    def __post_init__(self):
        for name, hint in typing.get_type_hints(type(self)).items():
            value = _checked_type(name, getattr(self, name), hint)
            # A name on the Hub does not begin with "~".
            setattr(self, name, os.path.expanduser(value) if isinstance(value, str) else value)
        self.validate()

    def validate(self):
        """Refuses impossible values; a stage with settings of its own extends this."""
        self.check_range(1, "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")
        self.check_range(1, "logging_steps", "checkpoints_total_limit", "max_train_steps", "global_batch_size")
        self.check_range(1, "early_stopping_patience")
        self.check_range(0, "early_stopping_threshold", "media_steps")
        self.check_range(0, "ema_decay", maximum=1)
        self.check_range(0, "learning_rate", "weight_decay", "warmup_steps", "max_grad_norm", "dataloader_num_workers")
        self.check_range(0, "num_train_epochs", "max_train_minutes", "eval_steps", "checkpointing_steps", "seed")
        if self.lr_scheduler_type not in SCHEDULES:
            raise ValueError(f"`lr_scheduler_type` is {self.lr_scheduler_type!r}; choose one of {list(SCHEDULES)}.")
        if self.lr_scheduler_type == "constant" and self.warmup_steps:
            raise ValueError(
                f'`warmup_steps` is {self.warmup_steps}, but `lr_scheduler_type` "constant" has no warm-up; choose '
                '"constant_with_warmup".'
            )
        if self.num_train_epochs is None and self.max_train_steps is None and self.max_train_minutes is None:
            raise ValueError("Give `num_train_epochs`, `max_train_steps` or `max_train_minutes`.")
        if self.early_stopping_patience is not None and not self.eval_steps:
            raise ValueError(
                f"`early_stopping_patience` is {self.early_stopping_patience}, but `eval_steps` is 0: nothing is "
                "validated on the way."
            )

    def check_range(self, minimum: float, *names: str, maximum: float = float("inf")):
        """
        Raises:
            ValueError: if one of the settings called `names` is outside [`minimum`, `maximum`].
        """
        for name in names:
            value = getattr(self, name)
            if value is not None and not (minimum <= value <= maximum and math.isfinite(value)):
                bound = f"from {minimum} to {maximum}" if maximum < float("inf") else f"{minimum} or more, and finite"
                raise ValueError(f"`{name}` is {value}; it has to be {bound}.")

    @property
    def max_train_seconds(self) -> float | None:
        """`max_train_minutes` in seconds."""
        return None if self.max_train_minutes is None else 60 * self.max_train_minutes

    def to_dict(self) -> dict[str, Any]:
        """All settings, for logs and summaries."""
        return dataclasses.asdict(self)


def parse_arguments(arguments_class: type[ArgumentsType], argv: list[str] | None = None) -> ArgumentsType:
    """
    Settings from an optional recipe (a JSON object, first argument) and `--name value` overrides, which win.

    A wrong or missing setting ends the program with a message on standard error, as argparse does it.

    Args:
        arguments_class: dataclass of the stage, a subclass of [`RunArguments`].
        argv: arguments; by default those of the command line.
    """
    parser = _parser(arguments_class)
    given, unknown = parser.parse_known_args(argv)
    names = [item.name for item in dataclasses.fields(arguments_class)]
    if unknown:
        parser.error(f"unknown argument {unknown[0]}{closest(unknown[0], [f'--{name}' for name in names])}")
    overrides = vars(given)
    recipe = overrides.pop("recipe")
    try:
        values = (read_recipe(recipe, names) if recipe else {}) | overrides
        required = [item.name for item in dataclasses.fields(arguments_class) if item.default is dataclasses.MISSING]
        missing = [f"--{name}" for name in required if name not in values]
        if missing:
            raise ValueError(f"{', '.join(missing)} missing: give it on the command line or in the recipe.")
        return arguments_class(**values)
    except ValueError as error:
        parser.error(str(error))


def read_recipe(recipe: str, names: list[str]) -> dict[str, Any]:
    """
    The settings in a recipe file.

    Args:
        recipe: path of a JSON file, or the name of a recipe of this package.
        names: settings that exist.

    Raises:
        ValueError: if there is no such file, or if it holds anything but known settings.
    """
    values = read_json_object(find_json(recipe, RECIPES_FOLDER, "recipe"))
    for name in values:
        if name not in names:
            raise ValueError(f"the recipe {recipe} has an unknown key {name!r}{closest(name, names)}")
    return values


def find_json(name_or_path: str, folder: Path, kind: str, file_prefix: str = "") -> Path:
    """
    Path of a JSON file that is given as a path, or by the name of a file that comes with this package.

    Args:
        name_or_path: path, or name.
        folder: folder of the named files.
        kind: what the file is, for the message.
        file_prefix: what comes before the name in the file's name.

    Raises:
        ValueError: if it is neither.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    named = {file.stem.removeprefix(file_prefix): file for file in sorted(folder.glob(f"{file_prefix}*.json"))}
    if name_or_path not in named:
        raise ValueError(f"the {kind} {name_or_path!r} is neither a file nor one of {list(named)}.")
    return named[name_or_path]


def read_json_object(path: Path) -> dict[str, Any]:
    """
    Raises:
        ValueError: if the file is not JSON, or not an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}; expected a JSON object.")
    return values


def closest(name: str, known: list[str]) -> str:
    """ ", did you mean ...?" if one of `known` looks like `name`."""
    matches = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {matches[0]}?" if matches else f"; known are {', '.join(known)}."


def _parser(arguments_class: type[RunArguments]) -> argparse.ArgumentParser:
    """Knows every field; leaves out of its result what is not given, so that a recipe's value stays."""
    parser = argparse.ArgumentParser(allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("recipe", nargs="?", default=None, help="JSON file of settings, or the name of a recipe.")
    hints = typing.get_type_hints(arguments_class)
    for item in dataclasses.fields(arguments_class):
        text = item.metadata["help"].replace("%", "%%")
        if item.default is not dataclasses.MISSING:
            text += f" Default: {item.default}."
        kind, *others = _allowed_types(hints[item.name])
        options = {"nargs": "?", "const": True} if kind is bool else {}
        reader = {bool: _read_bool, dict: _read_object}.get(kind, kind)
        if types.NoneType in others:
            reader = _or_null(reader)
        parser.add_argument(f"--{item.name}", type=reader, metavar=kind.__name__.upper(), help=text, **options)
    return parser


def _or_null(reader: Callable[[str], Any]) -> Callable[[str], Any]:
    """Reads "null" as `None`, as in a recipe: so that a recipe's value can be taken back."""

    @functools.wraps(reader)
    def read(text: str) -> Any:
        return None if text == "null" else reader(text)

    return read


def _read_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _read_object(text: str) -> dict:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object: {error}") from error


def _allowed_types(hint: Any) -> tuple[type, ...]:
    """`int | None` -> (int, NoneType)."""
    return typing.get_args(hint) or (hint,)


def _checked_type(name: str, value: Any, hint: Any) -> Any:
    """`value` itself, an int as float where a float is meant; ValueError for any other type than the field has."""
    allowed = _allowed_types(hint)
    if float in allowed and type(value) is int:
        return float(value)
    if type(value) not in allowed:
        expected = " or ".join("null" if kind is types.NoneType else kind.__name__ for kind in allowed)
        raise ValueError(f"`{name}` is {value!r}; expected {expected}.")
    return value
