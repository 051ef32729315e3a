"""A small tokenizer for language models built from scratch, which can spell any label word."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast


AUDIO_TOKEN = "<audio>"
SPECIAL_TOKENS = ("<pad>", "</s>", "<unk>", AUDIO_TOKEN)


def train_tokenizer(texts: Iterable[str], vocab_size: int = 512) -> PreTrainedTokenizerFast:
    """
    Trains a byte-level BPE tokenizer. All 256 bytes are tokens, so that any text can be written and read back.

    Args:
        texts (`Iterable[str]`): The instruction and the label words, which become few tokens each.
        vocab_size (`int`, *optional*, defaults to 512): Largest number of tokens, 260 or more.

    Returns:
        [`PreTrainedTokenizerFast`]: `<pad>`, `</s>`, `<unk>` and `<audio>` are tokens 0 to 3.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
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
