"""How does the final model of a training get to the Hub, without being lost when the Hub fails?"""

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from melspec_gpt.training.arguments import RunArguments
from melspec_gpt.training.hub_upload import HubRepository, UploadError

logger = logging.getLogger(__name__)


@contextmanager
def published_at_end(arguments: RunArguments, is_main_process: bool) -> Iterator[None]:
    """
    Around a training up to the last file it writes: publishes `output_dir` after it if `push_to_hub` is set. The
    repository is created before it, so that who may not write finds out then.

    Args:
        arguments ([`RunArguments`]): settings.
        is_main_process (`bool`): whether this process is the one that publishes.

    Raises:
        SystemExit: if the repository cannot be created, or if the upload fails; the final model stays in `output_dir`.
    """
    if not (arguments.push_to_hub and is_main_process):
        yield
        return
    output_dir = Path(arguments.output_dir).resolve()
    name = output_dir.name if arguments.hub_model_id is None else arguments.hub_model_id
    repository = HubRepository(repo_id=name, private=arguments.hub_private_repo)
    try:
        # A training that publishes nothing does without the packages for the pictures of the card.
        from melspec_gpt.training.checkpoint_export import export_checkpoint
        from melspec_gpt.training.model_card import CardOptions
        from melspec_gpt.training.publishing import publish

        repo_id = repository.create()
    except (ImportError, UploadError) as error:
        sys.exit(f"The training has not started, because its model could not be published: {error}")
    yield
    try:
        address = publish(export_checkpoint, str(output_dir), repository, CardOptions(repo_id=repo_id))
    except (OSError, UploadError, ValueError) as error:
        command = ["python", "-m", "melspec_gpt.push_to_hub", str(output_dir), "--repo_id", repo_id]
        if arguments.hub_private_repo:
            command.append("--private")
        logger.error("The final model was not published: %s", error)
        logger.error("It is complete in %s. Publish it with: %s", output_dir, shlex.join(command))
        sys.exit(1)
    logger.info("Published: %s", address)
