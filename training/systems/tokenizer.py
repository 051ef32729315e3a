"""Tokenizers of the language model: one trained for a model from scratch, or a pretrained model's own."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import TemplateError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from emoicl.processing.processing_emoicl import OPEN_LABEL
from emoicl.training.publishing.checkpoint import TOKENIZER_FILES, find_pretrained, naming_damage


AUDIO_TOKEN = "<audio>"
SPECIAL_TOKENS = ("<pad>", "</s>", "<unk>", AUDIO_TOKEN)


def train_tokenizer(texts: Iterable[str], vocab_size: int = 512, num_open_labels: int = 0) -> PreTrainedTokenizerFast:
    """
    Trains a byte-level BPE tokenizer. All 256 bytes are tokens, so that any text can be written and read back.

    Args:
        texts (`Iterable[str]`): The instruction and the label words, which become few tokens each.
        vocab_size (`int`, *optional*, defaults to 512): Largest number of tokens, 260 or more, and the reserved ones.
        num_open_labels (`int`, *optional*, defaults to 0):
            Number of tokens `<label_0>`, `<label_1>`, ... that are reserved for labels whose words the language model
            does not know; see `known_labels` of [`EmoIclProcessor`].

    Returns:
        [`PreTrainedTokenizerFast`]: `<pad>`, `</s>`, `<unk>` and `<audio>` are tokens 0 to 3, and the reserved ones
        follow.
    """
    open_labels = [OPEN_LABEL.format(number) for number in range(num_open_labels)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS, *open_labels],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"audio_token": AUDIO_TOKEN},
    )


def load_tokenizer(language_model: str) -> PreTrainedTokenizerBase:
    """
    Loads the tokenizer of a pretrained language model and adds the placeholder of the query tokens to it.

    Args:
        language_model (`str`): Hub name or folder of the language model, or a file in GGUF.

    Returns:
        [`PreTrainedTokenizerBase`]: With `<audio>` as its last token, where it is new to the vocabulary. Where it has
        no token for padding, which is never looked at, that of the end of a sequence stands in.

    Raises:
        `ValueError`: If the model is nowhere, the tokenizer has no end-of-sequence token, or a file of it is damaged.
    """
    find_pretrained(language_model)
    with naming_damage(language_model, *TOKENIZER_FILES):
        tokenizer = AutoTokenizer.from_pretrained(**source_of(language_model), trust_remote_code=False)
        if "" in tokenizer.all_special_tokens:
            raise ValueError("one of the control tokens is empty")
        # Some fields are not looked at before.
        tokenizer.encode("Joy")
    if tokenizer.eos_token is None:
        raise ValueError(
            f"{language_model}: the tokenizer has no eos_token (tokenizer_config.json); a label needs one to end with."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.add_special_tokens({"extra_special_tokens": [AUDIO_TOKEN]}, replace_extra_special_tokens=False)
    return tokenizer


def source_of(checkpoint: str) -> dict[str, str]:
    """Arguments of `from_pretrained` for a Hub name, a folder, or a file in GGUF (which takes the package `gguf`)."""
    if not checkpoint.endswith(".gguf"):
        return {"pretrained_model_name_or_path": checkpoint}
    path = Path(checkpoint)
    return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}


def frame_prompts(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """
    What stands around a prompt of a decoder-only language model, up to where its answer begins: around a user's turn
    in a chat, or else the tokens that begin and end a text.

    Args:
        tokenizer ([`PreTrainedTokenizerBase`]): Tokenizer of the language model.

    Returns:
        `tuple`: the text before and that after, `prompt_frame` of [`EmoIclProcessor`].

    Raises:
        `ValueError`: If its chat template does not write once what a user says.
    """
    end = str(tokenizer.eos_token)
    if tokenizer.chat_template is None:
        return str(tokenizer.bos_token or ""), end
    reason = "it does not write once what the user says"
    # Some templates take a text, others a list of parts.
    for content in (AUDIO_TOKEN, [{"type": "text", "text": AUDIO_TOKEN}]):
        user = [{"role": "user", "content": content}]
        try:
            # Qwen3 would think aloud first.
            turn = tokenizer.apply_chat_template(
                user, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        except (TemplateError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            continue
        before, *after = str(turn).split(AUDIO_TOKEN)
        if len(after) == 1:
            # The label needs something to follow on.
            return before, after[0] or end
    raise ValueError(
        f"{tokenizer.name_or_path}: its chat template cannot frame a prompt: {reason}. Correct it "
        "(chat_template.jinja or tokenizer_config.json), or take it out: then no chat is around a prompt."
    )


def spell_labels(tokenizer: PreTrainedTokenizerBase, labels: Sequence[str]) -> list[list[int]]:
    """
    Tokens of each label, with the end-of-sequence token, as the language model is to write them.

    Args:
        tokenizer ([`PreTrainedTokenizerBase`]): Tokenizer of the language model.
        labels (`Sequence[str]`): The label words.

    Raises:
        `ValueError`: If the vocabulary lacks a part of a label.
    """
    spelled = [tokenizer.encode(label, add_special_tokens=False) for label in labels]
    unknown = [label for label, ids in zip(labels, spelled, strict=True) if tokenizer.unk_token_id in ids]
    if unknown:
        raise ValueError(
            f"The tokenizer of the language model cannot spell {', '.join(map(repr, unknown))}: a part of it is no "
            "token. Choose other label words, or a language model for their script."
        )
    end = tokenizer.get_vocab()[str(tokenizer.eos_token)]
    return [[*ids, end] for ids in spelled]
