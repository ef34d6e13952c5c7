"""Publishes a checkpoint or a token dataset: `python -m melspec_gpt.push_to_hub CHECKPOINT --repo_id user/name`."""

import argparse
import dataclasses
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from melspec_gpt.training.checkpoint_export import export_checkpoint
from melspec_gpt.training.hub_upload import HubRepository, UploadError
from melspec_gpt.training.model_card import CardOptions
from melspec_gpt.training.run_sampling import configure_output

logger = logging.getLogger(__name__)


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
        ValueError: if `source` cannot be published, or `output_dir` is not free.
        UploadError: if the Hub cannot be reached or refuses.
    """
    if dry_run and output_dir is None:
        raise ValueError("`--dry_run` only writes a folder: say which one with `--output_dir`.")
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


def build_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = argparse.ArgumentParser(
        prog="push_to_hub",
        description="Publish a checkpoint (a GPT, a GPT-VAE or an audio tokenizer) on the Hub, with code, card and "
        "samples, so that it loads with PyTorch and Transformers alone; or publish a token dataset.",
    )
    parser.add_argument("checkpoint", nargs="?", help="folder of the checkpoint")
    parser.add_argument("--dataset", help="folder of a token dataset, instead of a checkpoint")
    parser.add_argument("--repo_id", required=True, help="repository on the Hub, such as user/name")
    parser.add_argument("--output_dir", help="keep what is uploaded in this folder (new, empty or an earlier export)")
    parser.add_argument("--dry_run", action="store_true", help="write --output_dir and stop before the network")
    parser.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    parser.add_argument("--commit_message", help="first line of the commit")
    parser.add_argument("--revision", help="branch to upload to (default: main)")
    parser.add_argument("--token", help="access token (default: that of `hf auth login`, or HF_TOKEN)")
    parser.add_argument("--license", help="licence of the weights or the dataset, such as apache-2.0, for the card")
    parser.add_argument("--dataset_name", help="recordings behind it, such as ESC-10, for the card")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of [`publish`]. What goes wrong ends it with a sentence and exit code 1."""
    parser = build_parser()
    given = parser.parse_args(argv)
    if (given.checkpoint is None) == (given.dataset is None):
        parser.error("give a checkpoint or --dataset, one of them.")
    configure_output()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    repository = HubRepository(
        repo_id=given.repo_id,
        repo_type="model" if given.dataset is None else "dataset",
        private=given.private,
        token=given.token,
        revision=given.revision,
    )
    options = CardOptions(repo_id=given.repo_id, license=given.license, dataset_name=given.dataset_name)
    places = {"output_dir": given.output_dir, "dry_run": given.dry_run, "commit_message": given.commit_message}
    try:
        if given.dataset is None:
            place = publish(export_checkpoint, given.checkpoint, repository, options, **places)
        else:
            # A checkpoint can be published without the package datasets.
            from melspec_gpt.training.dataset_export import export_dataset

            place = publish(export_dataset, given.dataset, repository, options, **places)
    except (OSError, UploadError, ValueError) as error:
        sys.exit(f"{parser.prog}: error: {error}")
    logger.info("Written to %s, nothing was uploaded." if given.dry_run else "Published: %s", place)


if __name__ == "__main__":
    main()
