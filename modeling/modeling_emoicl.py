"""The personalized speech language model: frozen speech encoder -> Q-Former -> prompt -> language model -> labels."""

# As in all of transformers, what a call may leave out is None in the signature and a tensor where it is used.
# pyright: reportArgumentType=false, reportCallIssue=false

from typing import Any

import torch
from torch import nn
from transformers import Cache, GenerationConfig, GenerationMixin
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.generic import can_return_tuple

from .adaptation_emoicl import EmoIclLinearOfSources, EmoIclLogVariances, EmoIclSpeakerAdaptation
from .blend_emoicl import blend_label_scores, label_token_bias
from .configuration_emoicl import EmoIclConfig
from .language_model_emoicl import EmoIclPrefix, PromptedDecoder, PromptedEncoderDecoder, prompted_form
from .outputs_emoicl import EmoIclAudioOutput, EmoIclEncoderOutput, EmoIclModelOutput, EmoIclSeq2SeqLMOutput
from .pretrained_emoicl import EmoIclPreTrainedModel
from .prompt_emoicl import IGNORED, check_length, hide_targets, labels_of_utterances, placeholder_mask, shot_labels
from .qformer_emoicl import EmoIclQFormer, EmoIclVoiceToken
from .shared_attention_emoicl import share_attention
from .speech_encoder_emoicl import build_speech_encoder


PROMPT_INPUTS = (
    *("inputs_embeds", "sequence_ids", "segment_ids", "utterance_index", "query_embeds", "voice_embeds"),
    *("input_features", "input_features_mask", "speech_features", "speech_features_mask"),
)
# Parts that quantized loading leaves as they are: small ones, and the encoder that statistics of voices hold for.
NOT_QUANTIZED = ("speech_encoder", "qformer", "voice_token", "adaptation")
# What of a language model's layers may be asked for.
RECORDED = ("output_attentions", "output_hidden_states")
# What outputs tell of the speaker adaptation.
EVIDENCE = ("label_tokens", "label_evidence", "language_model_weight")


