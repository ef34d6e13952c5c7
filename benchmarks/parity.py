"""
How far are converted checkpoints of the original from what its own code computed?

Converts the tiny checkpoints of the golden data with the converter's command line, loads the results with the Auto
classes, and compares what they compute with the golden tensors. Writes the table benchmarks/parity.md.

    python benchmarks/parity.py
    python benchmarks/parity.py --parts gpt melgan --output /tmp/parity.md
"""

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForAudioTokenization, AutoModelForCausalLM, TopKLogitsWarper

from melspec_gpt.modeling.convert_original_checkpoints import main as convert
from melspec_gpt.modeling.modeling_gaussian_latent import gaussian_kl, log_normal, log_standard_normal
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.kl_objective import free_bits_kl
from melspec_gpt.training.latent_metrics import active_units, mutual_information

BENCHMARKS = Path(__file__).resolve().parent
GOLDEN = BENCHMARKS.parent.parent / "shared" / "data" / "golden"
TINY_HEADS = ("--num_attention_heads", "4")
RATE = 22050


@dataclass(frozen=True)
class Row:
    """How far our `quantity` is from the golden one, and how far it may be."""

    quantity: str
    error: float
    tolerance: float

    def cells(self, part: str) -> str:
        result = "yes" if self.error <= self.tolerance else "**no**"
        return f"| {part} | {self.quantity} | {self.error:.1e} | {self.tolerance:.1e} | {result} |"


class Golden:
    """
    Golden tensors, and comparisons with them.

    Args:
        folder (`Path`): the golden data.
        name (`str`): the file with the tensors, without its ending.
    """

    def __init__(self, folder: Path, name: str):
        self.folder = folder
        self.tensors = load_file(folder / f"{name}.safetensors")

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def close(self, quantity: str, ours: torch.Tensor, name: str, absolute: float = 0, relative: float = 0) -> Row:
        """The largest difference from the tensor `name`; `relative` is of its largest value."""
        theirs = self[name].reshape(ours.shape).double()
        tolerance = absolute + relative * theirs.abs().max().item()
        return Row(quantity, (ours.double() - theirs).abs().max().item(), tolerance)

    def same(self, quantity: str, ours: torch.Tensor, name: str) -> Row:
        """How many values differ from the tensor `name`."""
        return Row(f"{quantity}: values that differ", (ours != self[name].reshape(ours.shape)).sum().item(), 0)


