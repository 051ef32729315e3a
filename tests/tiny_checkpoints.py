"""Tiny random checkpoints of every supported type, as the Hub has large ones: `from tiny_checkpoints import ...`."""

import json
from pathlib import Path
from typing import Any

import torch
from tiny import tiny_speech_config
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from emoicl.modeling.speech_encoder_emoicl import EmoIclSpeechEncoder
from emoicl.processing.processing_emoicl import INSTRUCTION


CONVOLUTIONS = {
    "conv_dim": [8, 8, 8],
    "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 4, 4],
    "num_feat_extract_layers": 3,
}
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
POSITIONS = {"num_conv_pos_embeddings": 6, "num_conv_pos_embedding_groups": 2}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
# The published sizes differ: base ones normalize over time, large ones normalize each frame, and have a final
# normalization; mHuBERT has a batch normalization.
SELF_SUPERVISED: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("wav2vec2", {}),
    "wav2vec2-large": ("wav2vec2", STABLE),
    "hubert": ("hubert", {}),
    "hubert-large": ("hubert", STABLE),
    "mhubert": ("hubert", {"conv_pos_batch_norm": True}),
    "wavlm": ("wavlm", {}),
    "wavlm-large": ("wavlm", STABLE),
    "wav2vec2-bert": ("wav2vec2-bert", {}),
}
SPEECH_ENCODERS = ("whisper", "emoicl", *SELF_SUPERVISED)
ENCODER_DECODERS = ("t5", "flan-t5", "mt5", "umt5", "bart", "mbart", "t5gemma")
DECODERS = ("llama", "qwen2", "qwen3", "gemma3_text", "mistral", "gpt2")
LANGUAGE_MODELS = ENCODER_DECODERS + DECODERS
# One token each of the tokenizers that know words.
WORDS = (
    "Apple", "Book", "Cloud", "Door", "Engine", "Forest", "Garden", "House", "Island", "Lake", "Mountain", "Paper",
    "River", "Stone", "Table", "Window",
)  # fmt: skip
# As of Qwen and SmolLM2.
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def self_supervised_config(kind: str) -> PreTrainedConfig:
    """Configuration of a tiny self-supervised encoder of 3 layers, one of `SELF_SUPERVISED`."""
    model_type, fields = SELF_SUPERVISED[kind]
    if model_type == "wav2vec2-bert":
        return AutoConfig.for_model(model_type, **SIZES, feature_projection_input_dim=20, max_source_positions=200)
    return AutoConfig.for_model(model_type, **SIZES, **CONVOLUTIONS, **POSITIONS, **fields)


def randomize(model: PreTrainedModel, std: float = 0.3) -> PreTrainedModel:
    """Weights far from where initialization puts them, so that every part shows in the output."""
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        weight.data.normal_(std=std, generator=generator)
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.data.uniform_(0.5, 2, generator=generator)
    return model.eval()


def published_encoder(kind: str) -> PreTrainedModel:
    """A random model of the class that the Hub has, one of `SPEECH_ENCODERS`."""
    if kind == "emoicl":
        return randomize(EmoIclSpeechEncoder(tiny_speech_config("emoicl")))  # pyright: ignore[reportArgumentType]
    if kind == "whisper":
        return randomize(WhisperEncoder(tiny_speech_config("whisper")))  # pyright: ignore[reportArgumentType]
    return randomize(AutoModel.from_config(self_supervised_config(kind)))


def save_speech_encoder(kind: str, folder: Path, do_normalize: bool = True) -> Path:
    """Saves `published_encoder(kind)` with its preprocessor."""
    model = published_encoder(kind)
    model.save_pretrained(folder)
    if kind == "wav2vec2-bert":
        SeamlessM4TFeatureExtractor(feature_size=10, num_mel_bins=10).save_pretrained(folder)
    elif kind in SELF_SUPERVISED:
        Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(folder)
    return folder


