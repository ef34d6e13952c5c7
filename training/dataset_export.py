"""How does a token dataset become a folder for the Hub? Parquet files, its reports and a card."""

import json
import shutil
from pathlib import Path

from datasets import Dataset
from huggingface_hub import DatasetCardData

from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.built_dataset import REPORT_NAME, class_names, load_built_dataset
from melspec_gpt.training.model_card import CARD_NAME, CardOptions, join_card, render
from melspec_gpt.training.shard_index import INDEX_NAME, write_index
from melspec_gpt.training.sharded_rows import PARQUET, no_progress_bars

EXTRACTOR_NAME = "preprocessor_config.json"
# A few megabytes of codes: small enough to be fetched while a training waits, large enough that files stay few.
SHARD_ROWS = 16_384
ROW_GROUP_ROWS = 1_024
TAGS = ["audio", "melspec_gpt", "sound-effects", "vector-quantization"]


def export_dataset(dataset: str | Path, folder: Path, options: CardOptions) -> None:
    """
    Writes `data/<split>-00000-of-00001.parquet` (more files where there are many rows), their index, the files that
    describe the codes, and the card.

    Args:
        dataset (`str` or `Path`): token dataset, as datasets_scripts.token_dataset writes it.
        folder (`Path`): existing folder to write into.
        options ([`CardOptions`]): what the dataset cannot tell.

    Raises:
        ValueError: if `dataset` is no token dataset.
    """
    splits = load_built_dataset(dataset, ["id", "label", "codes"]).with_format(None)
    report_path = Path(dataset, REPORT_NAME)
    if not report_path.is_file() or not Path(dataset, EXTRACTOR_NAME).is_file():
        raise ValueError(
            f"`dataset` {str(dataset)!r} has no {REPORT_NAME} and {EXTRACTOR_NAME}; give a folder that "
            "datasets_scripts.token_dataset wrote."
        )
    report = json.loads(report_path.read_text(encoding="utf-8"))
    (folder / "data").mkdir()
    shards = {split: write_shards(rows, split, folder, SHARD_ROWS) for split, rows in splits.items()}
    write_index(folder, shards)
    for name in (REPORT_NAME, EXTRACTOR_NAME):
        shutil.copy(Path(dataset, name), folder / name)
    extractor = MelFeatureExtractor.from_pretrained(dataset)
    facts = {
        "name": options.repo_id.rpartition("/")[2],
        "repo_id": options.repo_id,
        "license": options.license,
        "dataset_name": options.dataset_name,
        "rows": f"{sum(report['rows'].values())} rows",
        "num_codes": report["num_codes"],
        "last_code": report["codebook_size"] - 1,
        "num_views": report["num_views"],
        "clip_seconds": f"{extractor.num_samples / extractor.sampling_rate:g} seconds",
        "class_names": class_names(splits),
        "num_files": sum(map(len, shards.values())),
        "index_name": INDEX_NAME,
        "splits": [
            {"name": split, "rows": rows, "codes": report["different_codes"][split]}
            for split, rows in report["rows"].items()
        ],
    }
    data = DatasetCardData(
        license=options.license,
        pretty_name=facts["name"],
        task_categories=["text-to-audio"],
        tags=TAGS,
        configs=[
            {
                "config_name": "default",
                # With the number of files, so that those of an earlier upload are not among them.
                "data_files": [
                    {"split": split, "path": f"data/{split}-*-of-{len(files):05d}{PARQUET}"}
                    for split, files in shards.items()
                ],
            }
        ],
    )
    (folder / CARD_NAME).write_text(join_card(data.to_dict(), render("token_dataset", facts)), encoding="utf-8")


def write_shards(rows: Dataset, split: str, folder: Path, shard_rows: int) -> dict[str, int]:
    """
    Writes a split in Parquet files of at most `shard_rows` rows, all of nearly one size.

    Args:
        rows (`Dataset`): the split.
        split (`str`): its name.
        folder (`Path`): folder of the dataset, with the folder `data` in it.
        shard_rows (`int`): most rows of a file.

    Returns:
        `dict[str, int]`: the files in their order, and the rows in each.
    """
    count = max(1, -(-len(rows) // shard_rows))
    written = {}
    with no_progress_bars():
        for index in range(count):
            name = f"data/{split}-{index:05d}-of-{count:05d}{PARQUET}"
            part = rows.shard(count, index, contiguous=True)
            part.to_parquet(folder / name, batch_size=ROW_GROUP_ROWS)
            written[name] = len(part)
    return written
