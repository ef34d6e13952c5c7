"""Which transformer turns a sequence of mel tokens into hidden states? One trunk, causal or bidirectional."""

from collections.abc import Callable

import torch
from torch import nn
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from ..configuration.configuration_mel_gpt import MelGPTConfig
from .modeling_attention import eager_attention_forward
from .modeling_decoding_linear import DecodingLinear
from .portable_code import PortableCodeMixin


class MelGPTPositionEmbedding(nn.Embedding):
    """Learned absolute positions; a class of its own because they start at zero."""


class MelGPTAttention(nn.Module):
    """Multi-head self-attention with biases on all four projections."""

    def __init__(self, config: MelGPTConfig, layer_idx: int):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = config.is_causal

        self.q_proj = DecodingLinear(config.hidden_size, config.hidden_size)
        self.k_proj = DecodingLinear(config.hidden_size, config.hidden_size)
        self.v_proj = DecodingLinear(config.hidden_size, config.hidden_size)
        self.o_proj = DecodingLinear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        input_shape = hidden_states.shape[:-1]
        head_shape = (*input_shape, -1, self.head_dim)
        query = self.q_proj(hidden_states).view(head_shape).transpose(1, 2)  # (batch, heads, length, head_dim)
        key = self.k_proj(hidden_states).view(head_shape).transpose(1, 2)
        value = self.v_proj(hidden_states).view(head_shape).transpose(1, 2)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attention_output, attention_weights = attention_interface(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        attention_output = attention_output.reshape(*input_shape, -1).contiguous()
        return self.o_proj(attention_output), attention_weights


class MelGPTMLP(nn.Module):
    """Feed-forward part of a block, with the exact (erf) GELU."""

    def __init__(self, config: MelGPTConfig):
        super().__init__()
        self.fc1 = DecodingLinear(config.hidden_size, config.intermediate_size)
        self.fc2 = DecodingLinear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(hidden_states)))


class MelGPTBlock(GradientCheckpointingLayer):
    """Pre-LayerNorm transformer block: `x + attention(norm(x))`, then `x + mlp(norm(x))`."""

    def __init__(self, config: MelGPTConfig, layer_idx: int):
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = MelGPTAttention(config, layer_idx)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = MelGPTMLP(config)
        self.dropout = nn.Dropout(config.residual_dropout)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        attention_output, _ = self.self_attn(
            self.input_layernorm(hidden_states),
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            **kwargs,
        )
        hidden_states = hidden_states + self.dropout(attention_output)
        mlp_output = self.mlp(self.post_attention_layernorm(hidden_states))
        return hidden_states + self.dropout(mlp_output)


class MelGPTPreTrainedModel(PortableCodeMixin, PreTrainedModel):
    """What every model built on the trunk shares: initial weights, attention backends, recorded outputs."""

    config_class = MelGPTConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MelGPTBlock"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": MelGPTBlock, "attentions": MelGPTAttention}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """N(0, `initializer_range`) for matrices and token embeddings, zero for biases and position embeddings."""
        if isinstance(module, MelGPTPositionEmbedding):
            init.zeros_(module.weight)
        else:
            super()._init_weights(module)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """
        Returns the token embeddings, whose number is fixed: ids are codes, classes and the null class.

        Raises:
            ValueError: if any other number than `config.vocab_size` is asked for.
        """
        if pad_to_multiple_of is not None or new_num_tokens not in (None, self.config.vocab_size):
            raise ValueError(
                f"`new_num_tokens` is {new_num_tokens} and `pad_to_multiple_of` {pad_to_multiple_of}, but the token "
                f"embeddings cannot be resized: their number, {self.config.vocab_size}, follows from `codebook_size` "
                "and the labels. Make a new model from a config with another `codebook_size` or `id2label`."
            )
        return self.get_input_embeddings()

    def resize_position_embeddings(self, new_num_position_embeddings: int):
        """
        Refuses: every model is made for clips of one length.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"`new_num_position_embeddings` is {new_num_position_embeddings}, but the position embeddings cannot be "
            "resized: a clip has `num_codes` codes. Make a new model from a config with another `num_codes` or "
            "`max_position_embeddings`."
        )


class MelGPTModel(MelGPTPreTrainedModel):
    """
    Transformer over mel tokens: token and position embeddings, pre-LayerNorm blocks, a last LayerNorm.

    With `config.is_causal` it is the trunk of [`MelGPTForCausalLM`] (and, fed with `inputs_embeds`, of a decoder that
    starts with a latent); without, every position sees all others, as an encoder does.
    """

    def __init__(self, config: MelGPTConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.embed_positions = MelGPTPositionEmbedding(config.max_position_embeddings, config.hidden_size)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.layers = nn.ModuleList([MelGPTBlock(config, index) for index in range(config.num_hidden_layers)])
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPast:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`): token ids.
            attention_mask (`torch.Tensor` of shape `(batch_size, past_length + sequence_length)`, *optional*): 1 for
                positions to attend to, 0 for padding.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*): positions in the
                sentence; by default they continue after the cache.
            past_key_values ([`~transformers.Cache`], *optional*): keys and values of earlier positions.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, hidden_size)`, *optional*):
                token embeddings in place of `input_ids`. Position embeddings are added to them.
            use_cache (`bool`, *optional*): whether to make and return a cache (causal models only).

        Returns:
            [`~transformers.modeling_outputs.BaseModelOutputWithPast`]: `last_hidden_state` of shape
            `(batch_size, sequence_length, hidden_size)` and, on request, the cache, all hidden states, and the
            attention weights (eager attention only).

        Raises:
            ValueError: if not exactly one of `input_ids` and `inputs_embeds` is given, or the sequence is longer than
                `config.max_position_embeddings`.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of `input_ids` and `inputs_embeds`.")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if use_cache and past_key_values is None and self.config.is_causal:
            past_key_values = DynamicCache(config=self.config)
        past_length = past_key_values.get_seq_length() if past_key_values is not None else 0
        self._check_length(past_length, inputs_embeds.shape[1])
        if position_ids is None:
            positions = torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device) + past_length
            position_ids = positions.unsqueeze(0)

        # Bidirectional when `config.is_causal` is False. Without `position_ids`, from which the library would look for
        # several sequences packed into one row: a row here is always one sentence.
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
        )
        hidden_states = self.embedding_dropout(inputs_embeds + self.embed_positions(position_ids))
        # Early-exit assisted generation lowers the number for a while.
        for layer in self.layers[: self.config.num_hidden_layers]:
            hidden_states = layer(hidden_states, attention_mask=mask, past_key_values=past_key_values, **kwargs)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values)

    def _check_length(self, past_length: int | torch.Tensor, length: int):
        # A static cache counts on the device: reading it would stall every step, and it bounds the length itself.
        limit = self.config.max_position_embeddings
        if isinstance(past_length, int) and past_length + length > limit:
            raise ValueError(
                f"The sequence is {past_length + length} positions long, but `max_position_embeddings` is {limit}: a "
                f"sentence is {self.config.num_prefix_positions} prefix position and {self.config.num_codes} codes. "
                "Give a shorter sequence."
            )
