"""Tiny models with random weights, and prompts for them: `from tiny import tiny_model` in the tests of any folder."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig

from emoicl.modeling.configuration_emoicl import EmoIclConfig, EmoIclSpeechEncoderConfig
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing import EmoIclFeatureExtractor, EmoIclProcessor
from emoicl.training.systems.tokenizer import train_tokenizer


PAD, EOS, AUDIO = 0, 1, 3
NUM_MEL_BINS = 80
# As the small tokenizer has it: 4 special tokens, 256 bytes and some merges.
VOCAB_SIZE = 320
LABELS = ("Joy", "Sadness", "Anger")
# The known labels of a tiny model. "Anger" is none of them, so that tests meet an unknown label too.
KNOWN_LABELS = {"Joy": [10, EOS], "Sadness": [11, 12, EOS]}

LAYER_TYPES = ["sliding_attention", "full_attention"]

# Fields of a model that made-up speakers teach: an utterance is one token, its label bound to it, and nothing sees the
# target.
READER: dict[str, Any] = {
    "num_query_tokens": 1,
    "voice_token": True,
    "bind_labels": True,
    "enrollment_sees_target": False,
}

Shot = tuple[int, list[int]]
# Labels of shots.
JOY, SADNESS, ANGER = [10], [11, 12], [13, 14, 15]


def tiny_speech_config(kind: str = "whisper", num_layers: int = 3) -> PreTrainedConfig:
    """Configuration of a speech encoder: `"whisper"`, or `"emoicl"` for the paper's."""
    if kind == "emoicl":
        return EmoIclSpeechEncoderConfig(
            hidden_size=16, num_hidden_layers=num_layers, num_attention_heads=2, intermediate_size=32
        )
    return AutoConfig.for_model(
        "whisper", d_model=16, encoder_layers=num_layers, encoder_attention_heads=2, encoder_ffn_dim=32
    )


