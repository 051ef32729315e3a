"""Configurations of the personalized speech language model and of the paper's speech encoder."""

import copy
from dataclasses import field
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig


# What Whisper's layers, of which the paper's encoder and classifier are built, call the fields of a configuration.
WHISPER_LAYER_NAMES = {
    "d_model": "hidden_size",
    "encoder_attention_heads": "num_attention_heads",
    "encoder_ffn_dim": "intermediate_size",
    "activation_function": "hidden_act",
    "attention_dropout": "dropout",
    "activation_dropout": "dropout",
}


@strict
class EmoIclSpeechEncoderConfig(PreTrainedConfig):
    r"""
    Configuration of [`EmoIclSpeechEncoder`], the paper's speech encoder. The defaults are the paper's sizes.

    Args:
        num_mel_bins (`int`, *optional*, defaults to 80):
            Number of log-mel filters of a frame.
        hidden_size (`int`, *optional*, defaults to 512):
            Width of the convolutions and of the transformer layers.
        num_hidden_layers (`int`, *optional*, defaults to 6):
            Number of transformer layers.
        num_attention_heads (`int`, *optional*, defaults to 8):
            Number of attention heads of a layer.
        intermediate_size (`int`, *optional*, defaults to 2048):
            Width of the feed-forward blocks.
        hidden_act (`str`, *optional*, defaults to `"gelu"`):
            Activation function of the feed-forward blocks.
        dropout (`float`, *optional*, defaults to 0.1):
            Dropout probability within the transformer layers.
    """

    model_type = "emoicl_speech_encoder"
    base_config_key = "speech_config"
    attribute_map = WHISPER_LAYER_NAMES

    num_mel_bins: int = 80
    hidden_size: int = 512
    num_hidden_layers: int = 6
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    hidden_act: str = "gelu"
    dropout: float | int = 0.1


