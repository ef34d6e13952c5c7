"""How does a checkpoint or a dataset get from its folder to the Hub?"""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

from huggingface_hub.utils import validate_repo_id

from melspec_gpt.training.hub_upload import HubRepository
from melspec_gpt.training.model_card import CardOptions


def publish(
    export: Callable[[str, Path, CardOptions], None],
    source: str,
    repository: HubRepository,
    options: CardOptions,
    *,
    output_dir: str | None = None,
    dry_run: bool = False,
    commit_message: str | None = None,
) -> str:
    """
    Makes a folder that stands alone and uploads it.

    Args:
        export: `(source, folder, options) -> None`, writes what is to be published into the folder.
        source (`str`): checkpoint or dataset.
        repository ([`HubRepository`]): where it goes.
        options ([`CardOptions`]): further facts for the card.
        output_dir (`str`, *optional*): where the folder is to stay; by default it is temporary.
        dry_run (`bool`): whether to leave it at the folder: the network is not used.
        commit_message (`str`, *optional*): first line of the commit.

    Returns:
        `str`: address of the repository, or the folder of a dry run.

    Raises:
        ValueError: if `source` cannot be published, if the repository's name is impossible, or `output_dir` is not
            free.
        UploadError: if the Hub cannot be reached or refuses.
    """
    if dry_run and output_dir is None:
        raise ValueError("`--dry_run` only writes a folder: say which one with `--output_dir`.")
    try:
        validate_repo_id(options.repo_id)
    except ValueError as error:
        raise ValueError(f"`--repo_id` {options.repo_id!r} is no name of a repository: {error}") from error
    target = None if output_dir is None else Path(output_dir).expanduser().resolve()
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
    # Who may not write finds out before the work is done.
    repo_id = options.repo_id if dry_run else repository.create()
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target and target.parent) as temporary:
        folder = Path(temporary, "export")
        folder.mkdir()
        export(source, folder, dataclasses.replace(options, repo_id=repo_id))
        if target is not None:
            move_files(folder, target)
            folder = target
        return str(folder) if dry_run else repository.upload(folder, repo_id, commit_message)


def move_files(folder: Path, target: Path) -> None:
    """
    Moves all files to a folder that is new, empty or an earlier export, of which every file is replaced.

    Raises:
        ValueError: if `target` holds other files, which would be published with it.
    """
    if target.is_file():
        raise ValueError(f"`--output_dir` {str(target)!r} is a file; give a folder.")
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    existing = {path.relative_to(target) for path in target.rglob("*") if path.is_file()}
    others = sorted(map(str, existing - files))
    if others:
        raise ValueError(
            f"`--output_dir` {str(target)!r} holds {len(others)} files that are not part of the export, such as "
            f"{others[0]!r}, and would be published with it; choose a new folder."
        )
    for file in sorted(files):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).replace(target / file)
