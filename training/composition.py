"""Builds a model and its processor from a pretrained speech encoder and a small language model."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoConfig, PreTrainedTokenizerBase

from emoicl.modeling.configuration_emoicl import EmoIclConfig
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.processing.processing_emoicl import INSTRUCTION, EmoIclProcessor
from emoicl.training.tokenizer import AUDIO_TOKEN, train_tokenizer


def compose(
    speech_encoder: str,
    labels: Sequence[str],
    speech_layer: int | None = None,
    qformer: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
    known_labels: Sequence[str] | None = None,
    **fields: Any,
) -> tuple[EmoIclForConditionalGeneration, EmoIclProcessor]:
    """
    Composes a speech language model: a pretrained speech encoder, a new Q-Former and a new T5-style language model.

    Args:
        speech_encoder (`str`): Hub name or folder of a Whisper checkpoint, or of its encoder alone.
        labels (`Sequence[str]`): The candidate labels.
        speech_layer (`int`, *optional*): Encoder layer that feeds the Q-Former; those above are left away.
        qformer (`Mapping`, *optional*): Sizes that differ from those of `Blip2QFormerConfig`.
        text (`Mapping`, *optional*): Sizes that differ from those of `T5Config`.
        known_labels (`Sequence[str]`, *optional*): Label words whose voices are learned, by default `labels`.
        **fields: Further fields of [`EmoIclConfig`].

    Returns:
        `tuple`: the model, its speech encoder pretrained and all else random, and its processor.
    """
    known_labels = list(known_labels or labels)
    tokenizer = train_tokenizer([INSTRUCTION, *labels, *known_labels])
    config = EmoIclConfig(
        speech_config=AutoConfig.from_pretrained(speech_encoder),
        qformer_config=AutoConfig.for_model("blip_2_qformer", cross_attention_frequency=1, **(qformer or {})),
        text_config=AutoConfig.for_model(
            "t5",
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.pad_token_id,
            **(text or {}),
        ),
        speech_layer=speech_layer,
        audio_token_id=tokenizer.get_vocab()[AUDIO_TOKEN],
        label_words=known_labels,
        label_token_ids=label_token_ids(tokenizer, known_labels),
        **fields,
    )
    model = EmoIclForConditionalGeneration(config)
    load_speech_encoder(model, speech_encoder)
    processor = EmoIclProcessor(
        EmoIclFeatureExtractor(feature_size=config.speech_config.num_mel_bins),
        tokenizer,
        num_query_tokens=config.num_query_tokens,
        candidate_labels=labels,
        max_shots=config.max_shots,
    )
    return model, processor


def label_token_ids(tokenizer: PreTrainedTokenizerBase, labels: Sequence[str]) -> list[list[int]]:
    """Tokens of each label, with the end-of-sequence token."""
    return [tokenizer.encode(label, add_special_tokens=False) + [tokenizer.get_vocab()["</s>"]] for label in labels]


def load_speech_encoder(model: EmoIclForConditionalGeneration, checkpoint: str) -> None:
    """Puts pretrained weights into the speech encoder of a model, in place.

    Args:
        model ([`EmoIclForConditionalGeneration`]): A model with the architecture of the checkpoint.
        checkpoint (`str`): Hub name or folder of the whole pretrained model, or of its encoder alone.

    Raises:
        `ValueError`: If the checkpoint lacks weights that the encoder has.
    """
    encoder = model.speech_encoder
    loaded: Any = type(encoder).from_pretrained(
        checkpoint,
        config=copy.deepcopy(encoder.config),
        normalize=model.config.speech_layer is None,
        key_mapping={r"^(model\.)?encoder\.": ""},
        dtype=encoder.dtype,
        output_loading_info=True,
    )
    pretrained, info = loaded
    if info["missing_keys"]:
        raise ValueError(f"{checkpoint} lacks weights of the speech encoder: {sorted(info['missing_keys'])}.")
    encoder.load_state_dict(pretrained.state_dict())
