"""Which files of a published token dataset hold how many rows? A small file beside them says so."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from huggingface_hub import hf_hub_download

from melspec_gpt.training.sharded_rows import Shard

INDEX_NAME = "shards.json"


def write_index(folder: Path, rows: Mapping[str, Mapping[str, int]]) -> None:
    """
    Writes the index of the dataset in `folder`.

    Args:
        folder (`Path`): the dataset.
        rows (`Mapping[str, Mapping[str, int]]`): for each split, the files in their order and the rows in each.
    """
    (folder / INDEX_NAME).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def read_index(dataset_path: str | Path) -> dict[str, list[Shard]]:
    """
    The shards of each split.

    Args:
        dataset_path (`str` or `Path`): folder of an exported dataset, or its name on the Hub. All shards are then of
            the commit that the main branch is at now.

    Raises:
        FileNotFoundError: if the folder has no index.
        HfHubHTTPError: if the repository has none, or is not there.
        ValueError: if the index is broken.
    """
    is_local = Path(dataset_path).is_dir()
    if is_local:
        path = Path(dataset_path, INDEX_NAME)
    else:
        path = Path(hf_hub_download(str(dataset_path), INDEX_NAME, repo_type="dataset"))
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        pairs = {split: [(name, int(rows)) for name, rows in files.items()] for split, files in splits.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{INDEX_NAME} of {str(dataset_path)!r} is broken ({error}); publish it again.") from error
    if is_local:
        place = partial(_local_shard, path.parent)
    else:
        # The cache of the Hub keeps a file in a folder with the name of its commit.
        place = partial(Shard, repo_id=str(dataset_path), revision=path.parent.name)
    return {split: [place(name, rows) for name, rows in files] for split, files in pairs.items()}


def _local_shard(folder: Path, name: str, num_rows: int) -> Shard:
    return Shard(str(folder / name), num_rows)