def unigram_tokenizer(texts: tuple[str, ...], special: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """A tokenizer as SentencePiece makes them, for T5 and mBART: words and letters of these texts."""
    pieces = sorted({f"▁{word}" for text in texts for word in text.split()} | {*"".join(texts)} | {"▁"})
    vocabulary = [(token, 0.0) for token in special] + [(piece, -float(len(pieces))) for piece in pieces]
    model = models.Unigram(vocabulary, unk_id=special.index("<unk>"))
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def byte_tokenizer(
    special: tuple[str, ...] = ("<s>", "<pad>", "</s>", "<unk>"), words: tuple[str, ...] = ()
) -> PreTrainedTokenizerFast:
    """A tokenizer as BART has it: bytes and some words, and other numbers for the special tokens than T5's."""
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), *words]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer as of decoder-only models that were taught to chat: bytes and some words, and none for padding."""
    tokenizer = byte_tokenizer(("<|endoftext|>", "<|im_start|>", "<|im_end|>"), WORDS)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        chat_template=CHAT,
    )


def decoder_config(kind: str, vocab_size: int) -> PreTrainedConfig:
    """Configuration of a tiny decoder-only model, one of `DECODERS`; two of them have layers that see but a few
    tokens."""
    if kind == "gpt2":
        return AutoConfig.for_model(kind, vocab_size=vocab_size, n_embd=24, n_layer=2, n_head=2, n_positions=400)
    windows: dict[str, Any] = {
        "gemma3_text": {"query_pre_attn_scalar": 8, "layer_types": ["sliding_attention", "full_attention"]},
        "mistral": {},
    }
    fields = {"sliding_window": 8, **windows[kind]} if kind in windows else {}
    return AutoConfig.for_model(
        kind, vocab_size=vocab_size, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, tie_word_embeddings=kind != "llama", **fields,
    )  # fmt: skip


def language_model_config(kind: str, vocab_size: int) -> PreTrainedConfig:
    """Configuration of a tiny language model, one of `LANGUAGE_MODELS`, with the published ones' peculiarities."""
    if kind in DECODERS:
        return decoder_config(kind, vocab_size)
    if kind in ("t5", "flan-t5", "mt5", "umt5"):
        model_type = kind.removeprefix("flan-")
        gated = {} if kind == "t5" else {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
        return AutoConfig.for_model(
            model_type, vocab_size=vocab_size, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
            pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, **gated,
        )  # fmt: skip
    if kind in ("bart", "mbart"):
        sizes = {f"{part}_{size}": 2 for part in ("encoder", "decoder") for size in ("layers", "attention_heads")}
        forced = {"forced_bos_token_id": 0} if kind == "bart" else {"scale_embedding": True}
        return AutoConfig.for_model(
            kind, vocab_size=vocab_size, d_model=24, encoder_ffn_dim=32, decoder_ffn_dim=32, **sizes, **forced,
            bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, max_position_embeddings=300,
        )  # fmt: skip
    module = {
        "vocab_size": vocab_size, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "query_pre_attn_scalar": 8,
        "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
    }  # fmt: skip
    return AutoConfig.for_model(
        "t5gemma", encoder=module, decoder=dict(module), vocab_size=vocab_size, pad_token_id=0, eos_token_id=[1, 2]
    )


def save_language_model(kind: str, folder: Path, labels: tuple[str, ...]) -> Path:
    """Saves a tiny random language model and a tokenizer that spells these labels.

    T5's vocabulary is larger than its tokenizer's, as published; the others' is just as large.
    """
    special = ("<s>", "<pad>", "</s>", "<unk>") if kind == "mbart" else ("<pad>", "</s>", "<unk>")
    if kind in DECODERS:
        tokenizer = chat_tokenizer() if kind != "gpt2" else byte_tokenizer(("</s>",))
    else:
        tokenizer = byte_tokenizer() if kind == "bart" else unigram_tokenizer((INSTRUCTION, *labels, *WORDS), special)
    spare = 5 if kind in ("t5", "flan-t5", "mt5", "umt5") else 0
    auto_class = AutoModelForCausalLM if kind in DECODERS else AutoModelForSeq2SeqLM
    model = auto_class.from_config(language_model_config(kind, len(tokenizer) + spare))
    randomize(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def edit_config(folder: Path, **fields: Any) -> None:
    """Changes fields of a saved configuration."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
