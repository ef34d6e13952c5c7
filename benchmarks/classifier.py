"""
Do the sounds of the models keep their class? A classifier trained on real ESC-10 clips judges real clips, their way
through Griffin-Lim and through the audio tokenizer, and generated clips.

    python benchmarks/classifier.py --data_dir ../shared/data/esc10 --train_folds 1 2 3 --eval_folds 4 \
        --audio_tokenizer checkpoints/esc10-small/audio_tokenizer --generated_dir outputs/samples
"""

import argparse
import csv
import time
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch
import torchaudio
from classifier_model import blur, train_classifier

from melspec_gpt import MelFeatureExtractor, MelVQModel
from melspec_gpt.modeling.modeling_mel_classifier import (
    ClassifierEnsemble,
    classify,
    load_classifier,
    save_classifier,
)

CLIP_SECONDS = 5.0
SILENCE_DBFS = -60.0
CLIPPED_PEAK = 32767 / 32768  # the largest sample of a 16-bit file
CONSTANT_STD = 1e-3
TRAINING_BLURS = (0.0, 4.0, 4.0)  # largest sigma, in mel bands and frames, of each rendered version of a training clip
TRAINING_GRIFFIN_LIM_ITERATIONS = 8  # enough for training, and four times cheaper than the vocoder's 32


@dataclass
class ClipSet:
    """
    Clips that are judged together.

    Args:
        title (`str`): heading of its column in the tables.
        waveforms (`list[torch.Tensor]`): mono clips of shape `(samples,)` at the rate of the feature extractor.
        labels (`torch.LongTensor` of shape `(num_clips,)`): class indices.
    """

    title: str
    waveforms: list[torch.Tensor]
    labels: torch.Tensor


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="ESC-10: metadata.csv and the class folders")
    parser.add_argument("--train_folds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--eval_folds", type=int, nargs="+", default=[4])
    parser.add_argument("--audio_tokenizer", help="folder of a MelVQModel whose reconstructions are judged")
    parser.add_argument("--generated_dir", type=Path, help="folder with <class name>/NN.wav that are judged")
    parser.add_argument("--save", type=Path, help="where to write the classifier (.safetensors)")
    parser.add_argument("--load", type=Path, help="a saved classifier to use instead of training one")
    parser.add_argument("--num_epochs", type=int, default=80)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="one network for each; they vote")
    return parser.parse_args(arguments)


