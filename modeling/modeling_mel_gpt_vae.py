"""Which latent describes a clip of codes, and how likely are the codes given the latent? The GPT-VAE."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from ..configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from .generation_latents import LatentOperationsMixin
from .generation_mel_gpt_vae import MelGPTVAEGenerationMixin
from .modeling_gaussian_latent import gaussian_kl, reparameterize
from .modeling_mel_transformer import MelGPTModel, MelGPTPreTrainedModel


@dataclass
class MelGPTVAEEncoderOutput(ModelOutput):
    r"""
    Output of [`MelGPTVAEModel.encode`].

    Args:
        mean (`torch.FloatTensor` of shape `(batch_size, latent_size)`): mean of the posterior, float32.
        log_variance (`torch.FloatTensor` of shape `(batch_size, latent_size)`): its log variance, float32.
        latents (`torch.FloatTensor` of shape `(batch_size, latent_size)`): a draw from it, float32.
        hidden_states, attentions (`tuple(torch.FloatTensor)`, *optional*): of the encoder, on request.
    """

    mean: torch.FloatTensor | None = None
    log_variance: torch.FloatTensor | None = None
    latents: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class MelGPTVAEOutput(ModelOutput):
    r"""
    Output of [`MelGPTVAEModel`]. Losses are nats per clip; what belongs to the posterior is None if `latents` were
    given.

    Args:
        loss (`torch.FloatTensor` of shape `()`): `reconstruction_loss + kl_weight * kl_loss`.
        reconstruction_loss (`torch.FloatTensor` of shape `()`): mean of `reconstruction_nats`.
        kl_loss (`torch.FloatTensor` of shape `()`): mean of `kl_nats`.
        logits (`torch.FloatTensor` of shape `(batch_size, num_codes, vocab_size)`): row `i` predicts code `i`, -inf
            outside the codebook.
        latents, mean, log_variance (`torch.FloatTensor` of shape `(batch_size, latent_size)`): the latents that the
            decoder read and the posterior they were drawn from, float32.
        reconstruction_nats (`torch.FloatTensor` of shape `(batch_size,)`): `-log p(codes | latents)` of each clip.
        kl_nats (`torch.FloatTensor` of shape `(batch_size,)`): divergence of each posterior from the prior.
        encoder_hidden_states, encoder_attentions, decoder_hidden_states, decoder_attentions
            (`tuple(torch.FloatTensor)`, *optional*): of every layer, on request. The decoder's positions are the
            latent, the class (with class conditioning) and all codes but the last.
    """

    loss: torch.FloatTensor | None = None
    reconstruction_loss: torch.FloatTensor | None = None
    kl_loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    latents: torch.FloatTensor | None = None
    mean: torch.FloatTensor | None = None
    log_variance: torch.FloatTensor | None = None
    reconstruction_nats: torch.FloatTensor | None = None
    kl_nats: torch.FloatTensor | None = None
    encoder_hidden_states: tuple[torch.FloatTensor, ...] | None = None
    encoder_attentions: tuple[torch.FloatTensor, ...] | None = None
    decoder_hidden_states: tuple[torch.FloatTensor, ...] | None = None
    decoder_attentions: tuple[torch.FloatTensor, ...] | None = None


class MelGPTVAEModel(MelGPTPreTrainedModel, LatentOperationsMixin, MelGPTVAEGenerationMixin):
    """
    Variational autoencoder over clips of codes. A bidirectional encoder reads the clip, its last position gives the
    posterior over one Gaussian latent, and a causal decoder, whose first position is the latent, predicts the codes.

    Example:

    ```python
    >>> latents = model.encode(codes).mean
    >>> reconstructed = model.generate(latents=latents, do_sample=False)  # (batch_size, num_codes)
    >>> new_codes = model.generate(num_samples=4)
    ```
    """

    config_class = MelGPTVAEConfig

    def __init__(self, config: MelGPTVAEConfig):
        super().__init__(config)
        self.encoder = MelGPTModel(config.encoder)
        head_size = config.latent_size if config.fixed_variance is not None else 2 * config.latent_size
        self.encoder_head = nn.Linear(config.encoder.hidden_size, head_size, bias=False)
        if config.latent_size == config.decoder.hidden_size:
            self.latent_projection = nn.Identity()
        else:
            # No bias: the position embedding of the latent is one.
            self.latent_projection = nn.Linear(config.latent_size, config.decoder.hidden_size, bias=False)
        self.decoder = MelGPTModel(config.decoder)
        self.lm_head = nn.Linear(config.decoder.hidden_size, config.codebook_size, bias=False)
        self.post_init()
        self._fill_generation_config()

    def get_input_embeddings(self) -> nn.Module:
        return self.decoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module):
        self.decoder.set_input_embeddings(value)

    def get_decoder(self) -> MelGPTModel:
        return self.decoder

    @can_return_tuple
    def encode(
        self,
        input_ids: torch.LongTensor,
        noise: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MelGPTVAEEncoderOutput:
        r"""
        The posterior over the latent of each clip.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, num_codes)`): codes; `config.hidden_code_id` marks
                codes that are hidden.
            noise (`torch.FloatTensor` of shape `(batch_size, latent_size)`, *optional*): the standard normal draw
                that turns the posterior into `latents`; drawn anew by default.

        Returns:
            [`MelGPTVAEEncoderOutput`]: `mean`, `log_variance` and `latents`.

        Raises:
            ValueError: if `input_ids` are not whole clips, or `noise` has another shape.
        """
        self._check_codes("input_ids", input_ids, allow_hidden=True)
        return self._encode(input_ids, noise, **kwargs)

    def _encode(
        self, input_ids: torch.LongTensor, noise: torch.FloatTensor | None, **kwargs: Unpack[TransformersKwargs]
    ) -> MelGPTVAEEncoderOutput:
        outputs = self.encoder(input_ids=input_ids, use_cache=False, **kwargs)
        parameters = self.encoder_head(outputs.last_hidden_state[:, -1]).float()
        if self.config.fixed_variance is not None:
            mean = parameters
            log_variance = torch.full_like(mean, self.config.fixed_variance).log()
        else:
            mean, log_variance = parameters.chunk(2, dim=-1)
        if noise is None:
            noise = torch.randn_like(mean)
        self._check_shape("noise", noise, mean.shape)
        return MelGPTVAEEncoderOutput(
            mean=mean,
            log_variance=log_variance,
            latents=reparameterize(mean, log_variance, noise.to(mean)),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        class_labels: torch.LongTensor | None = None,
        latents: torch.FloatTensor | None = None,
        noise: torch.FloatTensor | None = None,
        encoder_input_ids: torch.LongTensor | None = None,
        kl_weight: float = 1.0,
        decoder_input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MelGPTVAEOutput | CausalLMOutputWithPast:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, num_codes)`): the codes to encode and to predict.
            class_labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*): label of each clip, for the
                decoder (with `config.class_conditioning`).
            latents (`torch.FloatTensor` of shape `(batch_size, latent_size)`, *optional*): latents for the decoder;
                the encoder does not run then.
            noise (`torch.FloatTensor` of shape `(batch_size, latent_size)`, *optional*): the standard normal draw
                that makes a latent from the posterior; drawn anew by default, in evaluation mode too.
            encoder_input_ids (`torch.LongTensor` of shape `(batch_size, num_codes)`, *optional*): what the encoder
                reads in place of `input_ids`; `config.hidden_code_id` marks hidden codes.
            kl_weight (`float`): weight of the divergence in the loss.
            decoder_input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*): the ids of
                `generate`, with its prefix, in place of `input_ids`. Only the decoder runs; `latents`, if given,
                take position 0.
            attention_mask (`torch.Tensor`, *optional*): of `decoder_input_ids`, made by `generate`.
            past_key_values ([`~transformers.Cache`], *optional*): of earlier `decoder_input_ids`.
            use_cache (`bool`, *optional*): whether to return a cache with `decoder_input_ids`.
            logits_to_keep (`int` or `torch.Tensor`): number of last positions of `decoder_input_ids` to compute
                logits of (0: all), or which.

        Returns:
            [`MelGPTVAEOutput`]: losses, logits and latents; with `decoder_input_ids` a
            [`~transformers.modeling_outputs.CausalLMOutputWithPast`] with `logits` of these positions and the cache.

        Raises:
            ValueError: if not exactly one of `input_ids` and `decoder_input_ids` is given, if `input_ids` or
                `encoder_input_ids` are not whole clips of codes, if `class_labels` do not suit the model, if
                arguments contradict each other or have the wrong shape.
        """
        if (input_ids is None) == (decoder_input_ids is None):
            raise ValueError("Give exactly one of `input_ids` (codes) and `decoder_input_ids` (those of `generate`).")
        if decoder_input_ids is not None:
            return self._decode(
                decoder_input_ids, latents, attention_mask, past_key_values, use_cache, logits_to_keep, **kwargs
            )
        self._check_codes("input_ids", input_ids)
        posterior = MelGPTVAEEncoderOutput(latents=latents)
        if latents is None:
            if encoder_input_ids is None:
                encoder_input_ids = input_ids
            else:
                self._check_codes("encoder_input_ids", encoder_input_ids, allow_hidden=True)
            posterior = self._encode(encoder_input_ids, noise, **kwargs)
        elif noise is not None or encoder_input_ids is not None:
            raise ValueError("`latents` take the place of the encoder: leave out its `noise` and `encoder_input_ids`.")
        self._check_shape("latents", posterior.latents, (len(input_ids), self.config.latent_size))
        decoder_input_ids = self._add_prefix(input_ids[:, :-1], class_labels)
        decoded = self._decode(
            decoder_input_ids, posterior.latents, use_cache=False, logits_to_keep=self.config.num_codes, **kwargs
        )
        return self._join_outputs(input_ids, posterior, decoded, kl_weight)

    def _decode(
        self,
        decoder_input_ids: torch.LongTensor,
        latents: torch.FloatTensor | None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Unpack[TransformersKwargs],
    ) -> CausalLMOutputWithPast:
        """Runs the decoder over ids with their prefix; position 0 is `latents`, unless the cache holds it already."""
        if latents is None and past_key_values is None:
            raise ValueError("`latents` are missing, without which nothing stands at position 0 of the decoder.")
        inputs_embeds = self.decoder.embed_tokens(decoder_input_ids)
        if latents is not None:
            first = self.latent_projection(latents.to(inputs_embeds)).unsqueeze(1)
            inputs_embeds = torch.cat([first, inputs_embeds[:, 1:]], dim=1)
        outputs = self.decoder(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        code_logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        return CausalLMOutputWithPast(
            logits=self._pad_logits(code_logits),
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _join_outputs(
        self,
        input_ids: torch.LongTensor,
        posterior: MelGPTVAEEncoderOutput,
        decoded: CausalLMOutputWithPast,
        kl_weight: float,
    ) -> MelGPTVAEOutput:
        code_logits = decoded.logits[..., : self.config.codebook_size].float().transpose(1, 2)
        code_nats = nn.functional.cross_entropy(code_logits, input_ids.long(), reduction="none")  # (batch, num_codes)
        reconstruction_nats = code_nats.sum(dim=1)
        loss = reconstruction_loss = reconstruction_nats.mean()
        kl_nats = kl_loss = None
        if posterior.mean is not None:
            kl_nats = gaussian_kl(posterior.mean, posterior.log_variance).sum(dim=-1)
            kl_loss = kl_nats.mean()
            loss = reconstruction_loss + kl_weight * kl_loss
        return MelGPTVAEOutput(
            loss=loss,
            reconstruction_loss=reconstruction_loss,
            kl_loss=kl_loss,
            logits=decoded.logits,
            latents=posterior.latents,
            mean=posterior.mean,
            log_variance=posterior.log_variance,
            reconstruction_nats=reconstruction_nats,
            kl_nats=kl_nats,
            encoder_hidden_states=posterior.hidden_states,
            encoder_attentions=posterior.attentions,
            decoder_hidden_states=decoded.hidden_states,
            decoder_attentions=decoded.attentions,
        )

    def _add_prefix(self, codes: torch.LongTensor, class_labels: torch.LongTensor | None = None) -> torch.LongTensor:
        """Puts the latent's placeholder and, with class conditioning, the class tokens in front of codes."""
        self._check_class_labels(class_labels, len(codes))
        prefix = [codes.new_full((len(codes), 1), self.config.bos_token_id)]
        if class_labels is not None:
            prefix.append(self.config.codebook_size + class_labels.to(codes).unsqueeze(1))
        return torch.cat([*prefix, codes], dim=1)

    def _check_codes(self, name: str, codes: torch.LongTensor, allow_hidden: bool = False):
        num_codes, codebook_size = self.config.num_codes, self.config.codebook_size
        if codes.ndim != 2 or codes.shape[1] != num_codes:
            raise ValueError(
                f"`{name}` have the shape {tuple(codes.shape)}; it has to be (batch_size, {num_codes}): whole clips."
            )
        self._check_code_range(name, codes, codebook_size - 1 + int(allow_hidden))

    def _check_code_range(self, name: str, codes: torch.LongTensor, last: int):
        if codes.numel() and not torch.compiler.is_compiling() and ((codes < 0) | (codes > last)).any():
            hidden = " (the last one marks a hidden code)" if last == self.config.hidden_code_id else ""
            raise ValueError(f"`{name}` hold values from {codes.min()} to {codes.max()}; give 0 to {last}{hidden}.")

    def _check_shape(self, name: str, values: torch.Tensor, shape: tuple[int, ...]):
        if tuple(values.shape) != tuple(shape):
            raise ValueError(f"`{name}` has the shape {tuple(values.shape)}; it has to be {tuple(shape)}.")

    def _check_class_labels(self, class_labels: torch.LongTensor | None, batch_size: int):
        if (class_labels is not None) != self.config.class_conditioning:
            given = "no `class_labels`" if class_labels is None else "`class_labels`"
            raise ValueError(
                f"There are {given} with `config.class_conditioning` {self.config.class_conditioning}: the decoder "
                "reads one label for each clip if, and only if, it is conditioned on the class."
            )
        if class_labels is None:
            return
        self._check_shape("class_labels", class_labels, (batch_size,))
        last = self.config.num_labels - 1
        if not torch.compiler.is_compiling() and ((class_labels < 0) | (class_labels > last)).any():
            raise ValueError(f"`class_labels` are {class_labels.tolist()}; labels are 0 to {last}.")