class EmoIclModel(EmoIclPreTrainedModel):
    r"""
    The speech language model up to the hidden states of its decoder, and all that stands before: speech encoder,
    Q-Former, prompt, speaker adaptation.

    Its `language_model` has its head, as in [`Blip2Model`]: heads of encoder-decoders differ in more than their
    weights (scales, biases, soft caps).

    Args:
        config ([`EmoIclConfig`]): Sizes and types of the parts.
    """

    _no_split_modules = ["EmoIclQFormer", "EmoIclVoiceToken", "EmoIclSpeakerAdaptation"]
    _skip_keys_device_placement = ["past_key_values"]

    def __init__(self, config: EmoIclConfig):
        super().__init__(config)
        self.language_model = prompted_form(config.text_config).auto_class.from_config(config.text_config)
        share_attention(self.language_model)
        text_hidden_size = self.get_input_embeddings().embedding_dim
        self.speech_encoder = build_speech_encoder(config.speech_config, normalize=config.speech_layer is None)
        adaptation_config = config.adaptation_config
        if config.voice_token:
            voice_token_size = config.voice_token_size or adaptation_config.size
            self.voice_token = EmoIclVoiceToken(voice_token_size, text_hidden_size)
        else:
            self.qformer = EmoIclQFormer(config, text_hidden_size)
        self.segment_embeddings = nn.Embedding(2, text_hidden_size)
        self.sequence_embeddings = nn.Embedding(2 * config.max_shots + 2, text_hidden_size)
        # As a table, for a table is called, and where a model lies on disk its parts are brought when they are called.
        self.unlabeled_embedding = nn.Embedding(1, text_hidden_size) if config.bind_labels else None
        self.adaptation = EmoIclSpeakerAdaptation(adaptation_config) if adaptation_config is not None else None
        if getattr(config, "quantization_config", None) is not None:
            self._keep_in_fp32_modules = [rf"(?:model\.)?{part}" for part in NOT_QUANTIZED]
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, EmoIclQFormer):
            init.normal_(module.query_tokens, mean=0.0, std=1.0)
            init.ones_(module.feature_scale)
            init.zeros_(module.feature_shift)
        elif isinstance(module, EmoIclVoiceToken):
            init.ones_(module.feature_scale)
        elif isinstance(module, EmoIclLinearOfSources):
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            init.zeros_(module.bias)
        elif isinstance(module, EmoIclSpeakerAdaptation):
            init.normal_(module.label_means, mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, EmoIclLogVariances):
            for log_variance in module.parameters():
                init.zeros_(log_variance)

    @property
    def prompted(self) -> PromptedEncoderDecoder | PromptedDecoder:
        """The language model in its form, by which it is told what encoder-decoders do otherwise than others."""
        return prompted_form(self.config.text_config)(self.language_model)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.language_model.set_output_embeddings(new_embeddings)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Module:
        return self.language_model.resize_token_embeddings(*args, **kwargs)

    def get_encoder(self, modality: str | None = None) -> Any:
        """The language model's encoder; with `modality="audio"` the speech encoder."""
        return self.language_model.get_encoder() if modality is None else super().get_encoder(modality)

    def get_decoder(self) -> Any:
        """The language model's decoder."""
        return self.language_model.get_decoder()

    def get_audio_features(
        self,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        speech_features: torch.Tensor | None = None,
        speech_features_mask: torch.Tensor | None = None,
    ) -> EmoIclAudioOutput:
        """All that is computed for an utterance on its own, whatever prompt it will stand in.

        Args:
            input_features (`torch.Tensor` of shape `(num_utterances, feature_size, num_frames)`, *optional*):
                What the speech encoder reads: log-mel features, filterbanks or waveforms.
            input_features_mask (`torch.Tensor` of shape `(num_utterances, num_frames)`, *optional*):
                1 for real frames.
            speech_features (`torch.Tensor` of shape `(num_utterances, num_feature_frames, speech_feature_size)`,
                *optional*): Output of [`~EmoIclPreTrainedModel.get_speech_features`], in place of the above.
            speech_features_mask (`torch.Tensor` of shape `(num_utterances, num_feature_frames)`, *optional*):
                1 for real frames.

        Returns:
            [`EmoIclAudioOutput`]
        """
        features, mask = self.speech_features_of(
            input_features, input_features_mask, speech_features, speech_features_mask
        )
        voice_embeds = None if self.adaptation is None else self.adaptation.embed(features, mask)
        return EmoIclAudioOutput(
            query_embeds=self.voice_token(voice_embeds) if self.config.voice_token else self.qformer(features, mask),
            voice_embeds=voice_embeds,
        )

    def get_placeholder_mask(
        self, input_ids: torch.Tensor | None, segment_ids: torch.Tensor, utterance_index: torch.Tensor
    ) -> torch.Tensor:
        """Where the query tokens of the utterances go; see [`placeholder_mask`]."""
        config = self.config
        return placeholder_mask(
            input_ids, segment_ids, utterance_index, config.audio_token_id, config.num_query_tokens
        )

    def embed_prompt(
        self,
        input_ids: torch.Tensor | None,
        sequence_ids: torch.Tensor,
        segment_ids: torch.Tensor,
        utterance_index: torch.Tensor,
        query_embeds: torch.Tensor,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Puts query tokens in their placeholders: `SeqPosEmb(SegmentEmb([R, U]))` (the paper, speech LM).

        Returns:
            `torch.Tensor` of shape `(batch_size, prompt_length, text_hidden_size)`.

        Raises:
            ValueError: If the placeholders do not match the utterances, or the prompt is too long.
        """
        check_length(self.config, num_shots=utterance_index.shape[1] - 1, num_tokens=sequence_ids.shape[1])
        placeholders = self.get_placeholder_mask(input_ids, segment_ids, utterance_index)
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        # The n-th placeholder of a prompt takes query token n of its utterances laid end to end.
        place = (placeholders.cumsum(1) - 1).clamp(min=0)
        utterance = utterance_index.gather(1, place // self.config.num_query_tokens).clamp(min=0)
        queries = query_embeds[utterance, place % self.config.num_query_tokens].to(inputs_embeds)
        if self.unlabeled_embedding is not None:
            without_label = self.unlabeled_embedding(torch.zeros_like(sequence_ids))
            queries = queries + labels_of_utterances(inputs_embeds, sequence_ids, without_label)
        inputs_embeds = torch.where(placeholders[..., None], queries, inputs_embeds)
        return inputs_embeds + self.segment_embeddings(segment_ids) + self.sequence_embeddings(sequence_ids)

    def shot_labels(
        self, input_ids: torch.Tensor, sequence_ids: torch.Tensor, utterance_index: torch.Tensor
    ) -> torch.Tensor:
        """The enrollment's labels as they stand in the prompt; see [`shot_labels`]."""
        return shot_labels(input_ids, sequence_ids, utterance_index, self.config.eos_token_id)

    def label_evidence(
        self,
        input_ids: torch.Tensor | None,
        sequence_ids: torch.Tensor,
        utterance_index: torch.Tensor,
        voice_embeds: torch.Tensor | None,
    ) -> dict[str, torch.Tensor]:
        """What the speaker adaptation says, as the last three fields of [`EmoIclEncoderOutput`]; nothing without one.

        Raises:
            ValueError: If it lacks the voice embeddings, or the tokens of the enrollment's labels.
        """
        if self.adaptation is None or not self.config.adaptation_config.has_evidence:
            return {}
        if voice_embeds is None:
            raise ValueError("`query_embeds` are given without the `voice_embeds` that go with them.")
        if input_ids is None:
            raise ValueError("The speaker adaptation reads labels from `input_ids`: give them beside `inputs_embeds`.")
        shot_labels = self.shot_labels(input_ids, sequence_ids, utterance_index)
        label_tokens, evidence, trust = self.adaptation(voice_embeds, utterance_index, shot_labels)
        weight = self.config.adaptation_config.language_model_weight * trust
        return {"label_tokens": label_tokens, "label_evidence": evidence, "language_model_weight": weight}

    def prepare_prompt(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        sequence_ids: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        utterance_index: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        speech_features: torch.Tensor | None = None,
        speech_features_mask: torch.Tensor | None = None,
        query_embeds: torch.Tensor | None = None,
        voice_embeds: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """Everything up to the language model: embeddings of the prompt, its mask, and what the speaker adaptation
        says. The arguments are those of [`EmoIclForConditionalGeneration`]."""
        if query_embeds is None:
            audio = self.get_audio_features(input_features, input_features_mask, speech_features, speech_features_mask)
            query_embeds, voice_embeds = audio.query_embeds, audio.voice_embeds
        layout = (sequence_ids, segment_ids, utterance_index)
        prompt = self.embed_prompt(input_ids, *layout, query_embeds, inputs_embeds)
        mask = self.prompt_mask(input_ids, attention_mask, *layout)
        return prompt, mask, self.label_evidence(input_ids, sequence_ids, utterance_index, voice_embeds)

    def prompt_mask(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor,
        sequence_ids: torch.Tensor,
        segment_ids: torch.Tensor,
        utterance_index: torch.Tensor,
    ) -> torch.Tensor:
        """What an encoder sees of a prompt. Where nothing sees the target, several of them may stand at the end."""
        if self.config.enrollment_sees_target or not self.config.text_config.is_encoder_decoder:
            return attention_mask
        placeholders = self.get_placeholder_mask(input_ids, segment_ids, utterance_index)
        dtype = self.get_input_embeddings().weight.dtype
        return hide_targets(attention_mask, sequence_ids, placeholders, self.config.num_query_tokens, dtype)

    def encode(self, *args: Any, prefix: EmoIclPrefix | None = None, **inputs: Any) -> EmoIclEncoderOutput:
        """Runs everything up to the language model's encoder, as [`EmoIclEncoderOutput`]. The arguments are those of
        `prepare_prompt`, and for the encoder the prefix, `output_attentions` and `output_hidden_states`."""
        recorded = {name: inputs.pop(name) for name in RECORDED if name in inputs}
        prompt, mask, evidence = self.prepare_prompt(*args, **inputs)
        encoded = self.prompted.encode(prompt, mask, prefix, **recorded)
        states = (encoded.last_hidden_state, encoded.hidden_states, encoded.attentions)
        return EmoIclEncoderOutput(*states, **evidence)

    @torch.no_grad()
    def encode_prefix(self, **inputs: torch.Tensor) -> EmoIclPrefix | None:
        """
        What a language model can keep of instruction and enrollment, whatever the target is: a decoder-only one, and
        of most encoder-decoders one whose instruction and enrollment do not see the target. Handed to `score_labels`
        and `generate` beside prompts that begin so, they are not read again.

        Args:
            **inputs (`torch.Tensor`): Prompts, as for `encode`.

        Returns:
            [`EmoIclPrefix`], or `None` if the language model keeps nothing.
        """
        prompt, mask, _ = self.prepare_prompt(**inputs)
        return self.prompted.encode_prefix(prompt, mask, inputs["sequence_ids"])

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **prompt: Any,
    ) -> EmoIclModelOutput:
        r"""
        Args:
            decoder_input_ids (`torch.Tensor` of shape `(batch_size, num_steps)`): Start token and label tokens.
            **prompt (`torch.Tensor`): The rest of the prompt; this and what is not named here is as in
                [`EmoIclForConditionalGeneration`].

        Returns:
            [`EmoIclModelOutput`]
        """
        recorded = self.recorded_outputs(output_attentions, output_hidden_states)
        if encoder_outputs is None:
            encoder_outputs = self.encode(input_ids, attention_mask, **prompt, **recorded)
        output = self.prompted.decode_hidden(
            encoder_outputs,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **recorded,
        )
        evidence = {name: encoder_outputs.get(name) for name in EVIDENCE}
        return EmoIclModelOutput(**(dict(output) | evidence))


class EmoIclForConditionalGeneration(EmoIclPreTrainedModel, GenerationMixin):
    r"""
    Speech language model that names the emotion of a target utterance, given an instruction and any number of
    labeled utterances of the same speaker: `P(Z | W, S, X)` (the paper, speech LM and MetaICL).

    Args:
        config ([`EmoIclConfig`]): Sizes and types of the parts.
    """

    # The loss is a mean over the label tokens of a batch, so Trainer divides it by the accumulation steps.
    accepts_loss_kwargs = False

    def __init__(self, config: EmoIclConfig):
        super().__init__(config)
        self.model = EmoIclModel(config)
        # The paper's decoding (its set-up); a label has few tokens, and its score is its log-probability. None of the
        # language model's own habits: BART, for one, forces a first token.
        self.generation_config = GenerationConfig(
            decoder_start_token_id=config.decoder_start_token_id,
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
            num_beams=4,
            max_new_tokens=16,
            length_penalty=0.0,
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.model.set_output_embeddings(new_embeddings)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Module:
        return self.model.resize_token_embeddings(*args, **kwargs)

    def get_audio_features(self, *args: Any, **kwargs: Any) -> EmoIclAudioOutput:
        """See [`~EmoIclModel.get_audio_features`]."""
        return self.model.get_audio_features(*args, **kwargs)

    def encode_prefix(self, **inputs: torch.Tensor) -> EmoIclPrefix | None:
        """See [`~EmoIclModel.encode_prefix`]."""
        return self.model.encode_prefix(**inputs)

    def get_familiarity(self, voice_embeds: torch.Tensor) -> torch.Tensor | None:
        """How much utterances sound like those of the training corpora; see [`EmoIclFamiliarity`].

        Args:
            voice_embeds (`torch.Tensor` of shape `(num_utterances, voice_size)`): What `get_audio_features` gives.

        Returns:
            `torch.Tensor` of shape `(num_utterances,)`, or None of a model that has no statistics of it.
        """
        # It is the last of a voice embedding.
        return None if getattr(self.model.adaptation, "familiarity", None) is None else voice_embeds[:, -1]

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        sequence_ids: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        utterance_index: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        speech_features: torch.Tensor | None = None,
        speech_features_mask: torch.Tensor | None = None,
        query_embeds: torch.Tensor | None = None,
        voice_embeds: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        decoder_prefix_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> EmoIclSeq2SeqLMOutput:
        r"""
        Args:
            input_ids (`torch.Tensor` of shape `(batch_size, prompt_length)`):
                Instruction, enrollment and target, with `num_query_tokens` placeholders for each utterance.
            attention_mask (`torch.Tensor` of shape `(batch_size, prompt_length)`): 1 for real tokens.
            sequence_ids (`torch.Tensor` of shape `(batch_size, prompt_length)`):
                Place of the sequence that a token belongs to, counted back from the target: the instruction 0, the
                target 1, the label of the last shot 2, its utterance 3, ...
            segment_ids (`torch.Tensor` of shape `(batch_size, prompt_length)`): 0 for text, 1 for speech.
            utterance_index (`torch.Tensor` of shape `(batch_size, num_shots + 1)`):
                Rows of the features for each utterance of a prompt, the target last; -1 for padding at the right.
            input_features (`torch.Tensor` of shape `(num_utterances, feature_size, num_frames)`, *optional*):
                What the speech encoder reads (log-mel features, filterbanks or waveforms), each utterance once.
            input_features_mask (`torch.Tensor` of shape `(num_utterances, num_frames)`, *optional*):
                1 for real frames.
            speech_features (`torch.Tensor` of shape `(num_utterances, num_feature_frames, speech_feature_size)`,
                *optional*): Speech encoder output in place of `input_features`.
            speech_features_mask (`torch.Tensor` of shape `(num_utterances, num_feature_frames)`, *optional*):
                1 for real frames.
            query_embeds (`torch.Tensor` of shape `(num_utterances, num_query_tokens, text_hidden_size)`,
                *optional*): Output of `get_audio_features` in place of all of the above.
            voice_embeds (`torch.Tensor` of shape `(num_utterances, voice_size)`, *optional*):
                Goes with `query_embeds`.
            inputs_embeds (`torch.Tensor` of shape `(batch_size, prompt_length, text_hidden_size)`, *optional*):
                Embeddings in place of those of `input_ids`; anything at the placeholders. A speaker adaptation still
                reads the enrollment's labels from `input_ids`.
            decoder_input_ids (`torch.Tensor` of shape `(batch_size, num_steps)`, *optional*):
                Start token and label tokens; made from `labels` if absent. With a filled cache, those not in it.
            decoder_attention_mask (`torch.Tensor` of shape `(batch_size, num_steps)`, *optional*):
                1 for real ones of these.
            decoder_prefix_ids (`torch.Tensor` of shape `(batch_size, num_steps_so_far)`, *optional*):
                All of them, those in the cache too, by which the evidence of a speaker adaptation is spread.
            labels (`torch.Tensor` of shape `(batch_size, num_steps)`, *optional*):
                Label tokens with the end-of-sequence token, padded with -100.
            encoder_outputs ([`EmoIclEncoderOutput`], *optional*): Output of `model.encode` in place of the prompt.
            past_key_values ([`Cache`], *optional*): The decoder's cache.
            use_cache (`bool`, *optional*): Whether to fill a cache; without effect beside `labels`.
            output_attentions, output_hidden_states (`bool`, *optional*):
                Whether to return those of the language model.

        Returns:
            [`EmoIclSeq2SeqLMOutput`]
        """
        if decoder_input_ids is None and labels is None:
            raise ValueError("Pass `labels` or `decoder_input_ids`; to recognize, call `generate` or `score_labels`.")
        recorded = self.recorded_outputs(output_attentions, output_hidden_states)
        if encoder_outputs is None:
            encoder_outputs = self.model.encode(
                input_ids,
                attention_mask,
                sequence_ids,
                segment_ids,
                utterance_index,
                input_features,
                input_features_mask,
                speech_features,
                speech_features_mask,
                query_embeds,
                voice_embeds,
                inputs_embeds,
                **recorded,
            )
        if decoder_input_ids is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        output = self.model.prompted.decode(
            encoder_outputs,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            past_key_values=past_key_values,
            use_cache=False if labels is not None else use_cache,
            **recorded,
        )
        if decoder_prefix_ids is None:
            decoder_prefix_ids = decoder_input_ids
        logits = self.add_evidence(output.logits, encoder_outputs, decoder_prefix_ids)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)
        evidence = {name: encoder_outputs.get(name) for name in EVIDENCE}
        return EmoIclSeq2SeqLMOutput(**(dict(output) | {"loss": loss, "logits": logits} | evidence))

    def add_evidence(
        self, logits: torch.Tensor, encoder_outputs: BaseModelOutput, decoder_prefix_ids: torch.Tensor
    ) -> torch.Tensor:
        """The logits of the last steps, weighted and with the bias of the label evidence, where there is one.

        Args:
            logits (`torch.Tensor` of shape `(batch_size, num_steps, vocab_size)`): Those of the language model.
            encoder_outputs ([`EmoIclEncoderOutput`]): Has the evidence.
            decoder_prefix_ids (`torch.Tensor` of shape `(batch_size, num_steps_so_far)`): Decoder inputs up to here.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_steps, vocab_size)`.
        """
        tokens, evidence, weight = (encoder_outputs.get(name) for name in EVIDENCE)
        if evidence is None or weight is None:
            return logits
        bias = label_token_bias(decoder_prefix_ids, tokens, evidence, logits.shape[-1])
        return weight[:, None, None].to(logits) * logits + bias[:, -logits.shape[1] :].to(logits)

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """Shifts `labels` to the right by the decoder's start token, and -100 becomes the padding token."""
        shifted = nn.functional.pad(labels[:, :-1], (1, 0), value=self.config.decoder_start_token_id)
        return shifted.masked_fill(shifted == IGNORED, self.config.pad_token_id)

    def score_labels(self, label_ids: torch.Tensor, prefix: Any = None, **inputs: torch.Tensor) -> torch.Tensor:
        r"""
        Exact log-probability of each candidate label, from one run over the prompt and one pass over the labels:
        `log P(Z | W, S, X) = sum_t log P(z_t | z_<t, W, S, X)`, normalized over the candidates. With a speaker
        adaptation, the log-linear blend of that of the language model and the evidence; see [`blend_label_scores`].

        Args:
            label_ids (`torch.Tensor` of shape `(num_labels, num_label_tokens)`):
                Tokens of the candidates with the end-of-sequence token, padded with -100.
            prefix ([`EmoIclPrefix`], *optional*):
                Output of `encode_prefix` for the enrollment of these prompts.
            **inputs (`torch.Tensor`): The prompt, as for `forward`.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_labels)` in float32.
        """
        inputs.pop("labels", None)
        attention_mask = inputs["attention_mask"]
        label_ids = label_ids.to(attention_mask.device)
        prompt, mask, evidence = self.model.prepare_prompt(**inputs)
        prompted = self.model.prompted
        # A graph that is compiled or exported has no sizes that hang on which prompts begin alike.
        if prefix is None and len(prompt) > 1 and not torch.compiler.is_compiling():
            prefix = prompted.encode_prefix(prompt, mask, inputs["sequence_ids"], shared=True)
        encoded = prompted.encode(prompt, mask, prefix)
        decoder_input_ids = self.prepare_decoder_input_ids_from_labels(label_ids)
        scores = prompted.score(encoded, attention_mask, decoder_input_ids, label_ids, prefix)
        if evidence:
            num_known = len(self.config.adaptation_config.label_words)
            tokens, of_labels, weight = (evidence[name] for name in EVIDENCE)
            scores = blend_label_scores(scores, label_ids, tokens, of_labels, num_known, weight)
        return scores.log_softmax(-1)

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        prefix: Any = None,
        **kwargs: Any,
    ):
        """Writes the label by beam search, the paper's way (beam 4, from the generation config).

        Args:
            input_ids, attention_mask (`torch.Tensor`): Prompt and mask, as for `forward`.
            prefix ([`EmoIclPrefix`], *optional*): As for `score_labels`.
            **kwargs: The rest of the prompt, as for `forward`, and arguments of [`~GenerationMixin.generate`].

        Returns:
            `torch.Tensor` of shape `(batch_size, num_steps)`, or a `GenerateOutput` if asked for.
        """
        prompt = {name: kwargs.pop(name) for name in PROMPT_INPUTS if name in kwargs}
        kwargs.pop("labels", None)
        config = kwargs.get("generation_config") or self.generation_config
        if kind := kwargs.get("cache_implementation") or config.cache_implementation:
            raise ValueError(f"A label is short, and so is its cache: leave out `cache_implementation={kind!r}`.")
        if "encoder_outputs" not in kwargs:
            prompt |= {name: kwargs.get(name, getattr(config, name)) for name in RECORDED}
            kwargs["encoder_outputs"] = self.model.encode(input_ids, attention_mask, prefix=prefix, **prompt)
        if kwargs.get("use_cache", config.use_cache) is not False and "past_key_values" not in kwargs:
            # Read once, before there are several beams of it.
            cache = self.model.prompted.fill_cache(kwargs["encoder_outputs"], attention_mask, prefix)
            kwargs |= {} if cache is None else {"past_key_values": cache}
        return super().generate(attention_mask=attention_mask, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    def _expand_inputs_for_generation(self, expand_size: int = 1, **kwargs: Any) -> tuple[torch.Tensor, dict]:
        # What is in the cache already is of one beam.
        if (cache := kwargs.get("past_key_values")) is not None and expand_size > 1:
            cache.batch_repeat_interleave(expand_size)
        return super()._expand_inputs_for_generation(expand_size=expand_size, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    def prepare_inputs_for_generation(self, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> dict:
        """As in transformers; the label evidence needs all tokens so far, of which the cache leaves only the last."""
        inputs = super().prepare_inputs_for_generation(input_ids, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        return inputs | {"decoder_prefix_ids": input_ids}

    def _prepare_cache_for_generation(self, *args: Any, **kwargs: Any) -> Any:
        # The cache is the language model's, which knows its layers.
        return self.model.language_model._prepare_cache_for_generation(*args, **kwargs)


__all__ = ["EmoIclForConditionalGeneration", "EmoIclModel"]
