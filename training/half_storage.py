"""Half the file size: `python -m melspec_gpt.training.half_storage CHECKPOINT` stores its weights as float16."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers.utils import CONFIG_NAME


def store_in_half(checkpoint: str | Path) -> list[Path]:
    """
    Rewrites the weights of a checkpoint, and of the parts in its subfolders, as float16. The config goes on saying
    float32, so that `from_pretrained` computes in that; only the weights are rounded, to 11 significant bits.

    Args:
        checkpoint (`str` or `Path`): the folder.

    Returns:
        `list[Path]`: the files that were rewritten.

    Raises:
        ValueError: if the folder holds no weights, if a config does not name float32, or if a weight is too large for
            float16. Then nothing is changed.
    """
    files = sorted(Path(checkpoint).rglob("*.safetensors"))
    if not files:
        raise ValueError(f"`checkpoint` {str(checkpoint)!r} holds no .safetensors file.")
    rewritten = {}
    for file in files:
        _check_config(file.parent / CONFIG_NAME)
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata()
        rewritten[file] = ({name: _to_half(file, name, value) for name, value in load_file(file).items()}, metadata)
    for file, (weights, metadata) in rewritten.items():
        temporary = file.with_suffix(".half")
        save_file(weights, temporary, metadata=metadata)
        temporary.replace(file)
    return files


def _check_config(path: Path) -> None:
    dtype = json.loads(path.read_text(encoding="utf-8")).get("dtype") if path.is_file() else None
    if dtype != "float32":
        raise ValueError(f"{path} has the dtype {dtype!r}; only weights that load as float32 can be stored in half.")


def _to_half(file: Path, name: str, value: torch.Tensor) -> torch.Tensor:
    if value.dtype != torch.float32:
        return value
    half = value.half()
    if not half.isfinite().all():
        raise ValueError(f"{name} in {file} holds values up to {value.abs().max():.3g}, too large for float16.")
    return half


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`store_in_half`]."""
    parser = argparse.ArgumentParser(description="Store the weights of a checkpoint as float16, in place.")
    parser.add_argument("checkpoint", help="folder of the checkpoint")
    options = parser.parse_args(argv)
    try:
        files = store_in_half(options.checkpoint)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for file in files:
        print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
