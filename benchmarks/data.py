"""
How many clips of 10 seconds does one core decode, turn into mels and encode in a second, and how long do 200 000 take?

The sounds are real clips: files of `--data_dir`, repeated up to 10 s and written as wav, Ogg Vorbis and MP3, and the
videos of `--video_dir` as they are. Times are processor seconds of one thread, medians over all clips and repeats, so
that other programs on the machine matter little. The mel is compared with the recipe of SpecVQGAN, which calls
librosa, on the same samples, in turns. librosa is no part of this package: without it that row is left out, with

    pip install --target /tmp/librosa librosa && export PYTHONPATH=/tmp/librosa

it is there.

    python benchmarks/data.py --data_dir ../shared/data/esc10 --video_dir ../shared/data/vas_mini/vas/videos
"""

import argparse
import os

# For NumPy, which reads it when it is imported: threads that wait would be counted as work.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.datasets_scripts.audio_reading import read_audio
from melspec_gpt.datasets_scripts.audio_sources import find_audio_files
from melspec_gpt.datasets_scripts.description_facts import clip_facts
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.feature_extraction_mel import MINIMUM_AMPLITUDE, MelFeatureExtractor

SMALL_TOKENIZER = Path(__file__).resolve().parent.parent / "checkpoints" / "esc10-small" / "audio_tokenizer"
PROJECTED_CLIPS = 200_000
SECONDS_PER_HOUR = 3600
FORMATS = {"wav": ("WAV", "PCM_16"), "ogg": ("OGG", "VORBIS"), "mp3": ("MP3", "MPEG_LAYER_III")}
VIDEO_EXTENSION = ".mp4"
# Samples handed to the encoders at once.
WRITTEN_SAMPLES = 4096


def librosa_recipe(feature_extractor: MelFeatureExtractor) -> Callable[[np.ndarray], np.ndarray]:
    """The mel of SpecVQGAN (Iashin and Rahtu, 2021) by librosa, its filter bank calculated beforehand."""
    import librosa

    filters = librosa.filters.mel(
        sr=feature_extractor.sampling_rate,
        n_fft=feature_extractor.n_fft,
        fmin=feature_extractor.min_frequency,
        fmax=feature_extractor.max_frequency,
        n_mels=feature_extractor.feature_size,
    )

    def recipe(samples: np.ndarray) -> np.ndarray:
        spectrum = librosa.stft(
            samples, n_fft=feature_extractor.n_fft, hop_length=feature_extractor.hop_length, pad_mode="reflect"
        )
        mel = np.maximum(filters @ np.abs(spectrum), MINIMUM_AMPLITUDE)
        return np.clip((np.log10(mel) * 20 - 20 + 100) / 100, 0, 1)[:, : feature_extractor.num_mel_frames]

    return recipe


def cpu_seconds(functions: Sequence[Callable], items: Sequence[Any], num_repeats: int) -> list[float]:
    """Median processor time of each function for one item. They take turns, item by item."""
    seconds = [[] for _ in functions]
    for function in functions:
        function(items[0])  # warm-up
    for _ in range(num_repeats):
        for item in items:
            for function, times in zip(functions, seconds, strict=True):
                started = time.process_time()
                function(item)
                times.append(time.process_time() - started)
    return [float(np.median(times)) for times in seconds]


