"""Builds a model and what processes its inputs: a speech language model of a pretrained speech encoder and a language
model, pretrained or new, or a classifier."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from emoicl.modeling.classification_emoicl import EmoIclForAudioClassification
from emoicl.modeling.configuration_emoicl import EmoIclClassifierConfig, EmoIclConfig
from emoicl.modeling.language_model_emoicl import PromptedDecoder, prompted_form
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.modeling.pretrained_emoicl import EmoIclPreTrainedModel
from emoicl.modeling.speech_encoder_emoicl import build_speech_encoder, check_speech_encoder
from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.processing.processing_emoicl import INSTRUCTION, EmoIclProcessor
from emoicl.training.publishing.checkpoint import MODEL_FILES, find_pretrained, naming_damage
from emoicl.training.systems.tokenizer import (
    AUDIO_TOKEN,
    frame_prompts,
    load_tokenizer,
    source_of,
    spell_labels,
    train_tokenizer,
)


def compose(
    speech_encoder: str,
    labels: Sequence[str],
    speech_layer: int | list[int] | None = None,
    language_model: str | None = None,
    qformer: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
    known_labels: Sequence[str] | None = None,
    adaptation_config: Mapping[str, Any] | None = None,
    num_open_labels: int = 0,
    audio: Mapping[str, Any] | None = None,
    **fields: Any,
) -> tuple[EmoIclForConditionalGeneration, EmoIclProcessor]:
    """
    Composes a speech language model: a pretrained speech encoder, a new Q-Former, and a language model that is
    pretrained or a new T5.

    Args:
        speech_encoder (`str`):
            Hub name or folder of a Whisper, wav2vec 2.0, HuBERT, WavLM or wav2vec2-BERT checkpoint with any head, of
            Whisper's encoder alone, or of an [`EmoIclSpeechEncoder`].
        labels (`Sequence[str]`): The candidate labels.
        speech_layer (`int` or `list[int]`, *optional*): Encoder layer that feeds the Q-Former, or several whose
            outputs stand side by side; those above are left away.
        language_model (`str`, *optional*):
            Hub name or folder of an encoder-decoder language model such as Flan-T5, or of a decoder-only one such as
            Llama, Qwen3 or SmolLM2, or a file in GGUF. By default a T5 is made from scratch, with a small tokenizer
            for the instruction and the labels.
        qformer (`Mapping`, *optional*): Sizes that differ from those of `Blip2QFormerConfig`.
        text (`Mapping`, *optional*): Sizes of the T5 from scratch that differ from those of `T5Config`.
        known_labels (`Sequence[str]`, *optional*): Label words whose voices are learned, by default `labels`.
        adaptation_config (`Mapping`, *optional*):
            Fields of [`EmoIclAdaptationConfig`] other than the labels, for a model with a new speaker adaptation.
        num_open_labels (`int`, *optional*, defaults to 0):
            Number of tokens that a T5 from scratch has for labels of which it does not know the words. With them,
            `labels` are the `known_labels` of the processor.
        audio (`Mapping`, *optional*): Fields of [`EmoIclFeatureExtractor`] such as `trim_silence` and `level`.
        **fields: Further fields of [`EmoIclConfig`].

    Returns:
        `tuple`: the model, all random but for what is pretrained, and its processor.

    Raises:
        `ValueError`: If a part is of a type that is not supported, its checkpoint lacks weights or is damaged, or the
            language model cannot spell a label.
    """
    known_labels = list(known_labels or labels)
    speech_config = load_speech_config(speech_encoder)
    pretrained, prompt_frame = None, ("", "")
    if language_model is None:
        tokenizer = train_tokenizer([INSTRUCTION, *labels, *known_labels], num_open_labels=num_open_labels)
        text_config = new_text_config(tokenizer, text or {})
    elif num_open_labels:
        raise ValueError(f"{language_model} knows words: leave out `num_open_labels`.")
    elif text:
        raise ValueError(f"{language_model} has sizes of its own: leave out those of `text` ({', '.join(text)}).")
    else:
        tokenizer = load_tokenizer(language_model)
        pretrained = load_language_model(language_model, tokenizer)
        text_config = pretrained.config
        if not text_config.is_encoder_decoder:
            prompt_frame = frame_prompts(tokenizer)
            text_config.decoder_start_token_id = tokenizer.encode(prompt_frame[1], add_special_tokens=False)[-1]
    spell_labels(tokenizer, labels)
    if adaptation_config is not None:
        label_ids = spell_labels(tokenizer, known_labels)
        adaptation_config = {**adaptation_config, "label_words": known_labels, "label_token_ids": label_ids}
    config = EmoIclConfig(
        speech_config=speech_config,
        qformer_config=AutoConfig.for_model("blip_2_qformer", cross_attention_frequency=1, **(qformer or {})),
        text_config=text_config,
        speech_layer=speech_layer,
        audio_token_id=tokenizer.get_vocab()[AUDIO_TOKEN],
        adaptation_config=adaptation_config,
        id2label=dict(enumerate(labels)),
        **fields,
    )
    model = EmoIclForConditionalGeneration(config)
    load_speech_encoder(model, speech_encoder)
    if pretrained is not None:
        model.model.language_model.load_state_dict(pretrained.state_dict())
    processor = EmoIclProcessor(
        load_feature_extractor(model, speech_encoder, audio),
        tokenizer,
        num_query_tokens=config.num_query_tokens,
        candidate_labels=labels,
        max_shots=config.max_shots,
        known_labels=list(labels) if num_open_labels else None,
        prompt_frame=prompt_frame,
    )
    return model, processor


def compose_classifier(
    speech_encoder: str | None,
    labels: Sequence[str],
    enrollment_labels: Sequence[str] | None = None,
    speech_layer: int | list[int] | None = None,
    speech: Mapping[str, Any] | None = None,
    audio: Mapping[str, Any] | None = None,
    **fields: Any,
) -> tuple[EmoIclForAudioClassification, EmoIclFeatureExtractor]:
    """
    Composes a classifier: *Scratch* without a pretrained speech encoder, *Pretrained* with one, and *Personalized_N*
    or *Personalized_A* with enrollment labels.

    Args:
        speech_encoder (`str`, *optional*): Hub name or folder of a pretrained speech encoder, which stays frozen.
            `None` makes a new one, [`EmoIclSpeechEncoder`], which is trained.
        labels (`Sequence[str]`): The labels.
        enrollment_labels (`Sequence[str]`, *optional*): Labels of which utterances of the speaker join the input.
        speech_layer (`int` or `list[int]`, *optional*): Encoder layer that is classified, or several whose outputs
            stand side by side; those above are left away.
        speech (`Mapping`, *optional*): Sizes of a new speech encoder, fields of [`EmoIclSpeechEncoderConfig`].
        audio (`Mapping`, *optional*): Fields of [`EmoIclFeatureExtractor`] such as `trim_silence` and `level`.
        **fields: Further fields of [`EmoIclClassifierConfig`].

    Returns:
        `tuple`: the model, all random but a pretrained speech encoder, and its feature extractor.
    """
    speech_config: Any = {"model_type": "emoicl_speech_encoder", **(speech or {})}
    if speech_encoder is not None:
        speech_config = load_speech_config(speech_encoder)
    config = EmoIclClassifierConfig(
        **{
            "speech_config": speech_config,
            "speech_layer": speech_layer,
            "freeze_speech_encoder": speech_encoder is not None,
            "id2label": dict(enumerate(labels)),
            "enrollment_labels": None if enrollment_labels is None else list(enrollment_labels),
            **fields,
        }
    )
    model = EmoIclForAudioClassification(config)
    if speech_encoder is None:
        return model, EmoIclFeatureExtractor(config.speech_config.num_mel_bins, **(audio or {}))
    load_speech_encoder(model, speech_encoder)
    return model, load_feature_extractor(model, speech_encoder, audio)


def load_speech_config(checkpoint: str) -> PreTrainedConfig:
    """Configuration of a pretrained speech encoder.

    Raises:
        `ValueError`: If it is nowhere or of a type that is not supported, or its file is damaged, which is named.
    """
    find_pretrained(checkpoint)
    with naming_damage(checkpoint, "config.json"):
        config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
    check_speech_encoder(config)
    # No memory is taken: this finds values that no encoder can be built of.
    with naming_damage(checkpoint, "config.json"), torch.device("meta"):
        build_speech_encoder(copy.deepcopy(config), normalize=True)
    return config


def new_text_config(tokenizer: PreTrainedTokenizerBase, sizes: Mapping[str, Any]) -> PreTrainedConfig:
    """Configuration of a T5 from scratch for a tokenizer."""
    return AutoConfig.for_model(
        "t5",
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        **sizes,
    )


def load_language_model(checkpoint: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """
    Loads a pretrained language model with an embedding for every token of its tokenizer, in float32.

    Args:
        checkpoint (`str`): Hub name or folder of a language model, or a file in GGUF.
        tokenizer ([`PreTrainedTokenizerBase`]): Its tokenizer, perhaps with tokens that are new to the model.

    Returns:
        [`PreTrainedModel`]: Its configuration names the tokenizer's special tokens, and where a decoder starts.

    Raises:
        `ValueError`: If it is no language model of a type that can be prompted with embeddings, or the checkpoint
            lacks weights.
    """
    with naming_damage(checkpoint, "config.json"):
        config = AutoConfig.from_pretrained(**source_of(checkpoint), trust_remote_code=False)
    refusal = (
        f"{checkpoint} is of type {config.model_type!r}, which is not supported as a language model; supported are "
        "encoder-decoders such as those of type bart, mbart, mt5, t5 (Flan-T5 too), t5gemma and umt5, and those with "
        "a decoder alone and plain attention, such as gemma3_text, llama (SmolLM2 too), mistral, qwen2 and qwen3."
    )
    if type(config) not in (
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING if config.is_encoder_decoder else MODEL_FOR_CAUSAL_LM_MAPPING
    ):
        raise ValueError(refusal)
    with naming_damage(checkpoint, *MODEL_FILES):
        loaded: Any = prompted_form(config).auto_class.from_pretrained(
            **source_of(checkpoint), dtype=torch.float32, output_loading_info=True
        )
    model, info = loaded
    if getattr(model, "is_quantized", False):
        # That of a file in GGUF is so already, though its configuration does not say so.
        if not checkpoint.endswith(".gguf"):
            # Weights in 8 or 4 bits are loaded onto a GPU, where there is one, and the other parts are not.
            model = model.dequantize(torch.float32).to("cpu")
        vars(model.config).pop("quantization_config", None)
    config = model.config
    refuse_missing(checkpoint, "language model", info["missing_keys"])
    if not config.is_encoder_decoder and not shares_prompts(model):
        raise ValueError(refusal)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        add_embeddings(model, len(tokenizer))
        # T5Gemma has a vocabulary for each half, of which resizing tells the decoder alone.
        for part in (config, *(getattr(config, name) for name in config.sub_configs)):
            part.vocab_size = len(tokenizer)
    # Some name several tokens that end a text, or none; prompts and labels are made with the tokenizer's.
    config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    # Else every trainer says that it differs from the tokenizer's.
    if tokenizer.bos_token_id is not None:
        config.bos_token_id = tokenizer.bos_token_id
    if getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = model.generation_config.decoder_start_token_id
    return model


@torch.no_grad()
def add_embeddings(model: PreTrainedModel, num_tokens: int) -> None:
    """Gives a language model embeddings for new tokens, in place: the mean of the others. Of a random one the logit
    would be about 0, which is the highest of all where a model has learned to give none above (as GPT-2 has)."""
    old_size: Any = model.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(num_tokens, mean_resizing=False)
    tables: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    for table in tables:
        weight = table.weight
        # Tied ones are set twice, to the same.
        weight[old_size:] = weight[:old_size].mean(0)


@torch.no_grad()
def shares_prompts(model: PreTrainedModel) -> bool:
    """Whether a decoder-only language model can be prompted with embeddings and scores several labels after one prompt
    as it does each of them: not where it has a state in place of attention, or looks ahead."""
    prompted: Any = PromptedDecoder(model.eval())
    mask = torch.tensor([[1, 1, 1, 1, 0]])
    embeds: Any = model.get_input_embeddings()
    # Of several tokens each: who goes by a token's place in the row in place of its position (MPT), takes one label
    # for far behind another. GPT-Neo does so where the row is longer than its window.
    num_tokens = max(6, getattr(model.config, "window_size", None) or 0)
    labels = torch.arange(4, 4 + 4 * num_tokens).view(4, num_tokens) % embeds.num_embeddings
    steps = nn.functional.pad(labels[:, :-1], (1, 0), value=3)
    try:
        encoded = prompted.encode(embeds(torch.arange(5)[None]), mask)
        together = prompted.score(encoded, mask, steps, labels)
        alone = [prompted.decode(encoded, mask, row[None], use_cache=False).logits.log_softmax(-1) for row in steps]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError, NotImplementedError):
        return False
    each = [scores[0].gather(1, row[:, None]).sum() for scores, row in zip(alone, labels, strict=True)]
    return torch.allclose(together[0], torch.stack(each), rtol=1e-4, atol=1e-4)


def load_speech_encoder(model: EmoIclPreTrainedModel, checkpoint: str) -> None:
    """Puts pretrained weights into the speech encoder of a model, in place.

    Args:
        model ([`EmoIclPreTrainedModel`]): A model whose `speech_encoder` has the architecture of the checkpoint.
        checkpoint (`str`): Hub name or folder of the whole pretrained model, or of its encoder alone.

    Raises:
        `ValueError`: If the checkpoint lacks weights that the encoder has.
    """
    encoder: Any = model.get_encoder(modality="audio")
    # What a checkpoint has beyond the encoder (layers above, a decoder, heads) is left away, and not worth a report.
    quiet = type(type(encoder).__name__, (type(encoder),), {"_keys_to_ignore_on_load_unexpected": ["."]})
    with naming_damage(checkpoint, *MODEL_FILES):
        loaded: Any = quiet.from_pretrained(
            checkpoint,
            config=copy.deepcopy(encoder.config),
            key_mapping=encoder.checkpoint_key_mapping,
            dtype=encoder.dtype,
            output_loading_info=True,
        )
    pretrained, info = loaded
    # A middle layer is taken without the final normalization, which the checkpoint may have or not.
    weights = {name: weight for name, weight in pretrained.state_dict().items() if name in encoder.state_dict()}
    refuse_missing(checkpoint, "speech encoder", [name for name in info["missing_keys"] if name in weights])
    encoder.load_state_dict(weights)


def refuse_missing(checkpoint: str, part: str, missing: Sequence[str]) -> None:
    """Raises a `ValueError` that names the weights which a checkpoint lacks, if any."""
    if missing:
        names, more = ", ".join(sorted(missing)[:3]), f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ValueError(
            f"{checkpoint} lacks weights of the {part}: {names}{more}. Its config.json is that of another model than "
            "its model.safetensors, or damaged: download it again."
        )


def load_feature_extractor(
    model: EmoIclPreTrainedModel, checkpoint: str, audio: Mapping[str, Any] | None = None
) -> EmoIclFeatureExtractor:
    """
    The feature extractor for the speech encoder of a model.

    Args:
        model ([`EmoIclPreTrainedModel`]): The model.
        checkpoint (`str`):
            Hub name or folder of the pretrained speech encoder, whose preprocessor says whether waveforms are
            normalized. They are if there is none, as by default in transformers.
        audio (`Mapping`, *optional*): Fields of [`EmoIclFeatureExtractor`] such as `trim_silence` and `level`.

    Returns:
        [`EmoIclFeatureExtractor`]
    """
    encoder: Any = model.get_encoder(modality="audio")
    audio = audio or {}
    if encoder.input_type == "log_mel":
        return EmoIclFeatureExtractor(feature_size=encoder.config.num_mel_bins, **audio)
    if encoder.input_type == "filterbank":
        size = encoder.config.feature_projection_input_dim
        return EmoIclFeatureExtractor(feature_size=size, input_type="filterbank", **audio)
    # A damaged file must not pass for one that is not there.
    with naming_damage(checkpoint, "preprocessor_config.json"):
        try:
            do_normalize = AutoFeatureExtractor.from_pretrained(checkpoint, trust_remote_code=False).do_normalize
        except OSError:
            do_normalize = True
        # What it refuses of the file is the file's fault, and of `audio` is not.
        EmoIclFeatureExtractor(feature_size=1, input_type="waveform", do_normalize=do_normalize)
    return EmoIclFeatureExtractor(feature_size=1, input_type="waveform", do_normalize=do_normalize, **audio)
