"""How are the original's files read without running anything that they contain?"""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
import yaml

WEIGHTS_FILE = "best_netG.pt"
ARGUMENTS_FILE = "args.yml"
# The real one has 500 bytes.
MAXIMUM_ARGUMENTS_BYTES = 2**20
# What DataParallel puts in front of every name.
PARALLEL_PREFIX = "module."
REFUSED_GLOBAL = re.compile(r"GLOBAL (\S+) (?:was not|whose module)")


class InertObject:
    """Stands in for an object that a training program left beside the weights: takes everything and does nothing."""

    def __init__(self, *args):
        pass

    def __setstate__(self, state):
        pass


# Names that training checkpoints mention beside the weights, none of which is imported or run. Every other name that
# is not part of PyTorch's own list is refused.
STAND_INS = {
    "argparse.Namespace": InertObject,
    "lightning_fabric.utilities.data.AttributeDict": dict,
    "numpy._core.multiarray.scalar": InertObject,
    "numpy.core.multiarray.scalar": InertObject,
    "numpy.dtype": InertObject,
    "pathlib.PosixPath": InertObject,
    "pathlib.WindowsPath": InertObject,
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping": InertObject,
    "pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor": InertObject,
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint": InertObject,
    "pytorch_lightning.utilities.parsing.AttributeDict": dict,
}


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """
    The state dict in a file that `torch.save` wrote: the file's own content, or what it holds as `"state_dict"`, as
    Lightning checkpoints do. Of an uncompressed file only the tensors that are used later are read from the disk.

    Args:
        path (`str` or `Path`): the file.

    Returns:
        `dict[str, torch.Tensor]`: tensors on the CPU by their names in the file, without the `module.` that
        DataParallel puts in front of all of them.

    Raises:
        ValueError: if the file is damaged, names classes or functions beyond PyTorch's and [`STAND_INS`], or holds
            anything but tensors with names.
        OSError: if the file cannot be opened.
    """
    path = existing_file(path)
    content = _load(path)
    weights = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(weights, dict) or not weights:
        raise ValueError(f"{str(path)!r} holds no state dict, a mapping of names to tensors; it is no checkpoint.")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ValueError(
                f"{str(path)!r} holds {name!r} of type {type(value).__name__} among the weights; a state dict has "
                "names and tensors only."
            )
    if all(name.startswith(PARALLEL_PREFIX) for name in weights):
        return {name.removeprefix(PARALLEL_PREFIX): value for name, value in weights.items()}
    return weights


def read_arguments(path: str | Path) -> dict[str, Any]:
    """
    The settings in an `args.yml` that PyYAML dumped from a Python object. Tags such as `!!python/object` are skipped:
    what they mark is read as a plain mapping, list or text.

    Args:
        path (`str` or `Path`): the file.

    Raises:
        ValueError: if the file is not such YAML.
        OSError: if the file cannot be opened.
    """
    path = existing_file(path)
    if path.stat().st_size > MAXIMUM_ARGUMENTS_BYTES:
        raise ValueError(f"{str(path)!r} is larger than {MAXIMUM_ARGUMENTS_BYTES} bytes; it is no list of settings.")
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), Loader=_PlainYamlLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as YAML in UTF-8; is it the {ARGUMENTS_FILE}?") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{str(path)!r} holds no settings, a mapping of names to values.")
    return settings


def find_melgan_files(path: str | Path) -> tuple[Path, Path]:
    """
    The weights and the settings of a MelGAN generator.

    Args:
        path (`str` or `Path`): the folder with `best_netG.pt` and `args.yml`, or the file with the weights, with
            `args.yml` beside it.

    Raises:
        ValueError: if one of the two is not there.
    """
    path = Path(path)
    weights = path / WEIGHTS_FILE if path.is_dir() else path
    return existing_file(weights), existing_file(weights.with_name(ARGUMENTS_FILE))


def existing_file(path: str | Path) -> Path:
    """
    `path` itself.

    Raises:
        ValueError: if it is no ordinary file. A pipe or a device could be read from without end.
        OSError: if it cannot be opened.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder; give the file itself.")
    if not path.is_file():
        raise ValueError(f"There is no file {str(path)!r}.")
    path.open("rb").close()
    return path


def _load(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in STAND_INS.items()]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_can_be_mapped(path))
    except Exception as error:  # what a damaged or forged file makes the reader raise cannot be listed
        refused = REFUSED_GLOBAL.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if refused:
            raise ValueError(
                f"{str(path)!r} asks for {refused[1]!r}, which is not needed for weights; nothing of it was run, and "
                "the file is refused."
            ) from error
        raise ValueError(
            f"{str(path)!r} is damaged, or no file that torch.save wrote ({type(error).__name__}); fetch it again."
        ) from error


def _can_be_mapped(path: Path) -> bool:
    """Whether the tensors lie in the file as they are, in an archive without compression."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())


class _PlainYamlLoader(yaml.SafeLoader):
    """The safe loader, which in addition reads what a Python tag marks as if the tag were not there."""

    def flatten_mapping(self, node: yaml.MappingNode):
        """Leaves `<<` alone: merging mappings into each other makes a small file large."""


def _construct_plainly(loader: _PlainYamlLoader, tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


_PlainYamlLoader.add_multi_constructor("tag:yaml.org,2002:python/", _construct_plainly)
