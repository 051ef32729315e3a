"""The two forms of a language model that is prompted with embeddings and names a label: an encoder-decoder, whose
encoder reads the prompt and whose decoder writes the label, and a decoder-only model, which reads and writes in one.

All else of a speech language model is the same for both. A label is written after `decoder_start_token_id`: of an
encoder-decoder the first token of its decoder, of a decoder-only model the last token before the label.
"""

# As in all of transformers, fields of outputs may be None in their types and are tensors where they are used.
# pyright: reportArgumentType=false, reportOptionalMemberAccess=false

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    Cache,
    DynamicCache,
    EncoderDecoderCache,
    PreTrainedConfig,
)
from transformers.cache_utils import DynamicLayer
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput, Seq2SeqModelOutput

from .prompt_emoicl import IGNORED, additive_mask, check_positions, num_tokens_after_enrollment
from .shared_attention_emoicl import SHARING_TYPES, following


@dataclass
class EmoIclPrefix:
    r"""
    What a language model has computed for the beginnings of prompts, up to their targets: instruction and enrollment.
    Prompts that begin alike share them.

    Args:
        keys_and_values (`list[tuple[torch.Tensor, torch.Tensor]]`):
            For each layer, of an encoder-decoder that of the encoder, keys and values of shape
            `(num_prefixes, num_heads, prefix_length, head_size)`.
        rows (`torch.Tensor` of shape `(batch_size,)`): Which of the prefixes each prompt begins with. A prefix that
            was made of one prompt is that of any number of them.
        encoded (`torch.Tensor` of shape `(num_prefixes, prefix_length, hidden_size)`, *optional*):
            Hidden states of an encoder.
        attended (`list[tuple[torch.Tensor, torch.Tensor]]`, *optional*):
            For each layer of its decoder, the keys and values of these.
    """

    keys_and_values: list[tuple[torch.Tensor, torch.Tensor]]
    rows: torch.Tensor
    encoded: torch.Tensor | None = None
    attended: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)

    @property
    def num_bytes(self) -> int:
        """What it takes of memory."""
        kept = [part for layer in self.keys_and_values + self.attended for part in layer]
        return sum(part.nbytes for part in kept + ([] if self.encoded is None else [self.encoded]))

    def to_cache(self, batch_size: int) -> DynamicCache:
        """A cache that begins with the prefix of each prompt, and grows without changing this."""
        return self._cache_of(self.keys_and_values, batch_size)

    def to_decoder_cache(self, batch_size: int) -> EncoderDecoderCache:
        """The like for a decoder, which then attends to what follows on the prefix too."""
        cache = EncoderDecoderCache(DynamicCache(), self._cache_of(self.attended, batch_size))
        # Not all is in it yet.
        cache.is_updated.clear()
        return cache

    def _cache_of(self, layers: list[tuple[torch.Tensor, torch.Tensor]], batch_size: int) -> DynamicCache:
        cache, rows = DynamicCache(), self.rows.expand(batch_size)
        cache.layers.extend(PrefixLayer(keys, values, rows) for keys, values in layers)
        return cache


class PrefixLayer(DynamicLayer):
    """
    A layer of a cache that holds what prompts begin with once for all of them, and beside it what follows in each.
    Only the layer that is at work has them end to end.

    Args:
        keys, values (`torch.Tensor` of shape `(num_prefixes, num_heads, prefix_length, head_size)`): Of the prefixes.
        rows (`torch.Tensor` of shape `(batch_size,)`): Which of them each prompt begins with.
    """

    is_croppable = False

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, rows: torch.Tensor):
        super().__init__()
        self.lazy_initialization(keys, values)
        self.prefixes, self.rows = (keys, values), rows

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        follows = super().update(key_states, value_states)
        keys, values = (
            torch.cat([of_rows(prefixes, self.rows), part], dim=-2)
            for prefixes, part in zip(self.prefixes, follows, strict=True)
        )
        return keys, values

    def get_seq_length(self) -> int:
        return self.prefixes[0].shape[-2] + super().get_seq_length()

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        super().reorder_cache(beam_idx)
        self.rows = self.rows[beam_idx]

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self.rows = self.rows.repeat_interleave(repeats)


