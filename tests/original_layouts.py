"""Tiny random checkpoints in the layouts of the original, for tests that need no data."""

from pathlib import Path

import torch

NUM_CLASSES = 3
CODEBOOK_SIZE = 12
NUM_HEADS = 2
# Two in each group of a GroupNorm: the mean of a single one would be taken out, and with it every bias.
CHANNELS = 64
# The audio tokenizer halves both axes once: 80 bands x 4 frames become 40 x 2 codes.
NUM_FRAMES = 4
NUM_CODES = 80


class Layout(dict):
    """A state dict that is filled with random tensors."""

    def __init__(self, seed: int = 0):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def add(self, name: str, *shape: int) -> None:
        self[name] = torch.randn(*shape, generator=self.generator) * 0.3

    def add_pair(self, name: str, *shape: int) -> None:
        """A weight and its bias."""
        self.add(f"{name}.weight", *shape)
        self.add(f"{name}.bias", shape[0])


def transformer(prefix: str, num_positions: int, num_outputs: int, is_causal: bool = True, width: int = 8) -> Layout:
    layout = Layout()
    layout.add(f"{prefix}pos_emb", 1, num_positions, width)
    layout.add(f"{prefix}tok_emb.weight", CODEBOOK_SIZE, width)
    for layer in range(2):
        block = f"{prefix}blocks.{layer}"
        for name in ("ln1", "ln2"):
            layout.add_pair(f"{block}.{name}", width)
        mask = torch.ones(1, 1, num_positions, num_positions)
        layout[f"{block}.attn.mask"] = mask.tril() if is_causal else mask
        for name in ("key", "query", "value", "proj"):
            layout.add_pair(f"{block}.attn.{name}", width, width)
        layout.add_pair(f"{block}.mlp.0", 4 * width, width)
        layout.add_pair(f"{block}.mlp.2", width, 4 * width)
    layout.add_pair(f"{prefix}ln_f", width)
    layout.add(f"{prefix}head.weight", num_outputs, width)
    return layout


def gpt() -> Layout:
    layout = transformer("transformer.", 1 + NUM_CODES, CODEBOOK_SIZE)
    layout.add("transformer.embedder.weight", NUM_CLASSES, 8)
    return layout


def vae() -> Layout:
    layout = transformer("encoder.transformer.", NUM_CODES, 2 * 8, is_causal=False)
    layout |= transformer("decoder.transformer.", 1 + NUM_CODES, CODEBOOK_SIZE)
    layout["decoder.loss.weight"] = torch.ones(CODEBOOK_SIZE)
    return layout


def vq(is_specvqgan: bool = False) -> Layout:
    """Two levels of the same width, one residual block each, attention at the second."""
    layout = Layout()
    mark = "" if is_specvqgan else "_"
    for stack, branch, num_blocks in (("encoder", "down", 1), ("decoder", "up", 2)):
        prefix = f"{mark}{stack}."
        layout.add_pair(f"{prefix}conv_in", CHANNELS, 1 if stack == "encoder" else 8, 3, 3)
        for level in range(2):
            for block in range(num_blocks):
                _add_residual_block(layout, f"{prefix}{branch}.{level}.block.{block}")
                if level == 1:
                    _add_attention(layout, f"{prefix}{branch}.{level}.attn.{block}")
        resample = "down.0.downsample" if stack == "encoder" else "up.1.upsample"
        layout.add_pair(f"{prefix}{resample}.conv", CHANNELS, CHANNELS, 3, 3)
        for name in ("block_1", "block_2"):
            _add_residual_block(layout, f"{prefix}mid.{name}")
        _add_attention(layout, f"{prefix}mid.attn_1")
        layout.add_pair(f"{prefix}norm_out", CHANNELS)
        layout.add_pair(f"{prefix}conv_out", 8 if stack == "encoder" else 1, CHANNELS, 3, 3)
    layout.add_pair("quant_conv", 6, 8, 1, 1)
    layout.add_pair("post_quant_conv", 8, 6, 1, 1)
    layout.add("quantize.embedding.weight" if is_specvqgan else "_vq_vae._embedding.weight", CODEBOOK_SIZE, 6)
    layout.add_pair("loss.discriminator.main.0" if is_specvqgan else "discriminator.main.0", 8, 1, 4, 4)
    if is_specvqgan:
        layout.add("loss.perceptual_loss.scaling_layer.shift", 1, 1, 80, 1)
    return layout


def _add_residual_block(layout: Layout, name: str) -> None:
    for index in (1, 2):
        layout.add_pair(f"{name}.norm{index}", CHANNELS)
        layout.add_pair(f"{name}.conv{index}", CHANNELS, CHANNELS, 3, 3)


def _add_attention(layout: Layout, name: str) -> None:
    layout.add_pair(f"{name}.norm", CHANNELS)
    for part in ("q", "k", "v", "proj_out"):
        layout.add_pair(f"{name}.{part}", CHANNELS, CHANNELS, 1, 1)


def gpt_with_tokenizer() -> Layout:
    layout = gpt()
    layout |= {f"first_stage_model.{name}": tensor for name, tensor in vq().items()}
    return layout


def melgan() -> Layout:
    """Two upsamplings, by 64 and by 4, with one residual block each."""
    layout = Layout()
    convolutions = {"1": (8, 80, 7), "3": (8, 4, 128), "6": (4, 2, 8), "10": (1, 2, 7)}
    for index, width in (("4", 4), ("7", 2)):
        convolutions |= {f"{index}.block.2": (width, width, 3)}
        convolutions |= {f"{index}.{name}": (width, width, 1) for name in ("block.4", "shortcut")}
    for name, shape in convolutions.items():
        is_upsampling = name in ("3", "6")
        layout.add(f"model.{name}.bias", shape[1] if is_upsampling else shape[0])
        layout[f"model.{name}.weight_g"] = torch.full((shape[0], 1, 1), 1.5)  # loud enough for every weight to count
        layout.add(f"model.{name}.weight_v", *shape)
    return layout


MELGAN_SETTINGS = "!!python/object:argparse.Namespace\nn_mel_channels: 80\nn_residual_layers: 1\nngf: 2\n"


def save_lightning(weights: dict, path: Path) -> Path:
    """A file as Lightning leaves it, with other things beside the weights."""
    torch.save({"epoch": 3, "state_dict": dict(weights), "optimizer_states": [{"state": {}}]}, path)
    return path


def save_melgan(folder: Path, weights: dict | None = None, settings: str = MELGAN_SETTINGS) -> Path:
    folder.mkdir()
    torch.save(dict(melgan() if weights is None else weights), folder / "best_netG.pt")
    (folder / "args.yml").write_text(settings, encoding="utf-8")
    return folder