@strict
class EmoIclAdaptationConfig(PreTrainedConfig):
    r"""
    Configuration of [`EmoIclSpeakerAdaptation`], which classifies the target and compares it with the enrollment by
    statistics of the training speakers.

    Args:
        size (`int`, *optional*):
            Number of dimensions of the voice embeddings, by default all of the pooled speech features.
        feature_size (`int`, *optional*):
            Number of pooled speech features, mean and standard deviation; [`EmoIclConfig`] sets it.
        sources (`list[str]`, *optional*):
            Source corpora with statistics of their own, beside those of all: for corpora whose voices, rooms and
            manners of speaking differ too much for one Gaussian.
        label_words (`list[str]`, *optional*):
            Label words whose mean voice embedding is learned. Other words are read from the enrollment alone.
        label_token_ids (`list[list[int]]`, *optional*):
            Tokens of each of `label_words`, with the end-of-sequence token.
        language_model_weight (`float`, *optional*, defaults to 1.0):
            Weight of the language model's logits beside the evidence for a label.
        probe_weight (`float`, *optional*, defaults to 1.0):
            Weight of the probe's log-probabilities in the evidence.
        prototype_weight (`float`, *optional*, defaults to 0.1):
            Weight of the prototypes' log-likelihood ratios in it. Small, as dimensions and frames are not as
            independent as the Gaussians have it.
        enrolled_share_exponent (`float`, *optional*, defaults to 0.0):
            Power of the share of labels that are enrolled, by which the prototypes count. Above 0 they count for less
            while few labels are: what all utterances of a speaker share, such as a sentence read over and over, speaks
            for an enrolled label against the others, until all are enrolled.
        enrolled_penalty (`float`, *optional*, defaults to 0.0):
            What labels with shots lose of the evidence, as far as language model and probe are trusted. For the same
            reason these hear too much of what is enrolled, which costs an emotion that has no shot.
        familiarity_size (`int`, *optional*, defaults to 0):
            Number of directions in which [`EmoIclFamiliarity`] measures how far an utterance is from those of the
            training corpora. With 0 it is not there.

    Example:

    ```python
    >>> from emoicl import EmoIclAdaptationConfig, EmoIclConfig

    >>> adaptation = EmoIclAdaptationConfig(size=32, label_words=["Joy"], label_token_ids=[[11, 1]])
    >>> config = EmoIclConfig(num_query_tokens=8, adaptation_config=adaptation)
    ```
    """

    model_type = "emoicl_adaptation"
    base_config_key = "adaptation_config"

    size: int | None = None
    feature_size: int | None = None
    sources: list[str] = field(default_factory=list)
    label_words: list[str] = field(default_factory=list)
    label_token_ids: list[list[int]] = field(default_factory=list)
    language_model_weight: float | int = 1.0
    probe_weight: float | int = 1.0
    prototype_weight: float | int = 0.1
    enrolled_share_exponent: float | int = 0.0
    enrolled_penalty: float | int = 0.0
    familiarity_size: int = 0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        weights = ("language_model_weight", "probe_weight", "prototype_weight")
        for name in (*weights, "enrolled_share_exponent", "enrolled_penalty"):
            if not 0 <= (value := getattr(self, name)) < float("inf"):
                raise ValueError(f"`adaptation_config.{name}` is {value}; it must be 0 or a number above.")
        for name in ("sources", "label_words"):
            if len(set(words := getattr(self, name))) < len(words):
                raise ValueError(f"`adaptation_config.{name}` are {', '.join(words)}; name each of them once.")
        if len(self.label_words) != len(self.label_token_ids) or not all(self.label_token_ids):
            raise ValueError(
                f"`adaptation_config` has {len(self.label_words)} `label_words` and tokens of "
                f"{sum(map(bool, self.label_token_ids))} in `label_token_ids`; it needs those of each, in this order."
            )
        self.set_feature_size(self.feature_size)

    @property
    def has_evidence(self) -> bool:
        """Whether any of it counts. Weights of 0 leave the language model alone, which so can be measured."""
        return self.probe_weight > 0 or self.prototype_weight > 0

    def set_feature_size(self, feature_size: int | None) -> None:
        """Fits the configuration to so many pooled speech features; `None` leaves that open.

        Raises:
            ValueError: If `size` or `familiarity_size` is not in their range.
        """
        self.feature_size = feature_size
        self.size = self.size if self.size is not None else feature_size
        if self.size is not None and not 1 <= self.size <= (feature_size or self.size):
            raise ValueError(
                f"`adaptation_config.size` is {self.size}; it must be from 1 to "
                f"{feature_size or 'the number of pooled speech features'}, the mean and standard deviation of each "
                "speech feature, or None for all of them."
            )
        if not 0 <= self.familiarity_size <= (feature_size or self.familiarity_size):
            raise ValueError(
                f"`adaptation_config.familiarity_size` is {self.familiarity_size}; it must be from 1 to "
                f"{feature_size or 'the number of pooled speech features'}, or 0 for none."
            )


# Here rather than in the package's face: a sub-configuration is built by its type, also where only the files of this
# folder are at hand.
AutoConfig.register("emoicl_speech_encoder", EmoIclSpeechEncoderConfig, exist_ok=True)
AutoConfig.register("emoicl_adaptation", EmoIclAdaptationConfig, exist_ok=True)


def sub_config(config: dict | PreTrainedConfig | None, model_type: str) -> PreTrainedConfig:
    """A sub-configuration of its own from its fields, of the type that they name, else of `model_type`."""
    if isinstance(config, PreTrainedConfig):
        return copy.deepcopy(config)
    return AutoConfig.for_model(**({"model_type": model_type} | (config or {})))


def refuse_kernels(fields: Any, name: str = "") -> None:
    """Refuses fields of a configuration file that name code of the Hub to compute attention or experts with.

    Raises:
        ValueError: If a field of it, or of a sub-configuration, does.
    """
    if isinstance(fields, dict):
        for key, value in fields.items():
            refuse_kernels(value, key if "_implementation" in str(key) else name)
    elif name and isinstance(fields, str) and "/" in fields:
        raise ValueError(
            f"The configuration asks for code of {fields!r} in its `{name}`. Take that field out, or ask for the code "
            "yourself: `from_pretrained(..., attn_implementation=...)`."
        )


