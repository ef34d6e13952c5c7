"""Which sizes does a GPT over mel codes have, and which token ids does its vocabulary hold?"""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .strict_fields import StrictFieldsMixin
from .value_checks import check_dropouts, check_sizes

# The original was trained on the eight classes of VAS.
DEFAULT_NUM_LABELS = 8


@strict
class MelGPTConfig(StrictFieldsMixin, PreTrainedConfig):
    r"""
    Configuration of [`MelGPTModel`] and [`MelGPTForCausalLM`]. The defaults are those of the original VAS model:
    24 layers of width 1024 over sentences of 265 codes.

    Token ids: `0` to `codebook_size - 1` are codes, then one id for each label in the order of `id2label`, and the
    last id is the null class, which stands for "no class" in classifier-free guidance. `vocab_size` and
    `bos_token_id` follow from `codebook_size` and the labels and are not stored.

    Args:
        codebook_size (`int`): number of different codes.
        num_codes (`int`): codes of one clip.
        num_labels (`int`): number of classes, 8 unless `id2label` says otherwise; 0 for a model without classes.
        id2label (`dict[int, str]`): class names. Label `i` has the token id `codebook_size + i`.
        hidden_size (`int`): width of the residual stream.
        num_hidden_layers (`int`): number of blocks.
        num_attention_heads (`int`): attention heads of each block.
        intermediate_size (`int`, *optional*): width inside the feed-forward part, `4 * hidden_size` by default.
        embedding_dropout (`float`): dropout on the sum of token and position embeddings.
        residual_dropout (`float`): dropout on what attention and feed-forward add to the residual stream.
        attention_dropout (`float`): dropout on the attention weights.
        max_position_embeddings (`int`, *optional*): longest sequence. By default `num_codes` plus the prefix, which is
            one position (a class or a latent) for a causal model and none for a bidirectional one.
        layer_norm_eps (`float`): added to the variance in every LayerNorm.
        initializer_range (`float`): standard deviation of the initial weights.
        is_causal (`bool`): whether a position sees only itself and earlier ones.
        use_cache (`bool`): whether the model returns its key/value cache by default.
        sampling_rate (`int`): samples per second of the audio behind the codes, Hz.

    Raises:
        ValueError: if the sizes or the labels contradict each other.
    """

    model_type = "mel_gpt"
    keys_to_ignore_at_inference = ["past_key_values"]

    codebook_size: int = 128
    num_codes: int = 265
    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int | None = None
    embedding_dropout: float | int = 0.5
    residual_dropout: float | int = 0.5
    attention_dropout: float | int = 0.5
    max_position_embeddings: int | None = None
    layer_norm_eps: float | int = 1e-5
    initializer_range: float | int = 0.02
    is_causal: bool = True
    use_cache: bool = True
    sampling_rate: int = 22050

    def __post_init__(self, **kwargs):
        if self.intermediate_size is None:
            self.intermediate_size = 4 * self.hidden_size
        if self.max_position_embeddings is None:
            self.max_position_embeddings = self.num_codes + self.num_prefix_positions
        self._check_num_labels(kwargs)
        super().__post_init__(**kwargs)
        if self.label2id is None:
            self.label2id = {name: label for label, name in self.id2label.items()}
        # The strict validation would run it too, but wraps its ValueError in another exception type.
        self.validate_architecture()

    def _check_num_labels(self, kwargs: dict):
        """Fills in the default number of labels; `num_labels` may be given only if it agrees with `id2label`."""
        num_labels = kwargs.pop("num_labels", None)
        if self.id2label is None:
            num_labels = DEFAULT_NUM_LABELS if num_labels is None else num_labels
            if num_labels < 0:
                raise ValueError(f"`num_labels` is {num_labels}; it has to be 0 or more.")
            kwargs["num_labels"] = num_labels
        elif num_labels is not None and num_labels != len(self.id2label):
            raise ValueError(
                f"`num_labels` is {num_labels}, but `id2label` has {len(self.id2label)} entries; give only `id2label`."
            )

    @property
    def num_prefix_positions(self) -> int:
        """Positions in front of the codes: one for the class or the latent, none in a bidirectional model."""
        return 1 if self.is_causal else 0

    @property
    def vocab_size(self) -> int:
        """Number of token ids: codes, labels and the null class."""
        return self.codebook_size + self.num_labels + 1

    @vocab_size.setter
    def vocab_size(self, value: int):
        self._refuse_other_value("vocab_size", value)

    @property
    def bos_token_id(self) -> int:
        """Token id of the null class, which starts a sentence of no particular class."""
        return self.vocab_size - 1

    @bos_token_id.setter
    def bos_token_id(self, value: int):
        self._refuse_other_value("bos_token_id", value)

    def _refuse_other_value(self, name: str, value: int):
        # The library assigns both names in places (pipelines, configs read from elsewhere): the same value is welcome.
        if value != getattr(self, name):
            raise ValueError(
                f"`{name}` is {value}, but a codebook of {self.codebook_size}, {self.num_labels} labels and the null "
                f"class make it {getattr(self, name)}; change `codebook_size` or `id2label` instead."
            )

    def to_diff_dict(self) -> dict:
        """Keeps the labels even where they equal the library's default, two labels without names."""
        return super().to_diff_dict() | {"id2label": dict(self.id2label), "label2id": dict(self.label2id)}

    def validate_architecture(self):
        """Part of the strict validation: sizes, probabilities and labels have to make sense together."""
        super().validate_architecture()
        self._validate_sizes()
        self._validate_labels()

    def _validate_sizes(self):
        check_sizes(self, "codebook_size", "num_codes", "hidden_size", "num_hidden_layers", "num_attention_heads")
        check_sizes(self, "intermediate_size", "sampling_rate")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"`hidden_size` is {self.hidden_size}, which {self.num_attention_heads} heads do not divide; make it "
                "a multiple of `num_attention_heads`."
            )
        if self.max_position_embeddings < self.num_codes:
            raise ValueError(
                f"`max_position_embeddings` is {self.max_position_embeddings}; a clip of `num_codes` = "
                f"{self.num_codes} needs at least that many positions."
            )
        check_dropouts(self, "embedding_dropout", "residual_dropout", "attention_dropout")
        for name in ("layer_norm_eps", "initializer_range"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` is {getattr(self, name)}; it has to be positive.")

    def _validate_labels(self):
        if sorted(self.id2label) != list(range(self.num_labels)):
            raise ValueError(f"`id2label` has the keys {list(self.id2label)}; they have to be 0, 1, 2, ... .")
        names = list(self.id2label.values())
        if len(set(names)) != len(names) or not all(names):
            raise ValueError(f"`id2label` holds {names}; every class needs a name of its own.")
        if self.label2id != {name: label for label, name in self.id2label.items()}:
            raise ValueError(f"`label2id` is {self.label2id}, which is not the inverse of `id2label` {self.id2label}.")