def write_clips(data_dir: Path, folder: Path, num_clips: int, clip_seconds: float) -> dict[str, list[Path]]:
    """Evenly chosen sounds of `data_dir`, each repeated to `clip_seconds`, as files: format -> paths."""
    found, _ = find_audio_files(data_dir)
    chosen = found[:: max(len(found) // num_clips, 1)][:num_clips]
    paths = {name: [] for name in FORMATS}
    for number, source in enumerate(chosen):
        samples, sampling_rate = read_audio(source)
        samples = np.resize(samples, round(clip_seconds * sampling_rate))
        for name, (container, encoding) in FORMATS.items():
            path = folder / f"{number}.{name}"
            with soundfile.SoundFile(path, "w", sampling_rate, 1, encoding, format=container) as file:
                for start in range(0, len(samples), WRITTEN_SAMPLES):
                    file.write(samples[start : start + WRITTEN_SAMPLES])
            paths[name].append(path)
    return paths


def measure_decoding(paths: dict[str, list[Path]], clip_seconds: float, num_repeats: int) -> list[tuple[str, float]]:
    """(stage, seconds of one clip) for the files of every format."""
    rows = []
    for name, files in paths.items():
        if files:
            (seconds,) = cpu_seconds([lambda path: read_audio(path, clip_seconds)], files, num_repeats)
            rows.append((f"decode {name}", seconds))
    return rows


def measure_mels(
    paths: list[Path], feature_extractor: MelFeatureExtractor, num_repeats: int
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """(stage, seconds of one clip) of the mel, and the same for the comparison with librosa where it is installed."""
    sounds = [read_audio(path) for path in paths]
    mels = [feature_extractor.mel_spectrogram([samples], rate, resample=True)[0].numpy() for samples, rate in sounds]
    (resampled,) = cpu_seconds(
        [lambda sound: feature_extractor.mel_spectrogram([sound[0]], sound[1], resample=True)], sounds, num_repeats
    )
    (facts,) = cpu_seconds([clip_facts], [mel.astype(np.float16) for mel in mels], num_repeats)
    length = feature_extractor.num_samples
    samples = [np.resize(samples, length) for samples, _ in sounds]
    functions = [lambda clip: feature_extractor.mel_spectrogram([clip], feature_extractor.sampling_rate)]
    if find_spec("librosa") is not None:
        functions.append(librosa_recipe(feature_extractor))
        difference = max(np.abs(functions[0](clip)[0].numpy() - functions[1](clip)).max() for clip in samples)
        print(f"The two mels differ by {difference:.1e} at most.\n")
    mel_seconds = cpu_seconds(functions, samples, num_repeats)
    rows = [
        (f"mel, with resampling from {sounds[0][1]} Hz", resampled),
        (f"mel at {feature_extractor.sampling_rate} Hz", mel_seconds[0]),
        ("facts for the card", facts),
    ]
    return rows, list(zip(("melspec_gpt", "librosa recipe"), mel_seconds, strict=False))


def measure_encoding(
    configs: dict[str, MelVQConfig], feature_extractor: MelFeatureExtractor, num_repeats: int
) -> list[tuple[str, float]]:
    """(stage, seconds of one clip) for models of each config with random weights."""
    features = torch.rand(1, feature_extractor.feature_size, feature_extractor.num_frames) * 2 - 1
    rows = []
    for name, config in configs.items():
        model = MelVQModel(config).eval()
        with torch.no_grad():
            (seconds,) = cpu_seconds([model.encode], [features], num_repeats)
        rows.append((f"encode, {name} ({model.num_parameters() / 1e6:.0f} M parameters)", seconds))
    return rows


def print_table(rows: list[tuple[str, float]]) -> None:
    """Prints what the stages take."""
    print(f"| stage | ms per clip | clips/s per core | core hours for {PROJECTED_CLIPS} clips |")
    print("|---|---|---|---|")
    for name, seconds in rows:
        hours = PROJECTED_CLIPS * seconds / SECONDS_PER_HOUR
        print(f"| {name} | {1000 * seconds:.1f} | {1 / seconds:.1f} | {hours:.2f} |", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder with sound files, at any depth")
    parser.add_argument("--video_dir", type=Path, help=f"folder with {VIDEO_EXTENSION} files of about 10 s")
    parser.add_argument("--audio_tokenizer", default=str(SMALL_TOKENIZER), help="its size is the small one")
    parser.add_argument("--clip_seconds", type=float, default=10.0)
    parser.add_argument("--num_clips", type=int, default=10, help="sounds used of the folder")
    parser.add_argument("--num_repeats", type=int, default=5)
    parser.add_argument("--skip_original_size", action="store_true", help="leave out the encoder of the original size")
    arguments = parser.parse_args()
    if arguments.num_clips < 1 or arguments.num_repeats < 1:
        parser.error("--num_clips and --num_repeats have to be at least 1")
    return arguments


def main():
    arguments = parse_arguments()
    torch.set_num_threads(1)
    feature_extractor = MelFeatureExtractor.from_clip_seconds(arguments.clip_seconds)
    configs = {
        "small": MelVQConfig.from_pretrained(arguments.audio_tokenizer, num_frames=feature_extractor.num_frames)
    }
    if not arguments.skip_original_size:
        configs["original size"] = MelVQConfig(num_frames=feature_extractor.num_frames)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_clips(arguments.data_dir, Path(folder), arguments.num_clips, arguments.clip_seconds)
        if not paths["wav"]:
            raise SystemExit(f"--data_dir {arguments.data_dir} holds no sound file.")
        mel_rows, comparison = measure_mels(paths["wav"], feature_extractor, arguments.num_repeats)
        videos = sorted(arguments.video_dir.rglob(f"*{VIDEO_EXTENSION}")) if arguments.video_dir else []
        paths[VIDEO_EXTENSION[1:]] = videos[: arguments.num_clips]
        rows = measure_decoding(paths, arguments.clip_seconds, arguments.num_repeats)
    print(
        f"{arguments.clip_seconds:g}-second clips, {arguments.num_clips} sounds, {arguments.num_repeats} repeats, one "
        f"thread, processor time, torch {torch.__version__}\n"
    )
    print_table(rows + mel_rows + measure_encoding(configs, feature_extractor, arguments.num_repeats))
    if len(comparison) == 1:
        print("\nlibrosa is not installed, so there is no comparison: see --help.")
        return
    (_, own), (_, recipe) = comparison
    print(f"\nMel from samples at {feature_extractor.sampling_rate} Hz, in turns:\n")
    print("| mel | ms per clip |\n|---|---|")
    for name, seconds in comparison:
        print(f"| {name} | {1000 * seconds:.2f} |")
    print(f"\nmelspec_gpt is {recipe / own:.2f} times as fast.")


if __name__ == "__main__":
    main()