@contextlib.contextmanager
def converted(kind: str, checkpoint: Path, *options: str) -> Iterator[str]:
    """The folder that the converter makes of a checkpoint, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        convert(["--kind", kind, "--checkpoint", str(checkpoint), "--output_dir", folder, *options])
        yield folder


def feature_rows(folder: Path) -> Iterator[Row]:
    golden = Golden(folder, "mel_frontend")
    noise = golden["probe.short_1s_noise.waveform"].numpy()
    clips = {
        "video_00331.mel": (golden["video_00331.waveform_int16"].numpy(), 1e-4),
        "probe.silence.mel": (np.zeros(10 * RATE), 1e-4),
        "probe.sine1k_full.mel": (np.sin(2 * np.pi * 1000 * np.arange(10 * RATE) / RATE), 5e-4),
        "probe.short_1s_noise.mel": (noise, 1e-4),
    }
    extractor = MelFeatureExtractor(short_clips="zero")
    for name, (waveform, tolerance) in clips.items():
        mel = extractor.mel_spectrogram(waveform, RATE)[0, :, : golden[name].shape[1]]
        yield golden.close(f"mel of {name.removesuffix('.mel')}", mel, name, tolerance)


def audio_tokenizer_rows(folder: Path, checkpoint: str, name: str) -> Iterator[Row]:
    golden = Golden(folder, name)
    with converted("vq", folder / checkpoint) as output_dir:
        model = AutoModelForAudioTokenization.from_pretrained(output_dir).eval()
    outputs = model(golden["input"].squeeze(1))
    encoded = model.encode(golden["input"].squeeze(1))
    decoded = model.decode(encoded.audio_codes, return_audio=False)
    yield golden.close("latents", outputs.latents, "z", 1e-4)
    yield golden.same("codes", encoded.audio_codes, "sequence_time_major")
    if "codebook_entry" in golden.tensors:
        yield golden.close("codebook vectors", encoded.quantized_representation, "codebook_entry", 1e-4)
    yield golden.close("reconstruction", outputs.reconstruction, "reconstruction", 1e-4)
    yield golden.close("features decoded from codes", decoded.input_features, "reconstruction", 1e-4)
    yield golden.close("codebook loss", outputs.codebook_loss, "vq_loss", relative=1e-5)
    yield golden.close("perplexity", outputs.perplexity, "perplexity", relative=1e-5)


def vq_rows(folder: Path) -> Iterator[Row]:
    return audio_tokenizer_rows(folder, "vqvae_tiny.pt", "vqvae")


def specvqgan_rows(folder: Path) -> Iterator[Row]:
    return audio_tokenizer_rows(folder, "specvqgan_tiny.ckpt", "specvqgan")


def melgan_rows(folder: Path) -> Iterator[Row]:
    golden = Golden(folder, "melgan")
    with converted("melgan", folder / "vocoder" / "logs" / "vggsound") as output_dir:
        vocoder = AutoModel.from_pretrained(output_dir).eval()
    features = 2 * golden["mel_0_1"] - 1
    with_norm = vocoder(features)
    yield golden.close("waveform", with_norm, "waveform", 1e-4)
    yield golden.close("waveform of 100 frames", vocoder(features[..., :100]), "waveform_first100frames", 1e-4)
    vocoder.remove_weight_norm()
    without_norm = vocoder(features)
    yield golden.close("waveform without weight norm", without_norm, "waveform", 1e-4)
    yield Row("change of the waveform by removing weight norm", (without_norm - with_norm).abs().max().item(), 1e-4)


def gpt_rows(folder: Path) -> Iterator[Row]:
    golden = Golden(folder, "gpt_class")
    with converted("gpt", folder / "gpt_class_tiny.ckpt", *TINY_HEADS) as output_dir:
        model = AutoModelForCausalLM.from_pretrained(output_dir).eval()

    def sentences(classes: str, codes: str | None = None) -> torch.Tensor:
        tokens = model.config.codebook_size + golden[classes][:, None]
        return tokens if codes is None else torch.cat([tokens, golden[codes]], dim=1)

    ids = sentences("class_labels", "codes")
    outputs = model(ids, labels=ids)
    logits = outputs.logits[:, :-1, : model.config.codebook_size]
    token_nll = F.cross_entropy(logits.transpose(1, 2), golden["codes"], reduction="none")
    yield golden.close("logits", logits, "logits", 1e-4)
    yield golden.close("loss", outputs.loss, "loss", 1e-5)
    yield golden.close("loss of each code", token_nll, "token_nll", 1e-4)
    kept = TopKLogitsWarper(10)(ids, logits[:, 0]).isfinite()
    yield Row("ten best first codes: codes that differ", _num_other(kept, golden["top10_filtered_logits_step0"]), 0)
    for name, prompt in (("greedy32", None), ("greedy_full", None), ("greedy_half", "greedy_half_prompt")):
        prompts = sentences("class_labels" if prompt else f"{name}_classes", prompt)
        length = golden[f"{name}_codes"].shape[1]
        codes = model.generate(prompts, do_sample=False, max_length=1 + length)[:, 1:]
        yield golden.same(name.replace("_", " "), codes, f"{name}_codes")
    num_positions = golden["greedy32_last_attention"].shape[-1]
    model.set_attn_implementation("eager")
    attentions = model(sentences("greedy32_classes", "greedy32_codes")[:, :num_positions], output_attentions=True)
    yield golden.close("attention of the last layer", attentions.attentions[-1], "greedy32_last_attention", 1e-5)


def _num_other(kept: torch.Tensor, filtered_logits: torch.Tensor) -> int:
    return (kept != filtered_logits.isfinite()).sum().item()


def vae_rows(folder: Path) -> Iterator[Row]:
    golden = Golden(folder, "gpt_vae")
    with converted("vae", folder / "gpt_vae_tiny.ckpt", *TINY_HEADS) as output_dir:
        model = AutoModel.from_pretrained(output_dir).eval()
    outputs = model(golden["codes"], noise=golden["noise"].squeeze(1))
    posterior = (outputs.latents, outputs.mean, outputs.log_variance)
    logits = outputs.logits[..., : model.config.codebook_size]
    kl = gaussian_kl(outputs.mean, outputs.log_variance)
    yield golden.close("posterior mean", outputs.mean, "mu", 1e-5)
    yield golden.close("posterior log variance", outputs.log_variance, "logvar", 1e-5)
    yield golden.close("latents", outputs.latents, "z", 1e-5)
    yield golden.close("KL of each dimension", kl, "kl_per_dim", 1e-4)
    yield golden.close("KL", outputs.kl_nats, "kl", 1e-4)
    yield golden.close("decoder logits", logits, "decoder_logits", 1e-4)
    yield golden.close("reconstruction loss, nats", outputs.reconstruction_nats, "reconstruct_error", 5e-3)
    yield golden.close("log q(z given x)", log_normal(*posterior), "log_q_z_given_x", 5e-3)
    yield golden.close("log p(z)", log_standard_normal(outputs.latents), "log_p_z", 5e-3)
    from_prior = model.generate(latents=golden["prior_z"].squeeze(0), do_sample=False)
    yield golden.same("greedy from the mean", model.reconstruct(golden["codes"]), "greedy_recon_from_mu")
    yield golden.same("greedy from the prior", from_prior, "greedy_from_prior_z")
    between = model.interpolate(golden["codes"][0], golden["codes"][1], steps=5)
    yield golden.same("greedy interpolation", between, "interp_mu0_mu1_greedy")
    model.set_attn_implementation("eager")
    attentions = model.encode(golden["codes"], output_attentions=True).attentions[-1][:, :, -1]
    yield golden.close("attention of the encoder's last layer", attentions, "encoder_last_attention_last_row", 1e-5)
    model.set_attn_implementation("sdpa")
    yield from training_loss_rows(folder, outputs.reconstruction_loss, kl)
    yield from latent_metric_rows(folder, model, golden["codes"])


def training_loss_rows(folder: Path, reconstruction_loss: torch.Tensor, kl: torch.Tensor) -> Iterator[Row]:
    """The objective under every mode of free bits, at the KL weight 0.5 of the golden data."""
    golden = Golden(folder, "gpt_vae_training_step")
    for name in sorted(name for name in golden.tensors if name.endswith("/loss") and "/log/" not in name):
        case = name.removesuffix("/loss")
        free_bits, _, target_kl = case.removeprefix("fb").partition("_target")
        kl_weight, mode = (0.0, 0) if case == "beta0" else (0.5, int(free_bits))
        loss = reconstruction_loss + kl_weight * free_bits_kl(kl, mode, float(target_kl or 0)).mean()
        yield golden.close(f"training loss, {case.replace('_', ' ')}", loss, name, relative=1e-5)


def latent_metric_rows(folder: Path, model: AutoModel, codes: torch.Tensor) -> Iterator[Row]:
    golden = Golden(folder, "gpt_vae_metrics")
    posterior = model.encode(golden["codes64"], noise=golden["mi_noise"].squeeze(1))
    information = mutual_information(posterior.mean, posterior.log_variance, posterior.latents)
    yield golden.close("mutual information", torch.tensor(information), "mi_for_noise", 5e-3)
    yield golden.same("active units", torch.tensor(active_units(posterior.mean)), "au")
    yield golden.close("variance of the means", posterior.mean.var(0), "au_var", relative=1e-4)
    nll = model.importance_weighted_nll(codes, num_samples=8, noise=golden["iw8_noise"])
    yield golden.close("importance-weighted loss, 8 samples", nll, "iw8_nll", 5e-3)


PARTS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "features": feature_rows,
    "vq": vq_rows,
    "specvqgan": specvqgan_rows,
    "melgan": melgan_rows,
    "gpt": gpt_rows,
    "vae": vae_rows,
}


def render_page(rows: dict[str, list[Row]]) -> str:
    """The table and what it is of, as Markdown."""
    lines = [
        "# Parity with the original",
        "",
        "What the original's own code computed with tiny random weights, against the same weights here: converted by",
        "`python -m melspec_gpt.modeling.convert_original_checkpoints` and loaded with the Auto classes. The error is",
        "the largest absolute difference, in float32 on a CPU. Not compared is what is not converted: the audio",
        f"tokenizer's discriminator. Written by `python benchmarks/parity.py` with PyTorch {torch.__version__}.",
        "",
        "| part | quantity | error | tolerance | within |",
        "|---|---|---|---|---|",
    ]
    lines += [row.cells(part) for part, part_rows in rows.items() for row in part_rows]
    return "\n".join(lines) + "\n"


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description="Compares converted checkpoints with the golden data.")
    parser.add_argument("--golden_dir", type=Path, default=GOLDEN, help="the golden data (default: %(default)s)")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to compare (default: all)"
    )
    parser.add_argument("--output", type=Path, default=BENCHMARKS / "parity.md", help="page to write")
    options = parser.parse_args()
    if not options.golden_dir.is_dir():
        print(f"Skipped: there is no golden data in {options.golden_dir}.")
        return
    rows = {part: list(PARTS[part](options.golden_dir)) for part in options.parts}
    page = render_page(rows)
    options.output.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
