"""The personalized speech language model: frozen speech encoder -> Q-Former -> prompt -> language model -> labels."""

# As in all of transformers, what a call may leave out is None in the signature and a tensor where it is used.
# pyright: reportArgumentType=false

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn
from transformers import AutoModel, AutoModelForSeq2SeqLM, GenerationConfig, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.generic import ModelOutput

from .adaptation_emoicl import (
    EmoIclLinearOfSources,
    EmoIclSpeakerAdaptation,
    blend_label_scores,
    label_token_bias,
)
from .configuration_emoicl import EmoIclConfig
from .speech_encoder_emoicl import EmoIclSpeechEncoder, EmoIclWhisperEncoder, build_speech_encoder


IGNORED = -100


@dataclass
class EmoIclUtteranceOutput(ModelOutput):
    r"""
    What the language model needs of each utterance; a speaker's enrollment is stored in this form.

    Args:
        query_embeds (`torch.Tensor` of shape `(num_utterances, num_query_tokens, text_hidden_size)`):
            Q-Former output in the width of the language model.
        voice_embeds (`torch.Tensor` of shape `(num_utterances, voice_size)`, *optional*):
            Voice embeddings, where the model has an [`EmoIclSpeakerAdaptation`].
    """

    query_embeds: torch.Tensor | None = None
    voice_embeds: torch.Tensor | None = None


@dataclass
class EmoIclEncoderOutput(BaseModelOutput):
    r"""
    Output of the language model's encoder with what the enrollment says about each label.

    Args:
        last_hidden_state (`torch.Tensor` of shape `(batch_size, prompt_length, text_hidden_size)`):
            Encoded prompt.
        label_tokens (`torch.Tensor` of shape `(batch_size, num_labels, num_label_tokens)`, *optional*):
            Labels that the evidence is about.
        label_evidence (`torch.Tensor` of shape `(batch_size, num_labels)`, *optional*):
            Evidence of the enrollment for each of these labels, -inf for rows to be passed over.
    """

    label_tokens: torch.Tensor | None = None
    label_evidence: torch.Tensor | None = None


