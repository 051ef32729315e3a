"""The tokenizer of a language model that is pretrained from scratch: T5's, which can spell any text."""

import json
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from emoicl.training.pretraining.denoising import MODES
from emoicl.training.systems.tokenizer import AUDIO_TOKEN, SPECIAL_TOKENS


SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
NEWLINE = "<0x0A>"
# What a vocabulary holds besides pieces of words.
NUM_FIXED_TOKENS = len(SPECIAL_TOKENS) + len(MODES) + len(SENTINELS) + len(BYTES)


def train_unigram_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """
    Trains a Unigram tokenizer with byte fallback (Kudo 2018; as SentencePiece makes them for T5), with the tokens of
    the pretraining: T5's 100 sentinels, UL2's mode tokens, and the `<audio>` of prompts.

    Args:
        texts (`Iterable[str]`): What the pieces are learned from.
        vocab_size (`int`): Largest number of tokens. Of a small text fewer pieces can be learned.

    Returns:
        [`PreTrainedTokenizerFast`]: `<pad>`, `</s>`, `<unk>` and `<audio>` are tokens 0 to 3. It ends each text with
        `</s>`, and opens and ends no text that it decodes with a space.

    Raises:
        `ValueError`: If `vocab_size` leaves no room for pieces of words.
    """
    if vocab_size <= NUM_FIXED_TOKENS:
        raise ValueError(f"A vocabulary of {vocab_size} is too small: {NUM_FIXED_TOKENS} tokens are always in it.")
    special_tokens = [*SPECIAL_TOKENS, *MODES, *SENTINELS]
    fixed = [*special_tokens, *BYTES]
    pieces = learn_pieces(texts, vocab_size - len(fixed))
    lowest = min(score for _, score in pieces)
    # Bytes are a last resort: dearer than any piece.
    vocabulary = [(token, 0.0) for token in special_tokens] + [(byte, lowest - 10.0) for byte in BYTES] + pieces
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=SPECIAL_TOKENS.index("<unk>"), byte_fallback=True))
    tokenizer.add_special_tokens(special_tokens)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", left=1, right=0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", SPECIAL_TOKENS.index("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"audio_token": AUDIO_TOKEN},
    )


def learn_pieces(texts: Iterable[str], number: int) -> list[tuple[str, float]]:
    """Pieces of words and their log probabilities, the most probable first; the same in every process."""
    texts = list(texts)
    # What the trainer insists on, also where there are more than `number`: the bytes spell those left out below.
    characters = {"▁", *"".join(texts)}
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        # The unknown token counts as a piece.
        vocab_size=max(number, len(characters)) + 1,
        special_tokens=["<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    scores = {piece: score for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"] if piece != "<unk>"}
    # Characters that are not worth a piece get scores from the lowest upwards, 1e-4 apart and in random order. And the
    # sums of several threads differ in their last digits.
    lowest = min(scores.values())
    highest_of_leftover = lowest + 1e-4 * (len(characters) + 1)
    pieces = [
        (piece, round(lowest if piece in characters and score <= highest_of_leftover else score, 6))
        for piece, score in scores.items()
    ]
    return sorted(pieces, key=lambda piece: (-piece[1], piece[0]))[:number]
