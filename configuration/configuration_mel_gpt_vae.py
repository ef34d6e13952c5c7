"""Which encoder, latent and decoder make up a GPT-VAE over mel codes?"""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .configuration_mel_gpt import MelGPTConfig
from .strict_fields import StrictFieldsMixin
from .value_checks import check_sizes

# The original's values: an encoder without dropout, 0.3 everywhere in the decoder.
DROPOUT_NAMES = ("embedding_dropout", "residual_dropout", "attention_dropout")
ENCODER_DEFAULTS = {"num_labels": 0, "is_causal": False} | dict.fromkeys(DROPOUT_NAMES, 0.0)
DECODER_DEFAULTS = {"num_labels": 0} | dict.fromkeys(DROPOUT_NAMES, 0.3)
# What both parts have to agree on.
SHARED_FIELDS = ("codebook_size", "num_codes", "sampling_rate")


@strict
class MelGPTVAEConfig(StrictFieldsMixin, PreTrainedConfig):
    r"""
    Configuration of [`MelGPTVAEModel`]: a bidirectional encoder of whole clips, a Gaussian latent, and a causal
    decoder whose first position is the latent. The defaults are those of the original VAS model.

    Args:
        encoder (`MelGPTConfig` or `dict`, *optional*): the bidirectional encoder. A dict (or nothing) is filled up
            with the original's values: no labels, not causal, no dropout. The encoder's null class is the id of a
            hidden code.
        decoder (`MelGPTConfig` or `dict`, *optional*): the causal decoder. A dict (or nothing) is filled up with no
            labels (unless `class_conditioning`) and dropouts of 0.3. `codebook_size`, `num_codes` and
            `sampling_rate`, if only one of the two dicts holds them, are meant for both.
        latent_size (`int`): dimensions of the latent. If they are not the decoder's `hidden_size`, a linear layer
            projects the latent to it.
        fixed_variance (`float`, *optional*): variance of the posterior in every dimension; learned by default.
        class_conditioning (`bool`): whether a class token follows the latent in the decoder. The classes are the
            labels of `decoder`, which then needs `num_codes + 2` positions.

    Raises:
        ValueError: if the parts contradict each other.
    """

    model_type = "mel_gpt_vae"
    sub_configs_defaults = {"encoder": MelGPTConfig, "decoder": MelGPTConfig}
    keys_to_ignore_at_inference = ["past_key_values"]

    encoder: MelGPTConfig | dict | None = None
    decoder: MelGPTConfig | dict | None = None
    latent_size: int = 1024
    fixed_variance: float | int | None = None
    class_conditioning: bool = False

    def __post_init__(self, **kwargs):
        self._fill_sub_configs()
        given_labels, given_number = self.id2label, kwargs.pop("num_labels", None)
        super().__post_init__(**kwargs)
        # The library's fields for labels mirror the decoder's; they are not stored a second time.
        self.id2label, self.label2id = dict(self.decoder.id2label), dict(self.decoder.label2id)
        if given_labels is not None:
            self._check_same_labels("id2label", {int(key): name for key, name in given_labels.items()}, self.id2label)
        if given_number is not None:
            self._check_same_labels("num_labels", given_number, self.num_labels)
        # The strict validation would run it too, but wraps its ValueError in another exception type.
        self.validate_architecture()

    def _fill_sub_configs(self):
        """Writes the defaults into sub-configs that are dicts or absent; instances are taken as they are."""
        given = {name: getattr(self, name) or {} for name in ("encoder", "decoder")}
        is_instance = {name: isinstance(value, PreTrainedConfig) for name, value in given.items()}
        fields = {
            name: {field: getattr(value, field) for field in SHARED_FIELDS} if is_instance[name] else value
            for name, value in given.items()
        }
        shared = {
            field: next(values[field] for values in fields.values() if field in values)
            for field in SHARED_FIELDS
            if any(field in values for values in fields.values())
        }
        for name, defaults in (("encoder", ENCODER_DEFAULTS), ("decoder", DECODER_DEFAULTS)):
            if is_instance[name]:
                continue
            values = defaults | shared | given[name]
            if "num_labels" not in given[name] and ("id2label" in given[name] or self._has_classes(name)):
                del values["num_labels"]
            if name == "decoder" and values.get("max_position_embeddings") is None:
                num_codes = values.get("num_codes", MelGPTConfig.num_codes)
                values["max_position_embeddings"] = num_codes + self.num_prefix_positions
            setattr(self, name, values)

    def _has_classes(self, name: str) -> bool:
        return name == "decoder" and self.class_conditioning

    def _check_same_labels(self, name: str, value: dict | int, expected: dict | int):
        if value != expected:
            raise ValueError(
                f"`{name}` is {value}, but the labels are the decoder's, {expected}; set them in `decoder`."
            )

    @property
    def num_prefix_positions(self) -> int:
        """Positions of the decoder in front of the codes: the latent and, with `class_conditioning`, the class."""
        return 2 if self.class_conditioning else 1

    @property
    def num_codes(self) -> int:
        """Codes of one clip."""
        return self.decoder.num_codes

    @property
    def codebook_size(self) -> int:
        """Number of different codes."""
        return self.decoder.codebook_size

    @property
    def vocab_size(self) -> int:
        """Number of token ids of the decoder: codes, labels and the null class."""
        return self.decoder.vocab_size

    @property
    def bos_token_id(self) -> int:
        """Token id of the decoder's null class, the placeholder for the latent inside `generate`."""
        return self.decoder.bos_token_id

    @property
    def hidden_code_id(self) -> int:
        """Token id of the encoder's null class, which stands for a hidden code in the encoder's input."""
        return self.encoder.bos_token_id

    @property
    def sampling_rate(self) -> int:
        """Samples per second of the audio behind the codes, Hz."""
        return self.decoder.sampling_rate

    def to_dict(self) -> dict:
        """Leaves out the labels, which `decoder` holds."""
        output = super().to_dict()
        return {name: value for name, value in output.items() if name not in ("id2label", "label2id")}

    def validate_architecture(self):
        """Part of the strict validation: encoder, latent and decoder have to fit each other."""
        super().validate_architecture()
        check_sizes(self, "latent_size")
        if self.fixed_variance is not None and not self.fixed_variance > 0:
            raise ValueError(f"`fixed_variance` is {self.fixed_variance}; it has to be positive, or None to learn it.")
        self._validate_roles()
        self._validate_agreement()

    def _validate_roles(self):
        if self.encoder.is_causal:
            raise ValueError(
                "`encoder.is_causal` is True, but the encoder has to see the whole clip: set it to False."
            )
        if not self.decoder.is_causal:
            raise ValueError(
                "`decoder.is_causal` is False, but a decoder that generates has to be causal: set it to True."
            )
        if self.encoder.num_labels:
            raise ValueError(
                f"`encoder` has {self.encoder.num_labels} labels, but it reads codes only: set its `num_labels` to 0."
            )
        if bool(self.decoder.num_labels) != self.class_conditioning:
            raise ValueError(
                f"`decoder` has {self.decoder.num_labels} labels with `class_conditioning` {self.class_conditioning}; "
                "a decoder has labels if and only if it is conditioned on a class: change one of them."
            )

    def _validate_agreement(self):
        for field in SHARED_FIELDS:
            values = getattr(self.encoder, field), getattr(self.decoder, field)
            if values[0] != values[1]:
                raise ValueError(
                    f"`{field}` is {values[0]} in `encoder` and {values[1]} in `decoder`; give both the same value."
                )
        num_positions = self.num_codes + self.num_prefix_positions
        if self.decoder.max_position_embeddings < num_positions:
            raise ValueError(
                f"`decoder.max_position_embeddings` is {self.decoder.max_position_embeddings}; {self.num_codes} codes "
                f"and {self.num_prefix_positions} positions in front of them need at least {num_positions}."
            )