@dataclass
class EmoIclSeq2SeqOutput(ModelOutput):
    r"""
    Output of [`EmoIclForConditionalGeneration`].

    Args:
        loss (`torch.Tensor` of shape `()`, *optional*): Cross entropy of the label tokens.
        logits (`torch.Tensor` of shape `(batch_size, num_steps, vocab_size)`): Scores before the softmax.
        encoder_last_hidden_state (`torch.Tensor` of shape `(batch_size, prompt_length, text_hidden_size)`):
            Encoded prompt.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    encoder_last_hidden_state: torch.Tensor | None = None


class EmoIclQFormer(nn.Module):
    r"""
    Turns an utterance of any length into a fixed number of query tokens: `U = QFormer(Q, H)` (the paper, speech LM).

    Args:
        config ([`EmoIclConfig`]): Sizes of the speech encoder and the Q-Former.
        text_hidden_size (`int`): Width of the language model's embeddings.
    """

    def __init__(self, config: EmoIclConfig, text_hidden_size: int):
        super().__init__()
        # Not a layer normalization: a few dimensions of pretrained encoders are so large that they would set its scale
        # for all others, frame by frame.
        self.feature_scale = nn.Parameter(torch.ones(config.speech_config.hidden_size))
        self.feature_shift = nn.Parameter(torch.zeros(config.speech_config.hidden_size))
        self.dropout = nn.Dropout(config.feature_dropout)
        self.query_tokens = nn.Parameter(torch.zeros(config.num_query_tokens, config.qformer_config.hidden_size))
        self.qformer = AutoModel.from_config(config.qformer_config)
        self.projection = nn.Linear(config.qformer_config.hidden_size, text_hidden_size)

    def forward(self, speech_features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        features = speech_features.to(self.feature_scale.dtype) * self.feature_scale + self.feature_shift
        features = self.dropout(features)
        queries = self.qformer(
            query_embeds=self.query_tokens.expand(len(features), -1, -1),
            encoder_hidden_states=features,
            encoder_attention_mask=mask,
        ).last_hidden_state
        return self.projection(queries)


class EmoIclPreTrainedModel(PreTrainedModel):
    config_class = EmoIclConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ["audio", "text"]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    speech_encoder: EmoIclSpeechEncoder | EmoIclWhisperEncoder

    @classmethod
    def from_pretrained(
        cls, *args: Any, output_loading_info: bool = False, ignore_mismatched_sizes: bool = False, **kwargs: Any
    ) -> Any:
        """Loads a checkpoint as [`~transformers.PreTrainedModel.from_pretrained`] does, but all of it or nothing.

        Raises:
            ValueError: If the checkpoint lacks weights, which would be random, has others than the model, or weights
                of other shapes without `ignore_mismatched_sizes`.
        """
        # Otherwise a mismatch would be raised without its names.
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs)
        model, info = loaded
        mismatched = () if ignore_mismatched_sizes else info["mismatched_keys"]
        for names, what in (
            (info["missing_keys"], "lacks {} weights of {}, which would be random"),
            (info["unexpected_keys"], "has {} weights that {} has no use for"),
            ([name for name, *_ in mismatched], "has {} weights of other shapes than {}"),
        ):
            if names:
                raise ValueError(
                    f"The checkpoint {what.format(len(names), cls.__name__)}, such as "
                    f"{', '.join(sorted(names)[:5])}. Is its configuration that of another model?"
                )
        return (model, info) if output_loading_info else model

    def train(self, mode: bool = True) -> Self:
        """Switches between training and evaluation; a frozen speech encoder stays as it is.

        Frozen here, for `from_pretrained` makes all parameters anew, trainable, and then calls `eval`.
        """
        super().train(mode)
        if self.config.freeze_speech_encoder:
            self.speech_encoder.requires_grad_(False).eval()
        return self

    def get_speech_features(
        self, input_features: torch.Tensor, input_features_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Output of the speech encoder at `config.speech_layer`.

        Args:
            input_features (`torch.Tensor` of shape `(num_utterances, feature_size, num_frames)`):
                What the speech encoder reads: log-mel features, filterbanks or waveforms.
            input_features_mask (`torch.Tensor` of shape `(num_utterances, num_frames)`): 1 for real frames.

        Returns:
            `tuple`: features of shape `(num_utterances, num_feature_frames, speech_hidden_size)` and their mask.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_speech_encoder):
            input_features = input_features.to(self.speech_encoder.dtype)
            features = self.speech_encoder(input_features, attention_mask=input_features_mask).last_hidden_state
        return features, self.speech_encoder.feature_mask(input_features_mask)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, EmoIclQFormer):
            init.normal_(module.query_tokens, mean=0.0, std=1.0)
            init.ones_(module.feature_scale)
            init.zeros_(module.feature_shift)
        elif isinstance(module, EmoIclLinearOfSources):
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            init.zeros_(module.bias)
        elif isinstance(module, EmoIclSpeakerAdaptation):
            init.normal_(module.label_means, mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, nn.ParameterDict):
            for log_variance in module.values():
                init.zeros_(log_variance)


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
        self.language_model = AutoModelForSeq2SeqLM.from_config(config.text_config)
        text_hidden_size = self.get_input_embeddings().embedding_dim
        self.speech_encoder = build_speech_encoder(config.speech_config, normalize=config.speech_layer is None)
        self.qformer = EmoIclQFormer(config, text_hidden_size)
        self.segment_embeddings = nn.Embedding(2, text_hidden_size)
        self.sequence_embeddings = nn.Embedding(2 * config.max_shots + 2, text_hidden_size)
        adaptation_config = config.adaptation_config
        self.adaptation = EmoIclSpeakerAdaptation(adaptation_config) if adaptation_config is not None else None
        # The paper's decoding (its set-up); a label has few tokens, and its score is its log-probability. None of the
        # language model's own habits: BART, for one, forces a first token.
        self.generation_config = GenerationConfig(
            decoder_start_token_id=config.decoder_start_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
            num_beams=4,
            max_new_tokens=16,
            length_penalty=0.0,
        )
        self.post_init()
        self.train()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def resize_token_embeddings(self, *args, **kwargs) -> nn.Module:
        return self.language_model.resize_token_embeddings(*args, **kwargs)

    def embed_utterances(
        self,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        speech_features: torch.Tensor | None = None,
        speech_features_mask: torch.Tensor | None = None,
    ) -> EmoIclUtteranceOutput:
        """All that is computed for an utterance on its own, whatever prompt it will stand in.

        Args:
            input_features (`torch.Tensor` of shape `(num_utterances, feature_size, num_frames)`, *optional*):
                What the speech encoder reads: log-mel features, filterbanks or waveforms.
            input_features_mask (`torch.Tensor` of shape `(num_utterances, num_frames)`, *optional*):
                1 for real frames.
            speech_features (`torch.Tensor` of shape `(num_utterances, num_feature_frames, speech_hidden_size)`,
                *optional*): Output of [`~EmoIclForConditionalGeneration.get_speech_features`], in place of the above.
            speech_features_mask (`torch.Tensor` of shape `(num_utterances, num_feature_frames)`, *optional*):
                1 for real frames.

        Returns:
            [`EmoIclUtteranceOutput`]
        """
        if speech_features is None and input_features is None:
            raise ValueError("The utterances are missing: give `input_features`, `speech_features` or `query_embeds`.")
        if speech_features is None:
            speech_features, speech_features_mask = self.get_speech_features(input_features, input_features_mask)
        return EmoIclUtteranceOutput(
            query_embeds=self.qformer(speech_features, speech_features_mask),
            voice_embeds=self.adaptation and self.adaptation.embed(speech_features, speech_features_mask),
        )

    def embed_prompt(
        self,
        input_ids: torch.Tensor,
        sequence_ids: torch.Tensor,
        segment_ids: torch.Tensor,
        utterance_index: torch.Tensor,
        query_embeds: torch.Tensor,
    ) -> torch.Tensor:
        """Puts query tokens in their placeholders: `SeqPosEmb(SegmentEmb([R, U]))` (the paper, speech LM).

        Returns:
            `torch.Tensor` of shape `(batch_size, prompt_length, text_hidden_size)`.

        Raises:
            ValueError: If the placeholders do not match the utterances, or there are too many shots.
        """
        num_shots = utterance_index.shape[1] - 1
        if num_shots > self.config.max_shots:
            raise ValueError(f"The prompt has {num_shots} shots; this model takes at most {self.config.max_shots}.")
        longest = getattr(self.config.text_config, "max_position_embeddings", None)
        if longest is not None and input_ids.shape[1] > longest:
            raise ValueError(
                f"The prompt has {input_ids.shape[1]} tokens; this language model has positions for {longest}. Give "
                "fewer shots, or train a model with fewer query tokens."
            )
        inputs_embeds = self.get_input_embeddings()(input_ids)
        placeholders = input_ids == self.config.audio_token_id
        wanted = self.config.num_query_tokens * (utterance_index >= 0).sum(1)
        if not torch.equal(placeholders.sum(1), wanted):
            raise ValueError(
                f"`input_ids` holds {placeholders.sum(1).tolist()} audio placeholders for each prompt, but "
                f"`utterance_index` asks for {wanted.tolist()}: {self.config.num_query_tokens} for each utterance."
            )
        queries = query_embeds[utterance_index[utterance_index >= 0]].flatten(0, 1)
        inputs_embeds = inputs_embeds.masked_scatter(placeholders[..., None], queries.to(inputs_embeds.dtype))
        return inputs_embeds + self.segment_embeddings(segment_ids) + self.sequence_embeddings(sequence_ids)

    def encode(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        sequence_ids: torch.Tensor,
        segment_ids: torch.Tensor,
        utterance_index: torch.Tensor,
        query_embeds: torch.Tensor | None = None,
        voice_embeds: torch.Tensor | None = None,
        **utterances: torch.Tensor | None,
    ) -> EmoIclEncoderOutput:
        """Runs everything up to the language model's encoder; the arguments are those of `forward`.

        Returns:
            [`EmoIclEncoderOutput`]
        """
        if query_embeds is None:
            embedded = self.embed_utterances(**utterances)
            query_embeds, voice_embeds = embedded.query_embeds, embedded.voice_embeds
        if self.adaptation is not None and voice_embeds is None:
            raise ValueError("`query_embeds` are given without the `voice_embeds` that go with them.")
        inputs_embeds = self.embed_prompt(input_ids, sequence_ids, segment_ids, utterance_index, query_embeds)
        encoder = self.language_model.get_encoder()
        hidden_states = encoder(inputs_embeds=inputs_embeds, attention_mask=attention_mask).last_hidden_state
        label_tokens = evidence = None
        if self.adaptation is not None:
            shot_labels = self.shot_labels(input_ids, sequence_ids, (utterance_index[:, 1:] >= 0).sum(1))
            label_tokens, evidence = self.adaptation(voice_embeds, utterance_index, shot_labels)
        return EmoIclEncoderOutput(hidden_states, label_tokens=label_tokens, label_evidence=evidence)

    def shot_labels(
        self, input_ids: torch.Tensor, sequence_ids: torch.Tensor, num_shots: torch.Tensor
    ) -> torch.Tensor:
        """Reads the enrollment's labels off the prompt: counted back from the target, shot `i` of `k` has its label in
        sequence `2 (k - i + 1)`.

        Args:
            input_ids (`torch.Tensor` of shape `(batch_size, prompt_length)`): Tokens of the prompts.
            sequence_ids (`torch.Tensor` of shape `(batch_size, prompt_length)`): Place of each token's sequence.
            num_shots (`torch.Tensor` of shape `(batch_size,)`): Number of shots of each prompt.

        Returns:
            `torch.Tensor` of shape `(batch_size, max(num_shots), num_label_tokens + 1)`: label tokens with the
            end-of-sequence token, padded with -100.
        """
        if not num_shots.any():
            return input_ids.new_full((len(input_ids), 0, 1), IGNORED)
        shots = torch.arange(int(num_shots.max()), device=input_ids.device)
        places = 2 * (num_shots[:, None] - shots)
        of_shot = (sequence_ids[:, None, :] == places[..., None]) & (places[..., None] > 0)
        lengths = of_shot.sum(-1, keepdim=True)
        columns = torch.arange(int(lengths.max()) + 1, device=input_ids.device)
        positions = (of_shot.int().argmax(-1, keepdim=True) + columns).clamp(max=input_ids.shape[1] - 1)
        tokens = input_ids[:, None, :].expand(-1, len(shots), -1).gather(2, positions)
        tokens = tokens.masked_fill(columns == lengths, self.config.eos_token_id)
        return tokens.masked_fill((columns > lengths) | (lengths == 0), IGNORED)

    def decode(
        self, encoder_outputs: EmoIclEncoderOutput, attention_mask: torch.Tensor, decoder_input_ids: torch.Tensor
    ) -> torch.Tensor:
        """Logits of the next label token after each of `decoder_input_ids`.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_steps, vocab_size)`.
        """
        logits = self.language_model(
            encoder_outputs=BaseModelOutput(encoder_outputs.last_hidden_state),
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            use_cache=False,
        ).logits
        if encoder_outputs.label_evidence is None:
            return logits
        bias = label_token_bias(
            decoder_input_ids, encoder_outputs.label_tokens, encoder_outputs.label_evidence, logits.shape[-1]
        )
        return self.config.adaptation_config.language_model_weight * logits + bias.to(logits.dtype)

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
        decoder_input_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        encoder_outputs: EmoIclEncoderOutput | None = None,
        return_dict: bool | None = None,
    ) -> EmoIclSeq2SeqOutput:
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
            speech_features (`torch.Tensor` of shape `(num_utterances, num_feature_frames, speech_hidden_size)`,
                *optional*): Speech encoder output in place of `input_features`.
            speech_features_mask (`torch.Tensor` of shape `(num_utterances, num_feature_frames)`, *optional*):
                1 for real frames.
            query_embeds (`torch.Tensor` of shape `(num_utterances, num_query_tokens, text_hidden_size)`,
                *optional*): Output of `embed_utterances` in place of all of the above.
            voice_embeds (`torch.Tensor` of shape `(num_utterances, voice_size)`, *optional*):
                Goes with `query_embeds`.
            decoder_input_ids (`torch.Tensor` of shape `(batch_size, num_steps)`, *optional*):
                Start token and label tokens; made from `labels` if absent.
            labels (`torch.Tensor` of shape `(batch_size, num_steps)`, *optional*):
                Label tokens with the end-of-sequence token, padded with -100.
            encoder_outputs ([`EmoIclEncoderOutput`], *optional*): Output of `encode` in place of the prompt.

        Returns:
            [`EmoIclSeq2SeqOutput`]
        """
        if encoder_outputs is None:
            encoder_outputs = self.encode(
                input_ids,
                attention_mask,
                sequence_ids,
                segment_ids,
                utterance_index,
                query_embeds,
                voice_embeds,
                input_features=input_features,
                input_features_mask=input_features_mask,
                speech_features=speech_features,
                speech_features_mask=speech_features_mask,
            )
        if decoder_input_ids is None and labels is None:
            raise ValueError("Pass `labels` or `decoder_input_ids`; to recognize, call `generate` or `score_labels`.")
        if decoder_input_ids is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        logits = self.decode(encoder_outputs, attention_mask, decoder_input_ids)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)
        return EmoIclSeq2SeqOutput(loss, logits, encoder_outputs.last_hidden_state)

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """Shifts `labels` to the right by the decoder's start token, and -100 becomes the padding token."""
        shifted = nn.functional.pad(labels[:, :-1], (1, 0), value=self.config.decoder_start_token_id)
        return shifted.masked_fill(shifted == IGNORED, self.config.pad_token_id)

    def score_labels(self, label_ids: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        r"""
        Exact log-probability of each candidate label, from one run of the encoder and one decoder pass:
        `log P(Z | W, S, X) = sum_t log P(z_t | z_<t, W, S, X)`, normalized over the candidates. With a speaker
        adaptation, the log-linear blend of that of the language model and the evidence; see [`blend_label_scores`].

        Args:
            label_ids (`torch.Tensor` of shape `(num_labels, num_label_tokens)`):
                Tokens of the candidates with the end-of-sequence token, padded with -100.
            **inputs (`torch.Tensor`): The prompt, as for `forward`.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_labels)` in float32.
        """
        encoded, attention_mask, label_ids = self.encode_candidates(label_ids, inputs)
        tokens, evidence = encoded.label_tokens, encoded.label_evidence
        if tokens is None or evidence is None:
            return self.decode_candidates(encoded, attention_mask, label_ids).log_softmax(-1)
        scores = self.decode_candidates(EmoIclEncoderOutput(encoded.last_hidden_state), attention_mask, label_ids)
        adaptation_config = self.config.adaptation_config
        num_known, weight = len(adaptation_config.label_words), adaptation_config.language_model_weight
        return blend_label_scores(scores, label_ids, tokens, evidence, num_known, weight).log_softmax(-1)

    def label_log_likelihoods(self, label_ids: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        """Log-probability of each candidate among all texts that could be written: what `forward` gives its tokens.

        Args:
            label_ids (`torch.Tensor` of shape `(num_labels, num_label_tokens)`): The candidates' tokens.
            **inputs (`torch.Tensor`): The prompt, as for `forward`.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_labels)` in float32.
        """
        return self.decode_candidates(*self.encode_candidates(label_ids, inputs))

    def encode_candidates(
        self, label_ids: torch.Tensor, inputs: dict[str, torch.Tensor]
    ) -> tuple[EmoIclEncoderOutput, torch.Tensor, torch.Tensor]:
        """The encoded prompts, their attention mask, and the candidates' tokens on the same device."""
        inputs.pop("labels", None)
        attention_mask = inputs["attention_mask"]
        return self.encode(**inputs), attention_mask, label_ids.to(attention_mask.device)

    def decode_candidates(
        self, encoded: EmoIclEncoderOutput, attention_mask: torch.Tensor, label_ids: torch.Tensor
    ) -> torch.Tensor:
        """Log-likelihoods `(batch_size, num_labels)` of candidates after encoded prompts, in float32."""
        num_labels, batch_size = len(label_ids), len(attention_mask)
        encoded = EmoIclEncoderOutput(
            **{name: state.repeat_interleave(num_labels, dim=0) for name, state in encoded.items()}
        )
        labels = label_ids.repeat(batch_size, 1)
        logits = self.decode(
            encoded,
            attention_mask.repeat_interleave(num_labels, dim=0),
            self.prepare_decoder_input_ids_from_labels(labels),
        )
        log_likelihoods = -nn.functional.cross_entropy(
            logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
        )
        return log_likelihoods.sum(-1).view(batch_size, num_labels)

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        sequence_ids: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        utterance_index: torch.Tensor | None = None,
        **kwargs,
    ):
        """Writes the label by beam search, the paper's way (beam 4, from the generation config).

        Args:
            input_ids, attention_mask, sequence_ids, segment_ids, utterance_index: The prompt, as for `forward`.
            **kwargs: Features of the utterances, as for `forward`, and arguments of
                [`~GenerationMixin.generate`].

        Returns:
            `torch.Tensor` of shape `(batch_size, num_steps)`, or a `GenerateOutput` if asked for.
        """
        features = ("input_features", "speech_features", "query_embeds", "voice_embeds")
        utterances = {name: kwargs.pop(name) for name in list(kwargs) if name.startswith(features)}
        encoder_outputs = self.encode(
            input_ids, attention_mask, sequence_ids, segment_ids, utterance_index, **utterances
        )
        # Without a cache the decoder sees all tokens so far, by which the evidence is spread; labels are short.
        return super().generate(  # pyright: ignore[reportAttributeAccessIssue]
            encoder_outputs=encoder_outputs, attention_mask=attention_mask, **(kwargs | {"use_cache": False})
        )

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        encoder_outputs: EmoIclEncoderOutput | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> dict:
        return {
            "decoder_input_ids": input_ids,
            "encoder_outputs": encoder_outputs,
            "attention_mask": attention_mask,
        }


__all__ = ["EmoIclForConditionalGeneration", "EmoIclPreTrainedModel"]