class PromptedEncoderDecoder:
    """An encoder-decoder such as T5, BART or T5Gemma.

    Args:
        model ([`~transformers.PreTrainedModel`]): The language model with its head.
    """

    auto_class: Any = AutoModelForSeq2SeqLM

    def __init__(self, model: Any):
        self.model = model

    def encode(
        self,
        prompt: torch.Tensor,
        attention_mask: torch.Tensor,
        prefix: EmoIclPrefix | None = None,
        **recorded: Any,
    ) -> BaseModelOutput:
        """What is computed of a prompt before any label is: hidden states of the encoder. After a prefix, what else is
        recorded is of that which is read."""
        encoder = self.model.get_encoder()
        if prefix is None:
            return encoder(inputs_embeds=prompt, attention_mask=attention_mask, return_dict=True, **recorded)
        cache = prefix.to_cache(len(prompt))
        length = cache.get_seq_length()
        output = encoder(
            inputs_embeds=following(encoder, prompt, length),
            attention_mask=attention_mask[:, :, length:],
            position_ids=torch.arange(length, prompt.shape[1], device=prompt.device)[None],
            encoder_cache=cache,
            return_dict=True,
            **recorded,
        )
        of_prefixes: Any = prefix.encoded
        of_prompts = of_rows(of_prefixes, prefix.rows.expand(len(prompt)))
        hidden = torch.cat([of_prompts, output.last_hidden_state], dim=1)
        return BaseModelOutput(hidden, output.hidden_states, output.attentions)

    def encode_prefix(
        self, prompt: torch.Tensor, attention_mask: torch.Tensor, sequence_ids: torch.Tensor, shared: bool = False
    ) -> EmoIclPrefix | None:
        """As of [`PromptedDecoder`]. There is none where instruction and enrollment see the target (then the mask has
        no rows of its own for each token), and of prompts whose targets do not stand in the same places."""
        starts = (sequence_ids == 1).int().argmax(1)
        length = int(starts[0])
        sees_target = attention_mask.dim() == 2
        if sees_target or self.model.config.model_type not in SHARING_TYPES or not length or (starts != length).any():
            return None
        prompt, mask = prompt[:, :length], attention_mask[:, :, :length, :length]
        first, rows = alike(prompt * (mask[:, 0, -1, :, None] == 0))
        if shared and len(first) == len(prompt):
            return None
        cache = DynamicCache()
        output = self.model.get_encoder()(
            inputs_embeds=prompt[first], attention_mask=mask[first], encoder_cache=cache, return_dict=True
        )
        start = torch.zeros(len(first), 1, dtype=torch.long, device=prompt.device)
        decoded = self.decode_hidden(output, None, start, use_cache=True)
        attended = keys_and_values_of(decoded.past_key_values.cross_attention_cache)
        return EmoIclPrefix(keys_and_values_of(cache), rows, output.last_hidden_state, attended)

    def fill_cache(self, *prompt: Any) -> Cache | None:
        """None: the decoder's cache begins empty."""
        return None

    def decode(
        self,
        encoded: BaseModelOutput,
        attention_mask: torch.Tensor,
        decoder_input_ids: torch.Tensor,
        decoder_attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """Logits `(batch_size, num_steps, vocab_size)` of what is written after encoded prompts."""
        return self.model(
            encoder_outputs=encoded,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            return_dict=True,
            **kwargs,
        )

    def decode_hidden(
        self,
        encoded: BaseModelOutput,
        attention_mask: torch.Tensor,
        decoder_input_ids: torch.Tensor,
        decoder_attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqModelOutput:
        """The hidden states below these logits."""
        output = self.model.get_decoder()(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            encoder_hidden_states=encoded.last_hidden_state,
            encoder_attention_mask=attention_mask,
            return_dict=True,
            **kwargs,
        )
        return Seq2SeqModelOutput(
            last_hidden_state=output.last_hidden_state,
            past_key_values=output.past_key_values,
            decoder_hidden_states=output.hidden_states,
            decoder_attentions=output.attentions,
            cross_attentions=output.cross_attentions,
            encoder_last_hidden_state=encoded.last_hidden_state,
            encoder_hidden_states=encoded.hidden_states,
            encoder_attentions=encoded.attentions,
        )

    def score(
        self,
        encoded: BaseModelOutput,
        attention_mask: torch.Tensor,
        decoder_input_ids: torch.Tensor,
        labels: torch.Tensor,
        prefix: EmoIclPrefix | None = None,
    ) -> torch.Tensor:
        """
        Log-likelihoods of candidate labels after encoded prompts.

        Args:
            encoded ([`~transformers.modeling_outputs.BaseModelOutput`]): What `encode` returned.
            attention_mask (`torch.Tensor` of shape `(batch_size, prompt_length)`): 1 for real tokens of the prompts.
            decoder_input_ids (`torch.Tensor` of shape `(num_labels, num_label_tokens)`): Start token and label tokens.
            labels (`torch.Tensor` of shape `(num_labels, num_label_tokens)`): Label tokens, padded with -100.
            prefix ([`EmoIclPrefix`], *optional*): What `encode_prefix` returned for these prompts.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_labels)`, in float32.
        """
        num_labels, batch_size = len(labels), len(attention_mask)
        # What a prompt's labels attend to is the same.
        rows = 1 if self.model.config.model_type in SHARING_TYPES else num_labels
        hidden = encoded.last_hidden_state.repeat_interleave(rows, dim=0)
        mask = additive_mask(attention_mask[:, None] > 0, hidden.dtype).repeat_interleave(rows, dim=0)
        steps = decoder_input_ids.repeat(batch_size, 1)
        cache = None
        if prefix is not None:
            cache = prefix.to_decoder_cache(batch_size)
            hidden = hidden[:, cache.cross_attention_cache.get_seq_length() :]
        logits = self.decode(BaseModelOutput(hidden), mask, steps, past_key_values=cache, use_cache=False).logits
        return log_likelihoods(logits, labels.repeat(batch_size, 1)).view(batch_size, num_labels)


class PromptedDecoder:
    """A decoder-only model such as Llama, Qwen, Gemma, SmolLM or Mistral. Its prompts are padded on the left before it
    sees them, wherever they were padded: then nothing stands between a prompt and its label.

    Args:
        model ([`~transformers.PreTrainedModel`]): The language model with its head.
    """

    auto_class: Any = AutoModelForCausalLM

    def __init__(self, model: Any):
        self.model = model

    def encode(
        self,
        prompt: torch.Tensor,
        attention_mask: torch.Tensor,
        prefix: EmoIclPrefix | None = None,
        **recorded: Any,
    ) -> BaseModelOutput:
        """The prompt itself: it is read together with the label."""
        return BaseModelOutput(last_hidden_state=prompt)

    def encode_prefix(
        self, prompt: torch.Tensor, attention_mask: torch.Tensor, sequence_ids: torch.Tensor, shared: bool = False
    ) -> EmoIclPrefix | None:
        """
        Reads the beginnings of prompts, each of them once however many prompts begin so.

        Args:
            prompt (`torch.Tensor` of shape `(batch_size, prompt_length, hidden_size)`): Embeddings of the prompts.
            attention_mask (`torch.Tensor` of shape `(batch_size, prompt_length)`): 1 for real tokens of the prompts.
            sequence_ids (`torch.Tensor` of shape `(batch_size, prompt_length)`): Place of each token's sequence.
            shared (`bool`, *optional*, defaults to `False`): Whether to do so only where some begin alike.

        Returns:
            [`EmoIclPrefix`], or `None` if there is none.
        """
        length = attention_mask.shape[1] - num_tokens_after_enrollment(sequence_ids, attention_mask)
        if length == 0:
            return None
        prompt, mask = (part[:, :length] for part in pad_left(prompt, attention_mask))
        first, rows = alike(prompt * mask[..., None])
        if shared and len(first) == len(prompt):
            return None
        return EmoIclPrefix(keys_and_values_of(self._read(DynamicCache(), prompt[first], mask[first])), rows)

    def fill_cache(
        self, encoded: BaseModelOutput, attention_mask: torch.Tensor, prefix: EmoIclPrefix | None = None
    ) -> Cache:
        """A cache of prompts, after which only what follows is to be read; arguments as of `score`."""
        prompt, mask = pad_left(encoded.last_hidden_state, attention_mask)
        cache, prompt = after_prefix(prompt, prefix)
        return self._read(cache, prompt, mask)

    def _read(self, cache: DynamicCache, prompt: torch.Tensor, mask: torch.Tensor) -> DynamicCache:
        """Reads prompts, or what follows in them on what is in the cache, into the cache."""
        positions = positions_of(mask)[:, -prompt.shape[1] :]
        self.model.get_decoder()(
            inputs_embeds=prompt, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        return cache

    def decode(
        self,
        encoded: BaseModelOutput,
        attention_mask: torch.Tensor,
        decoder_input_ids: torch.Tensor,
        decoder_attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """Logits `(batch_size, num_steps, vocab_size)` of what is written after prompts, of which that is read first
        which is not in the cache."""
        num_steps = decoder_input_ids.shape[1]
        inputs = self._label_inputs(encoded, attention_mask, decoder_input_ids, decoder_attention_mask, **kwargs)
        output = self.model(**inputs, logits_to_keep=num_steps)
        return Seq2SeqLMOutput(logits=output.logits[:, -num_steps:], **self._recorded(output, encoded, num_steps))

    def decode_hidden(
        self,
        encoded: BaseModelOutput,
        attention_mask: torch.Tensor,
        decoder_input_ids: torch.Tensor,
        decoder_attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqModelOutput:
        """The hidden states below these logits."""
        num_steps = decoder_input_ids.shape[1]
        inputs = self._label_inputs(encoded, attention_mask, decoder_input_ids, decoder_attention_mask, **kwargs)
        output = self.model.get_decoder()(**inputs)
        return Seq2SeqModelOutput(
            last_hidden_state=output.last_hidden_state[:, -num_steps:], **self._recorded(output, encoded, num_steps)
        )

    @staticmethod
    def _recorded(output: Any, encoded: BaseModelOutput, num_steps: int) -> dict[str, Any]:
        """What else is returned of a label's last steps, under the names that an encoder-decoder gives it."""
        return {
            "past_key_values": output.past_key_values,
            "decoder_hidden_states": last_steps(output.hidden_states, num_steps),
            "decoder_attentions": last_steps(output.attentions, num_steps),
            "encoder_last_hidden_state": encoded.last_hidden_state,
        }

    def _check_positions(self, num_tokens: int) -> None:
        check_positions(self.model.config, num_tokens, "The prompt and a label have")

    def _label_inputs(
        self,
        encoded: BaseModelOutput,
        attention_mask: torch.Tensor,
        decoder_input_ids: torch.Tensor,
        decoder_attention_mask: torch.Tensor | None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Arguments of the language model for prompts and labels, but for what is in the cache of prompts."""
        prompt, mask = pad_left(encoded.last_hidden_state, attention_mask)
        embeds = self.model.get_input_embeddings()(decoder_input_ids)
        num_read = 0 if past_key_values is None else past_key_values.get_seq_length()
        embeds = torch.cat([prompt[:, num_read:], embeds], dim=1)
        if decoder_attention_mask is None:
            num_steps = num_read + embeds.shape[1] - prompt.shape[1]
            decoder_attention_mask = mask.new_ones(len(mask), num_steps)
        mask = torch.cat([mask, decoder_attention_mask], dim=1)
        self._check_positions(mask.shape[1])
        return {
            "inputs_embeds": embeds,
            "attention_mask": mask,
            "position_ids": positions_of(mask)[:, -embeds.shape[1] :],
            "past_key_values": past_key_values,
            "return_dict": True,
            **kwargs,
        }

    def score(
        self,
        encoded: BaseModelOutput,
        attention_mask: torch.Tensor,
        decoder_input_ids: torch.Tensor,
        labels: torch.Tensor,
        prefix: EmoIclPrefix | None = None,
    ) -> torch.Tensor:
        """Log-likelihoods of candidate labels after prompts, as of [`PromptedEncoderDecoder`]: in one pass, in which
        all candidates of a prompt follow on it side by side, as a tree: what several begin with is read once."""
        prompt, mask = pad_left(encoded.last_hidden_state, attention_mask)
        self._check_positions(mask.shape[1] + labels.shape[1])
        cache, prompt = after_prefix(prompt, prefix)
        steps = label_steps(decoder_input_ids, labels)
        num_steps = len(steps.tokens)
        embeds = self.model.get_input_embeddings()(steps.tokens)
        embeds = torch.cat([prompt, embeds.expand(len(prompt), -1, -1)], dim=1)
        positions = torch.cat([positions_of(mask), mask.sum(1, keepdim=True) + steps.places], dim=1)
        # All that comes later sees the prompt.
        follows = nn.functional.pad(steps.follows, (mask.shape[1], 0, prompt.shape[1], 0), value=True)
        is_real = nn.functional.pad(mask > 0, (0, num_steps), value=True)
        distance = (positions[:, :, None] - positions[:, None])[:, -embeds.shape[1] :]
        sees = is_real[:, None] & follows & (distance >= 0)
        output = self.model(
            inputs_embeds=embeds,
            attention_mask=attention_masks(self.model.config, sees, distance, embeds.dtype),
            position_ids=positions[:, -embeds.shape[1] :],
            past_key_values=cache if prefix is not None else None,
            use_cache=prefix is not None,
            logits_to_keep=num_steps,
        )
        logits = output.logits[:, -num_steps:].float()
        likelihoods = logits[:, steps.of_labels, labels.clamp(min=0)] - logits.logsumexp(-1)[:, steps.of_labels]
        return likelihoods.masked_fill(labels == IGNORED, 0.0).sum(-1)


def prompted_form(config: PreTrainedConfig) -> type[PromptedEncoderDecoder] | type[PromptedDecoder]:
    """Which of the two a configuration of a language model is of."""
    return PromptedEncoderDecoder if config.is_encoder_decoder else PromptedDecoder


def pad_left(prompt: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts `(batch_size, prompt_length, hidden_size)` and their mask, with all padding at the left."""
    order = attention_mask.argsort(dim=1, stable=True)
    return prompt.gather(1, order[..., None].expand_as(prompt)), attention_mask.gather(1, order)


def positions_of(mask: torch.Tensor) -> torch.Tensor:
    """The place of each real token among those of its row, from 0."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def after_prefix(prompt: torch.Tensor, prefix: EmoIclPrefix | None) -> tuple[DynamicCache, torch.Tensor]:
    """A cache with what is known of prompts, and what of them is still to be read."""
    if prefix is None:
        return DynamicCache(), prompt
    cache = prefix.to_cache(len(prompt))
    return cache, prompt[:, cache.get_seq_length() :]


def alike(prompts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts are alike where their embeddings are: the first of each kind, and which kind each of them is."""
    distinct, rows = prompts.detach().flatten(1).unique(dim=0, return_inverse=True)
    return torch.stack([(rows == i).nonzero()[0, 0] for i in range(len(distinct))]), rows


def of_rows(prefixes: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The prefix of each row; without a copy if there is one prefix."""
    return prefixes.expand(len(rows), *prefixes.shape[1:]) if len(prefixes) == 1 else prefixes[rows]


def keys_and_values_of(cache: DynamicCache) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each layer, what is in a cache."""
    layers: Any = cache.layers
    return [(layer.keys, layer.values) for layer in layers]


class LabelSteps(NamedTuple):
    """
    The steps of a decoder that reads several labels, as a tree.

    Args:
        tokens (`torch.Tensor` of shape `(num_steps,)`): What is read.
        places (`torch.Tensor` of shape `(num_steps,)`): Its place in a label, from 0, the start token.
        follows (`torch.Tensor` of shape `(num_steps, num_steps)`): Whether a step (first axis) is after another or the
            same.
        of_labels (`torch.Tensor` of shape `(num_labels, num_label_tokens)`): The step that predicts each token.
    """

    tokens: torch.Tensor
    places: torch.Tensor
    follows: torch.Tensor
    of_labels: torch.Tensor


def label_steps(decoder_input_ids: torch.Tensor, labels: torch.Tensor) -> LabelSteps:
    """
    The steps that a decoder takes to read labels, at which what several of them begin with stands once.

    Args:
        decoder_input_ids (`torch.Tensor` of shape `(num_labels, num_label_tokens)`): Start token and label tokens.
        labels (`torch.Tensor` of shape `(num_labels, num_label_tokens)`): Label tokens, padded with -100.

    Returns:
        [`LabelSteps`]
    """
    num_labels, num_label_tokens = labels.shape
    places = torch.arange(num_label_tokens, device=labels.device)
    # All that is read up to each step.
    read = decoder_input_ids[:, None].masked_fill(places > places[:, None], IGNORED).flatten(0, 1)
    of_labels = torch.arange(len(read), device=labels.device)
    branches = torch.zeros_like(of_labels)
    if torch.compiler.is_compiling():
        # A graph has no sizes that hang on what the tokens are: each label has steps of its own.
        branches = of_labels // num_label_tokens
    else:
        is_real = labels.flatten() != IGNORED
        read, rows = read[is_real].unique(dim=0, return_inverse=True)
        of_labels = branches.masked_scatter(is_real, rows)
        branches = branches[: len(read)]
    places = (read != IGNORED).sum(1) - 1
    follows = ((read[:, None] == read) | (read == IGNORED)).all(-1) & (branches[:, None] == branches)
    return LabelSteps(read.gather(1, places[:, None])[:, 0], places, follows, of_labels.view_as(labels))


def attention_masks(
    config: PreTrainedConfig, sees: torch.Tensor, distance: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor | dict[str, torch.Tensor]:
    """
    The attention masks of a decoder-only language model, in the form in which its type takes them.

    Args:
        config ([`~transformers.PreTrainedConfig`]): Configuration of the language model.
        sees (`torch.Tensor` of shape `(batch_size, num_queries, num_keys)`): Whether a token sees another.
        distance (`torch.Tensor` of the same shape): How many places it stands behind it.
        dtype (`torch.dtype`): That of the language model.

    Returns:
        `torch.Tensor` of shape `(batch_size, 1, num_queries, num_keys)`, or one for each type of layer.
    """
    config = config.get_text_config()
    window = getattr(config, "sliding_window", None)
    near = sees if window is None else sees & (distance < window)
    layer_types = getattr(config, "layer_types", None)
    if layer_types is None:
        return additive_mask(near, dtype)
    return {kind: additive_mask(near if "sliding" in kind else sees, dtype) for kind in set(layer_types)}


def last_steps(parts: tuple[torch.Tensor, ...] | None, num_steps: int) -> tuple[torch.Tensor, ...] | None:
    """Of the hidden states, or the attentions, of each layer those of the last steps."""
    return None if parts is None else tuple(part[..., -num_steps:, :] for part in parts)


def log_likelihoods(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Log-likelihood of each label, given logits `(num_labels, num_steps, vocab_size)` of its tokens; float32."""
    return -nn.functional.cross_entropy(
        logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    ).sum(-1)


__all__ = ["EmoIclPrefix", "PromptedDecoder", "PromptedEncoderDecoder", "prompted_form"]