def read_metadata(data_dir: Path) -> tuple[list[dict[str, str]], list[str]]:
    """The rows of metadata.csv whose file is there, and the class names in the order of their indices."""
    with open(data_dir / "metadata.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {int(row["class_index"]): row["class_name"] for row in rows}
    return [row for row in rows if (data_dir / row["filename"]).is_file()], [names[i] for i in sorted(names)]


def read_waveform(path: Path, sampling_rate: int) -> torch.Tensor:
    """A sound file as mono samples at `sampling_rate`."""
    waveform, file_rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torchaudio.functional.resample(torch.from_numpy(waveform.mean(1)), file_rate, sampling_rate)


def read_real(data_dir: Path, folds: list[int], sampling_rate: int) -> ClipSet:
    """The ESC-10 clips of some folds."""
    rows = [row for row in read_metadata(data_dir)[0] if int(row["fold"]) in folds]
    if not rows:
        raise ValueError(f"`data_dir` {data_dir} has no clips of the folds {folds}; choose folds of its metadata.csv.")
    waveforms = [read_waveform(data_dir / row["filename"], sampling_rate) for row in rows]
    return ClipSet("real", waveforms, torch.tensor([int(row["class_index"]) for row in rows]))


def read_generated(generated_dir: Path, class_names: list[str], sampling_rate: int) -> ClipSet:
    """The clips of a folder of class folders, as `run_sampling` writes them."""
    paths = sorted(generated_dir.glob("*/*.wav"))
    unknown = {path.parent.name for path in paths} - set(class_names)
    if not paths or unknown:
        raise ValueError(
            f"`generated_dir` {generated_dir} has {len(paths)} wav files and the unknown class folders "
            f"{sorted(unknown)}; expected <class name>/NN.wav with the classes {class_names}."
        )
    labels = [class_names.index(path.parent.name) for path in paths]
    return ClipSet("generated", [read_waveform(path, sampling_rate) for path in paths], torch.tensor(labels))


def to_features(waveforms: list[torch.Tensor], extractor: MelFeatureExtractor) -> torch.Tensor:
    """Waveforms -> (num_clips, bands, frames) in [-1, 1]."""
    features = [extractor(clip, extractor.sampling_rate, return_tensors="pt").input_features for clip in waveforms]
    return torch.cat(features)


def render(features: torch.Tensor, extractor: MelFeatureExtractor, num_iterations: int = 32) -> list[torch.Tensor]:
    """Features -> waveforms by Griffin-Lim."""
    return [extractor.inverse(clip, num_iterations=num_iterations)[0] for clip in features.split(1)]


@torch.no_grad()
def through_tokenizer(clips: ClipSet, folder: str) -> ClipSet:
    """The clips as codes of the audio tokenizer in `folder`, and as waveforms again."""
    extractor = MelFeatureExtractor.from_pretrained(folder)
    tokenizer = MelVQModel.from_pretrained(folder).eval()
    features = to_features(clips.waveforms, extractor).split(1)
    codes = [tokenizer.encode(clip).audio_codes for clip in features]
    waveforms = [tokenizer.decode(audio_codes=clip).audio_values[0] for clip in codes]
    return ClipSet("VQ reconstruction", waveforms, clips.labels)


def training_versions(features: torch.Tensor, extractor: MelFeatureExtractor) -> torch.Tensor:
    """
    Clips as recorded and as Griffin-Lim renders them, sharp and blurred, (num_versions, num_clips, bands, frames):
    no model of this project has seen them, yet they lack the fine texture that a small tokenizer loses.
    """
    versions = [features]
    for max_sigma in TRAINING_BLURS:
        smooth = blur(features, max_sigma) if max_sigma else features
        versions.append(to_features(render(smooth, extractor, TRAINING_GRIFFIN_LIM_ITERATIONS), extractor))
    return torch.stack(versions)


def train_on(
    clips: ClipSet, class_names: list[str], extractor: MelFeatureExtractor, options: argparse.Namespace
) -> ClassifierEnsemble:
    """Trains a classifier on real clips and prints what it cost."""
    start = time.process_time()
    torch.manual_seed(options.seeds[0])
    versions = training_versions(to_features(clips.waveforms, extractor), extractor)
    model = train_classifier(versions, clips.labels, class_names, options.seeds, options.num_epochs)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"Trained {len(options.seeds)} networks, {parameters} parameters in all, on {len(clips.labels)} real clips of "
        f"the folds {options.train_folds} in {time.process_time() - start:.0f} s of processor time, one thread.\n"
    )
    return model


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Prints a markdown table."""
    for row in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(row) + " |")
    print()


def print_accuracies(model: ClassifierEnsemble, clip_sets: list[ClipSet], extractor: MelFeatureExtractor) -> None:
    """Accuracy, mean probability of the right class, and the recall of each class, one column for each set."""
    columns = []
    for clips in clip_sets:
        probabilities = classify(model, to_features(clips.waveforms, extractor))
        right = probabilities.argmax(-1) == clips.labels
        confidence = probabilities[torch.arange(len(right)), clips.labels].mean()
        recalls = [right[clips.labels == index].float().mean() for index in range(len(model.class_names))]
        columns.append([f"{value:.3f}" for value in (right.float().mean(), confidence, *recalls)])
    names = ["accuracy", "mean probability of the right class"] + [f"recall, {name}" for name in model.class_names]
    print_table(["", *(clips.title for clips in clip_sets)], [list(row) for row in zip(names, *columns, strict=True)])


def print_levels(clip_sets: list[ClipSet]) -> None:
    """How many clips of each set are silent, clipped or constant, and their mean level."""
    rows = []
    for clips in clip_sets:
        rms = torch.stack([clip.square().mean().sqrt() for clip in clips.waveforms])
        decibels = 20 * torch.log10(rms.clamp(min=1e-8))
        peaks = torch.stack([clip.abs().max() for clip in clips.waveforms])
        deviations = torch.stack([clip.std() for clip in clips.waveforms])
        counts = [decibels < SILENCE_DBFS, peaks >= CLIPPED_PEAK, deviations < CONSTANT_STD]
        rows.append([clips.title, str(len(rms)), *(str(int(c.sum())) for c in counts), f"{decibels.mean():.1f}"])
    silent, constant = f"silent (< {SILENCE_DBFS:.0f} dBFS)", f"constant (std < {CONSTANT_STD:g})"
    print_table(["set", "clips", silent, "clipped (peak at full scale)", constant, "mean level (dBFS)"], rows)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    if not (options.data_dir / "metadata.csv").is_file():
        print(f"Skipped: {options.data_dir} has no metadata.csv. Give a copy of ESC-10 with --data_dir.")
        return
    torch.set_num_threads(1)  # small networks are not faster on more
    extractor = MelFeatureExtractor.from_clip_seconds(CLIP_SECONDS)
    rate = extractor.sampling_rate
    if options.load:
        model = load_classifier(options.load)
    else:
        class_names = read_metadata(options.data_dir)[1]
        clips = read_real(options.data_dir, options.train_folds, rate)
        model = train_on(clips, class_names, extractor, options)
    if options.save:
        save_classifier(model, options.save)
    real = read_real(options.data_dir, options.eval_folds, rate)
    rendered = render(to_features(real.waveforms, extractor), extractor)
    clip_sets = [real, ClipSet("Griffin-Lim", rendered, real.labels)]
    if options.audio_tokenizer:
        clip_sets.append(through_tokenizer(real, options.audio_tokenizer))
    if options.generated_dir:
        clip_sets.append(read_generated(options.generated_dir, model.class_names, rate))
    print_accuracies(model, clip_sets, extractor)
    print_levels(clip_sets)


if __name__ == "__main__":
    main()
