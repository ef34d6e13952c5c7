"""How does a folder become a repository on the Hub, and what is said when that fails?"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, HTTPError

WHAT_TO_DO = {
    401: "you are not logged in, or the token is not valid. Run `hf auth login`, or set HF_TOKEN to a token with the "
    "right to write.",
    403: "the token may not write there. Use a token with the right to write, and a repository under your own name or "
    "that of an organization of yours.",
    404: "there is no such repository, or your token may not see it. Check its name and the token.",
}


class UploadError(RuntimeError):
    """Why something on the Hub failed, as a sentence for the user."""


@dataclass(frozen=True, kw_only=True)
class HubRepository:
    """
    A repository to publish to.

    Args:
        repo_id (`str`): its name, `user/name`, or `name` alone for one of the user's own.
        repo_type (`str`): `"model"` or `"dataset"`.
        private (`bool`, *optional*): whether a new repository is private; by default as its owner has it set.
        token (`str`, *optional*): access token, by default the one of `hf auth login` or HF_TOKEN.
        revision (`str`, *optional*): branch to upload to, by default the main one.
    """

    repo_id: str
    repo_type: str = "model"
    private: bool | None = None
    token: str | None = None
    revision: str | None = None

    def create(self) -> str:
        """
        Creates the repository and the branch where they do not exist, and returns the full name, `user/name`.

        Raises:
            UploadError: if the Hub cannot be reached or refuses.
        """
        api, repo_type = HfApi(token=self.token), self.repo_type
        with _explained(f"The repository {self.repo_id} could not be created"):
            repo_id = api.create_repo(self.repo_id, repo_type=repo_type, private=self.private, exist_ok=True).repo_id
            if self.revision is not None:
                api.create_branch(repo_id, branch=self.revision, repo_type=repo_type, exist_ok=True)
        return repo_id

    def upload(self, folder: Path, repo_id: str, commit_message: str | None = None) -> str:
        """
        Uploads the content of a folder. An upload that was interrupted is completed by another call: what the Hub has
        already is not sent again.

        Args:
            folder (`Path`): what to upload.
            repo_id (`str`): what [`create`] returned.
            commit_message (`str`, *optional*): first line of the commit.

        Returns:
            `str`: address of the repository.

        Raises:
            UploadError: if the Hub cannot be reached or refuses.
        """
        with _explained(f"{repo_id} could not be uploaded"):
            HfApi(token=self.token).upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                repo_type=self.repo_type,
                revision=self.revision,
                commit_message=commit_message,
            )
        prefix = constants.REPO_TYPES_URL_PREFIXES.get(self.repo_type, "")
        return f"{constants.ENDPOINT}/{prefix}{repo_id}"


@contextmanager
def _explained(what_failed: str) -> Iterator[None]:
    try:
        yield
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise UploadError(f"{what_failed}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The cause of a failure and its remedy."""
    while error.__cause__ is not None and not isinstance(error, HfHubHTTPError):
        error = error.__cause__
    message = " ".join(str(error).split())
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return f"the Hub answered {status}: {WHAT_TO_DO.get(status, error.server_message or message)}"
    if isinstance(error, ValueError):
        return message
    return (
        f"the connection to {constants.ENDPOINT} failed ({message or type(error).__name__}). Publish again "
        "when it is back: what has arrived is not sent twice."
    )
