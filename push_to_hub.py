"""Publishes a checkpoint or a token dataset: `python -m melspec_gpt.push_to_hub CHECKPOINT --repo_id user/name`."""

import argparse
import logging
import sys
from collections.abc import Sequence

from melspec_gpt.training.checkpoint_export import export_checkpoint
from melspec_gpt.training.hub_upload import HubRepository, UploadError
from melspec_gpt.training.model_card import CardOptions
from melspec_gpt.training.publishing import publish
from melspec_gpt.training.run_sampling import configure_output

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
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
