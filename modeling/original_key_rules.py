"""Which tensor of the original becomes which of our weights, and which ones are left behind, and why?"""

import re
from dataclasses import dataclass

# Our name of a part of a transformer -> the original's.
TRANSFORMER_PARTS = {
    "embed_tokens": "tok_emb",
    "layers": "blocks",
    "input_layernorm": "ln1",
    "post_attention_layernorm": "ln2",
    "self_attn": "attn",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "o_proj": "proj",
    "fc1": "0",
    "fc2": "2",
    "norm": "ln_f",
}
# Our name of a part of the VQ autoencoder -> the original's, for what is called the same at both ends of it.
VQ_PARTS = {
    "blocks": "block",
    "attentions": "attn",
    "query": "q",
    "key": "k",
    "value": "v",
    "output": "proj_out",
    "shortcut": "nin_shortcut",
}
VQ_MIDDLE = {"middle.0": "mid.block_1", "middle.1": "mid.attn_1", "middle.2": "mid.block_2"}
MELGAN_BLOCK_PARTS = {"dilated_conv": "block.2", "pointwise_conv": "block.4", "shortcut": "shortcut"}
# The two halves of a weight with weight normalization: magnitude and direction.
WEIGHT_NORM_PARTS = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}

# Where the original keeps the audio tokenizer inside the checkpoint of a GPT.
FIRST_STAGE = "first_stage_model."


@dataclass(frozen=True)
class DropRule:
    """Tensors whose whole name matches `pattern` are left behind, because of `reason`."""

    pattern: str
    reason: str


MASK_RULE = DropRule(r"(?:\w+\.)?transformer\.blocks\.\d+\.attn\.mask", "attention masks, which our models make")
LOSS_WEIGHT_RULE = DropRule(r"decoder\.loss\.weight", "weights of the codes in the training loss, all of them one")
DISCRIMINATOR_RULE = DropRule(
    rf"(?:{re.escape(FIRST_STAGE)})?discriminator\..*",
    "the discriminator, which only the training of an audio tokenizer needs",
)
SPECVQGAN_LOSS_RULE = DropRule(
    r"loss\..*", "SpecVQGAN's discriminator and perceptual loss, which only the training of an audio tokenizer needs"
)
# With --audio_tokenizer.
REPLACED_TOKENIZER_RULE = DropRule(
    rf"{re.escape(FIRST_STAGE)}.*", "the audio tokenizer inside the checkpoint, replaced by another one"
)
DROP_RULES = {
    "gpt": (MASK_RULE, DISCRIMINATOR_RULE),
    "vae": (MASK_RULE, LOSS_WEIGHT_RULE, DISCRIMINATOR_RULE),
    "vq": (DISCRIMINATOR_RULE, SPECVQGAN_LOSS_RULE),
    "melgan": (),
}

# Tensors by which a kind of checkpoint is known: one of them is always there.
MARKERS = {
    "gpt": ("transformer.tok_emb.weight",),
    "vae": ("encoder.transformer.tok_emb.weight",),
    "vq": ("_encoder.conv_in.weight", "encoder.conv_in.weight"),
    "melgan": ("model.1.weight_v",),
}


def _renamed_parts(name: str, parts: dict[str, str]) -> str:
    return ".".join(parts.get(part, part) for part in name.split("."))


def transformer_name(name: str) -> str:
    """The original's name of a weight of our `MelGPTModel`, both without a prefix."""
    return "pos_emb" if name == "embed_positions.weight" else _renamed_parts(name, TRANSFORMER_PARTS)


def gpt_name(name: str) -> str:
    """The original's name of a weight of our `MelGPTForCausalLM`."""
    if name == "lm_head.weight":
        return "transformer.head.weight"
    return "transformer." + transformer_name(name.removeprefix("model."))


def vae_name(name: str) -> str:
    """The original's name of a weight of our `MelGPTVAEModel`."""
    heads = {
        "encoder_head.weight": "encoder.transformer.head.weight",
        "lm_head.weight": "decoder.transformer.head.weight",
    }
    if name in heads:
        return heads[name]
    stack, _, rest = name.partition(".")
    return f"{stack}.transformer.{transformer_name(rest)}"


def vq_name(name: str, num_levels: int, is_specvqgan: bool) -> str:
    """
    The original's name of a weight of our `MelVQModel`.

    Args:
        name (`str`): ours.
        num_levels (`int`): resolution levels. Our decoder counts them in the order in which it passes them, the
            original's from the finest.
        is_specvqgan (`bool`): whether the name in SpecVQGAN's own checkpoints is wanted.
    """
    part, _, rest = name.partition(".")
    if part == "quantizer":
        return "quantize.embedding.weight" if is_specvqgan else "_vq_vae._embedding.weight"
    if part in ("pre_quantization", "post_quantization"):
        return {"pre_quantization": "quant_conv.", "post_quantization": "post_quant_conv."}[part] + rest
    for ours, theirs in VQ_MIDDLE.items():
        rest = rest.replace(f"{ours}.", f"{theirs}.", 1)
    if part == "encoder":
        rest = re.sub(r"^levels\.", "down.", rest).replace(".resample.", ".downsample.")
    else:
        rest = re.sub(r"^levels\.(\d+)", lambda match: f"up.{num_levels - 1 - int(match[1])}", rest)
        rest = rest.replace(".resample.", ".upsample.")
    return ("" if is_specvqgan else "_") + f"{part}.{_renamed_parts(rest, VQ_PARTS)}"


def melgan_name(name: str, num_stages: int, num_residual_layers: int) -> str:
    """
    The original's name of a weight of our `MelGANVocoder`, whose layers it counts through: an edge, the first
    convolution, and in every stage an activation, the upsampling and the residual blocks.

    Args:
        name (`str`): ours.
        num_stages (`int`): upsamplings.
        num_residual_layers (`int`): residual blocks of each stage.
    """
    layers_per_stage = num_residual_layers + 2
    first_upsampling = 3
    for ours, theirs in WEIGHT_NORM_PARTS.items():
        name = name.replace(ours, theirs)
    if match := re.fullmatch(r"stages\.(\d+)\.upsample\.(\w+)", name):
        return f"model.{first_upsampling + layers_per_stage * int(match[1])}.{match[2]}"
    if match := re.fullmatch(r"stages\.(\d+)\.blocks\.(\d+)\.(\w+)\.(\w+)", name):
        layer = first_upsampling + layers_per_stage * int(match[1]) + 1 + int(match[2])
        return f"model.{layer}.{MELGAN_BLOCK_PARTS[match[3]]}.{match[4]}"
    convolution, _, kind = name.partition(".")
    return f"model.{1 if convolution == 'conv_in' else first_upsampling + layers_per_stage * num_stages + 1}.{kind}"