def keep_speech_layers(speech_config: PreTrainedConfig, speech_layer: int | list[int] | None) -> None:
    """Leaves away the layers of a speech encoder above `speech_layer`, in place; `None` keeps all.

    Raises:
        ValueError: If the encoder has no such layer, or several are not in ascending order.
    """
    if speech_layer is None:
        return
    layers = speech_layer if isinstance(speech_layer, list) else [speech_layer]
    if not layers or sorted(set(layers)) != layers:
        raise ValueError(
            f"`speech_layer` is {speech_layer}; several layers are in ascending order, each of them once."
        )
    if not 0 <= layers[0] <= layers[-1] <= speech_config.num_hidden_layers:
        raise ValueError(
            f"`speech_layer` is {speech_layer}, but the speech encoder has {speech_config.num_hidden_layers} layers."
        )
    speech_config.num_hidden_layers = layers[-1]


def size_of_speech_features(speech_config: PreTrainedConfig, speech_layer: int | list[int] | None) -> int:
    """Size of a frame: that of the speech encoder, or of several of its layers side by side."""
    return speech_config.hidden_size * (len(speech_layer) if isinstance(speech_layer, list) else 1)


@strict
class EmoIclConfig(PreTrainedConfig):
    r"""
    Configuration of [`EmoIclForConditionalGeneration`]: a frozen speech encoder, a Q-Former and a language model.

    Args:
        speech_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of the speech encoder: `emoicl_speech_encoder` (the default), `whisper`, `wav2vec2`,
            `hubert`, `wavlm` or `wav2vec2-bert`.
        qformer_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of the Q-Former, `blip_2_qformer`.
        text_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of any encoder-decoder or decoder-only language model; defaults to `t5`. Of the latter,
            `decoder_start_token_id` is the token that ends the prompt, after which the label begins.
        num_query_tokens (`int`, *optional*, defaults to 150):
            Number of query tokens that stand for an utterance in the prompt.
        max_shots (`int`, *optional*, defaults to 31):
            Largest number of enrollment pairs in a prompt; sizes the table of sequence-position embeddings.
        speech_layer (`int` or `list[int]`, *optional*):
            Number of encoder layers whose output (before the final normalization) feeds the Q-Former, or several such
            numbers in ascending order: then these outputs stand side by side. The layers above are neither built nor
            saved. `None` takes the whole encoder with its final normalization.
        freeze_speech_encoder (`bool`, *optional*, defaults to `True`):
            Whether the speech encoder keeps its weights and stays in evaluation mode while the rest is trained.
        feature_dropout (`float`, *optional*, defaults to 0.0):
            Dropout probability on the normalized speech features before the Q-Former.
        audio_token_id (`int`, *optional*, defaults to 3):
            Token that holds the place of a query token in `input_ids`.
        adaptation_config (`EmoIclAdaptationConfig` or `dict`, *optional*):
            Configuration of the speaker adaptation. `None` leaves it out: the paper's model.
        voice_token (`bool`, *optional*, defaults to `False`):
            Whether an utterance is one token in the prompt, a linear map of its voice embedding (mean and standard
            deviation over time, from the speaker adaptation), in place of the query tokens of a Q-Former.
        voice_token_size (`int`, *optional*):
            How many dimensions of the voice embedding that token holds, the most telling first; by default all. Of a
            hundred that tell little a language model hears the noise.
        bind_labels (`bool`, *optional*, defaults to `False`):
            Whether the embedding of a shot's label is added to the tokens of its utterance too, and one that stands
            for no label to those of other utterances. A language model so learns which label is whose much sooner.
        enrollment_sees_target (`bool`, *optional*, defaults to `True`):
            Whether instruction and enrollment attend to the target. Where they do not, they are encoded the same
            whatever the target is, and several targets may share a prompt. A decoder-only language model never looks
            ahead, whatever this says.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the initial weights, segment and sequence-position embeddings.

    Example:

    ```python
    >>> from emoicl import EmoIclConfig, EmoIclForConditionalGeneration

    >>> model = EmoIclForConditionalGeneration(EmoIclConfig(num_query_tokens=8))  # random weights
    ```
    """

    model_type = "emoicl"
    keys_to_ignore_at_inference = ["past_key_values"]
    # Until 5.19 transformers has no `sub_configs_defaults`.
    sub_configs = {  # pyright: ignore[reportAssignmentType]
        "speech_config": AutoConfig,
        "qformer_config": AutoConfig,
        "text_config": AutoConfig,
        "adaptation_config": AutoConfig,
    }

    speech_config: Any = None
    qformer_config: Any = None
    text_config: Any = None
    num_query_tokens: int = 150
    max_shots: int = 31
    speech_layer: int | list[int] | None = None
    freeze_speech_encoder: bool = True
    feature_dropout: float | int = 0.0
    audio_token_id: int = 3
    adaptation_config: Any = None
    voice_token: bool = False
    voice_token_size: int | None = None
    bind_labels: bool = False
    enrollment_sees_target: bool = True
    initializer_range: float | int = 0.02
    is_encoder_decoder: bool = True

    def __post_init__(self, **kwargs):
        self.speech_config = sub_config(self.speech_config, model_type="emoicl_speech_encoder")
        self.qformer_config = sub_config(self.qformer_config, model_type="blip_2_qformer")
        self.text_config = sub_config(self.text_config, model_type="t5")
        if self.adaptation_config is not None:
            self.adaptation_config = sub_config(self.adaptation_config, model_type="emoicl_adaptation")
        super().__post_init__(**kwargs)
        if self.voice_token and self.adaptation_config is None:
            raise ValueError(
                "`voice_token` makes a token of the voice embedding of the speaker adaptation: give an "
                "`adaptation_config`."
            )
        if self.voice_token and self.num_query_tokens != 1:
            raise ValueError(
                "`voice_token` makes one token of each voice embedding: set `num_query_tokens` to 1 instead of "
                f"{self.num_query_tokens}."
            )
        keep_speech_layers(self.speech_config, self.speech_layer)
        if self.adaptation_config is not None:
            self.adaptation_config.set_feature_size(2 * self.speech_feature_size)
            size = self.adaptation_config.size
            if not 1 <= (size if self.voice_token_size is None else self.voice_token_size) <= size:
                raise ValueError(
                    f"`voice_token_size` is {self.voice_token_size}; it must be from 1 to "
                    f"{size}, the size of the voice embeddings, or None for all of them."
                )
        self.qformer_config.encoder_hidden_size = self.speech_feature_size
        self.pad_token_id = self.text_config.pad_token_id
        self.eos_token_id = self.text_config.eos_token_id
        self.bos_token_id = getattr(self.text_config, "bos_token_id", None)
        # Where none is named: Gemma-like decoders start at the begin-of-sequence token, T5's at padding.
        starts = (getattr(self.text_config, f"{name}_token_id", None) for name in ("decoder_start", "bos", "pad"))
        self.decoder_start_token_id = next((start for start in starts if start is not None), None)

    @property
    def speech_feature_size(self) -> int:
        """Size of a frame of what the speech encoder gives."""
        return size_of_speech_features(self.speech_config, self.speech_layer)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        refuse_kernels(config_dict)
        return super().from_dict(config_dict, **kwargs)

    @classmethod
    def paper(cls, **kwargs) -> "EmoIclConfig":
        """The sizes of the paper: 32 + 6 layers, 1024-d language model, 150 query tokens.

        Args:
            **kwargs: Fields of [`EmoIclConfig`] that differ from the paper's.
        """
        text_config = AutoConfig.for_model(
            "t5",
            vocab_size=37156,
            d_model=1024,
            d_kv=64,
            d_ff=4096,
            num_layers=32,
            num_decoder_layers=6,
            num_heads=16,
            dropout_rate=0.1,
            decoder_start_token_id=0,
        )
        qformer_config = AutoConfig.for_model(
            "blip_2_qformer",
            hidden_size=512,
            num_hidden_layers=2,
            num_attention_heads=8,
            intermediate_size=2048,
            cross_attention_frequency=1,
        )
        sizes = {
            "speech_config": EmoIclSpeechEncoderConfig(),
            "qformer_config": qformer_config,
            "text_config": text_config,
            "num_query_tokens": 150,
        }
        return cls(**(sizes | kwargs))