def tiny_text_config(kind: str = "t5", vocab_size: int = VOCAB_SIZE) -> PreTrainedConfig:
    """Configuration of a language model: `"t5"`, `"bart"` or `"t5gemma"`, or of a decoder-only one: `"llama"`, or
    `"gemma3_text"`, of which every other layer sees but the last tokens."""
    tokens = {"vocab_size": vocab_size, "pad_token_id": PAD, "eos_token_id": EOS}
    if kind == "bart":
        sizes = {f"{part}_{size}": 2 for part in ("encoder", "decoder") for size in ("layers", "attention_heads")}
        widths = {"d_model": 24, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
        return AutoConfig.for_model("bart", **tokens, **sizes, **widths, decoder_start_token_id=EOS)
    if kind == "t5gemma":
        module = {
            "hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            **tokens,
        }
        return AutoConfig.for_model("t5gemma", encoder=module, decoder=dict(module), bos_token_id=2, **tokens)
    if kind in ("llama", "gemma3_text"):
        sizes = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        windows = {"query_pre_attn_scalar": 8, "sliding_window": 6, "layer_types": LAYER_TYPES}
        return AutoConfig.for_model(
            kind,
            **tokens,
            **sizes,
            **(windows if kind == "gemma3_text" else {}),
            num_key_value_heads=1,
            head_dim=8,
            bos_token_id=2,
            decoder_start_token_id=2,
            max_position_embeddings=512,
        )
    return AutoConfig.for_model(
        "t5", **tokens, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=PAD
    )


def tiny_config(
    speech: str = "whisper", text: str = "t5", vocab_size: int = VOCAB_SIZE, **fields: Any
) -> EmoIclConfig:
    """A configuration with every part of a model in it, the smallest that still means something.

    Args:
        speech (`str`, *optional*, defaults to `"whisper"`): Speech encoder, see `tiny_speech_config`.
        text (`str`, *optional*, defaults to `"t5"`): Language model, see `tiny_text_config`.
        vocab_size (`int`, *optional*, defaults to 320): Vocabulary of the language model.
        **fields: Fields of [`EmoIclConfig`] that differ.
    """
    qformer_config = AutoConfig.for_model(
        "blip_2_qformer",
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        cross_attention_frequency=1,
    )
    defaults = {
        "speech_config": tiny_speech_config(speech),
        "qformer_config": qformer_config,
        "text_config": tiny_text_config(text, vocab_size),
        "num_query_tokens": 3,
        "max_shots": 5,
        "speech_layer": 2,
        "audio_token_id": AUDIO,
        "adaptation_config": tiny_adaptation(),
    }
    return EmoIclConfig(**(defaults | fields))


def tiny_adaptation(**fields: Any) -> dict[str, Any]:
    """Fields of a speaker adaptation that knows `KNOWN_LABELS`."""
    labels = {"label_words": list(KNOWN_LABELS), "label_token_ids": list(KNOWN_LABELS.values())}
    return {"size": 6} | labels | fields


def tiny_model(seed: int = 0, **fields: Any) -> EmoIclForConditionalGeneration:
    """A model of `tiny_config(**fields)` in evaluation mode.

    Its weights are far from where initialization puts them: next to zero, one part of the model would hardly show in
    the output of another, and a test could pass by chance.
    """
    torch.manual_seed(seed)
    model = EmoIclForConditionalGeneration(tiny_config(**fields))
    for parameter in model.parameters():
        parameter.data.normal_(std=0.5)
    return model.eval()


def tiny_processor(**fields: Any) -> EmoIclProcessor:
    """A processor whose prompts fit `tiny_model()`; its tokenizer spells any word."""
    defaults = {"num_query_tokens": 3, "candidate_labels": LABELS, "max_shots": 5}
    tokenizer = train_tokenizer(LABELS, vocab_size=VOCAB_SIZE)
    return EmoIclProcessor(EmoIclFeatureExtractor(feature_size=NUM_MEL_BINS), tokenizer, **(defaults | fields))


def tiny_prompts(
    *episodes: tuple[Sequence[Shot], int], instruction: Sequence[int] = (5, 6), num_query_tokens: int = 3
) -> dict[str, torch.Tensor]:
    """The text side of a batch, as the processor lays it out.

    Args:
        *episodes (`tuple`): Enrollment as pairs of utterance and label tokens, and the target utterance.
        instruction (`Sequence[int]`, *optional*): Tokens of the instruction W.
        num_query_tokens (`int`, *optional*, defaults to 3): Number of placeholders of an utterance.
    """
    rows = []
    for shots, target in episodes:
        sequences = [(list(instruction), 0)]
        for _, label in shots:
            sequences += [([AUDIO] * num_query_tokens, 1), (label, 0)]
        sequences.append(([AUDIO] * num_query_tokens, 1))
        lengths = torch.tensor([len(tokens) for tokens, _ in sequences])
        rows.append(
            {
                "input_ids": torch.tensor([token for tokens, _ in sequences for token in tokens]),
                "attention_mask": torch.ones(int(lengths.sum()), dtype=torch.long),
                "sequence_ids": torch.tensor([0, *range(len(sequences) - 1, 0, -1)]).repeat_interleave(lengths),
                "segment_ids": torch.tensor([segment for _, segment in sequences]).repeat_interleave(lengths),
                "utterance_index": torch.tensor([*(utterance for utterance, _ in shots), target]),
            }
        )
    padding = {"utterance_index": -1}
    return {
        name: torch.nn.utils.rnn.pad_sequence(
            [row[name] for row in rows], batch_first=True, padding_value=padding.get(name, 0)
        )
        for name in rows[0]
    }


def tiny_speech(*lengths: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random log-mel features of utterances with so many frames, padded, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    features = torch.randn(len(lengths), NUM_MEL_BINS, max(lengths), generator=generator)
    return {"input_features": features * mask[:, None], "input_features_mask": mask}


def tiny_batch(num_query_tokens: int = 3) -> dict[str, torch.Tensor]:
    """Three prompts with 2, 3 and 0 shots: known and unknown labels, one twice, and utterances that prompts share."""
    prompts = tiny_prompts(
        ([(0, JOY), (1, SADNESS)], 2),
        ([(3, JOY), (1, ANGER), (0, ANGER)], 4),
        ([], 2),
        num_query_tokens=num_query_tokens,
    )
    return prompts | tiny_speech(40, 37, 51, 26, 33)


def one_speaker(num_targets: int = 4, shots=((0, JOY), (1, SADNESS))) -> dict[str, Any]:
    """Prompts of several targets of one speaker."""
    prompts = tiny_prompts(*[(shots, target) for target in range(2, 2 + num_targets)])
    return prompts | tiny_speech(40, 37, *[20 + 5 * i for i in range(num_targets)])


def prompt_of(batch: dict[str, torch.Tensor], row: int) -> dict[str, Any]:
    """One prompt of a batch, with the utterances of all."""
    names = ("input_ids", "attention_mask", "sequence_ids", "segment_ids", "utterance_index")
    return batch | {name: batch[name][row : row + 1] for name in names}


def moved_padding(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same prompts, with their padding on the left."""
    order = batch["attention_mask"].argsort(dim=1, stable=True)
    names = ("input_ids", "attention_mask", "sequence_ids", "segment_ids")
    return batch | {name: batch[name].gather(1, order) for name in names}


def log_likelihoods(model: EmoIclForConditionalGeneration, label_ids: torch.Tensor, **batch: Any) -> torch.Tensor:
    """Log-probability of each candidate among all texts that could be written, by what `forward` gives its tokens."""
    encoded = model.model.encode(**batch)
    columns = []
    for label in label_ids:
        label = label[label >= 0]
        labels = label.expand(len(batch["attention_mask"]), -1)
        output = model(encoder_outputs=encoded, attention_mask=batch["attention_mask"], labels=labels)
        steps = output.logits.float().log_softmax(-1).gather(2, labels[..., None])
        columns.append(steps.sum((1, 2)))
    return torch.stack(columns, dim=1)


def label_ids(*labels: Sequence[int]) -> torch.Tensor:
    """Label tokens, each with the end-of-sequence token where it has one, padded with -100."""
    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(label) for label in labels], batch_first=True, padding_value=-100
    )