@strict
class EmoIclClassifierConfig(PreTrainedConfig):
    r"""
    Configuration of [`EmoIclForAudioClassification`], the paper's classifiers. They differ in three fields: *Scratch*
    has `freeze_speech_encoder=False`, *Pretrained* the defaults, *Personalized_N* `enrollment_labels=["Neutral"]`, and
    *Personalized_A* all labels as `enrollment_labels`. The labels are those of `id2label`.

    Args:
        speech_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of the speech encoder, by default `emoicl_speech_encoder`.
        speech_layer (`int`, *optional*):
            Number of encoder layers whose output (before the final normalization) is classified. The layers above it
            are neither built nor saved. `None` takes the whole encoder with its final normalization.
        freeze_speech_encoder (`bool`, *optional*, defaults to `True`):
            Whether the speech encoder keeps its weights and stays in evaluation mode while the rest is trained.
        enrollment_labels (`list[str]`, *optional*):
            Labels of which utterances of the speaker join the input. `None` takes no enrollment.
        hidden_size (`int`, *optional*, defaults to 512):
            Width of the classifier above the speech encoder.
        num_hidden_layers (`int`, *optional*, defaults to 2):
            Number of transformer layers above the speech encoder. 0 pools what the speech encoder writes.
        num_attention_heads (`int`, *optional*, defaults to 8):
            Number of attention heads of these layers, and of the attention over the enrollment.
        intermediate_size (`int`, *optional*, defaults to 2048):
            Width of the feed-forward blocks of these layers.
        hidden_act (`str`, *optional*, defaults to `"gelu"`):
            Activation function of these blocks.
        feature_dropout (`float`, *optional*, defaults to 0.0):
            Dropout probability on the normalized speech features.
        dropout (`float`, *optional*, defaults to 0.1):
            Dropout probability within the layers and before the last linear map.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the initial weights.

    Example:

    ```python
    >>> from emoicl import EmoIclClassifierConfig, EmoIclForAudioClassification

    >>> labels = {0: "Neutral", 1: "Joy", 2: "Anger"}
    >>> config = EmoIclClassifierConfig(id2label=labels, enrollment_labels=["Neutral"])
    >>> model = EmoIclForAudioClassification(config)  # Personalized_N, random weights
    ```
    """

    model_type = "emoicl_classifier"
    attribute_map = WHISPER_LAYER_NAMES
    # Until 5.19 transformers has no `sub_configs_defaults`.
    sub_configs = {"speech_config": AutoConfig}  # pyright: ignore[reportAssignmentType]

    speech_config: Any = None
    speech_layer: int | list[int] | None = None
    freeze_speech_encoder: bool = True
    enrollment_labels: list[str] | None = None
    hidden_size: int = 512
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    hidden_act: str = "gelu"
    feature_dropout: float | int = 0.0
    dropout: float | int = 0.1
    initializer_range: float = 0.02

    @property
    def speech_feature_size(self) -> int:
        """Size of a frame of what the speech encoder gives."""
        return size_of_speech_features(self.speech_config, self.speech_layer)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        refuse_kernels(config_dict)
        return super().from_dict(config_dict, **kwargs)

    def __post_init__(self, **kwargs):
        self.speech_config = sub_config(self.speech_config, model_type="emoicl_speech_encoder")
        super().__post_init__(**kwargs)
        keep_speech_layers(self.speech_config, self.speech_layer)
        labels = list((self.id2label or {}).values())
        self.label2id = {label: number for number, label in enumerate(labels)}
        if self.enrollment_labels is None:
            return
        unknown = [label for label in self.enrollment_labels if label not in labels]
        if unknown or not self.enrollment_labels:
            raise ValueError(
                f"`enrollment_labels` are {self.enrollment_labels}; they must be some of the labels in `id2label`: "
                f"{', '.join(labels)}. `None` stands for no enrollment."
            )


__all__ = ["EmoIclAdaptationConfig", "EmoIclClassifierConfig", "EmoIclConfig", "EmoIclSpeechEncoderConfig"]
