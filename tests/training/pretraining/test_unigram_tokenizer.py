from pathlib import Path

import pytest
from transformers import AutoTokenizer, T5Config

from emoicl.training.pretraining.denoising import MODES
from emoicl.training.pretraining.tokenizer import BYTES, NUM_FIXED_TOKENS, SENTINELS, train_unigram_tokenizer


LICENSE = Path(__file__).parents[3] / "LICENSE"
TEXTS = [line.strip() for line in LICENSE.read_text().splitlines() if line.strip()]
VOCAB_SIZE = NUM_FIXED_TOKENS + 200


@pytest.fixture(scope="module")
def tokenizer():
    return train_unigram_tokenizer(TEXTS, VOCAB_SIZE)


@pytest.mark.parametrize(
    "text", ["Joy", "Surprise negative", "喜び", "Überraschung", "😀", "Don 't know ?", "a\u0301", "two\nlines"]
)
def test_any_text_is_read_back(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_special_tokens(tokenizer):
    assert tokenizer.convert_tokens_to_ids(["<pad>", "</s>", "<unk>", "<audio>"]) == [0, 1, 2, 3]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer.audio_token == "<audio>"
    special = [*MODES, *SENTINELS]
    ids = [tokenizer(token, add_special_tokens=False)["input_ids"] for token in special]
    assert ids == [[tokenizer.get_vocab()[token]] for token in special]
    assert (
        tokenizer.decode(tokenizer("[R] work <extra_id_99>")["input_ids"], skip_special_tokens=True).strip() == "work"
    )


def test_known_words_are_few_tokens_and_bytes_are_a_last_resort(tokenizer):
    assert tokenizer.tokenize("of the") == ["▁of", "▁the"]
    _, *spelled = tokenizer.tokenize("喜")
    assert set(spelled) <= set(BYTES)


def test_the_vocabulary_has_the_size_that_was_asked_for_if_the_text_has_the_pieces(tokenizer):
    assert len(tokenizer) == VOCAB_SIZE
    assert NUM_FIXED_TOKENS < len(train_unigram_tokenizer(["ab ab"], 5000)) < 400


def test_characters_beyond_the_vocabulary_are_spelled_in_bytes():
    tokenizer = train_unigram_tokenizer(["".join(map(chr, range(0x3041, 0x3091)))], NUM_FIXED_TOKENS + 10)
    assert len(tokenizer) == NUM_FIXED_TOKENS + 10
    assert tokenizer.decode(tokenizer("ふゆ")["input_ids"], skip_special_tokens=True) == "ふゆ"


def test_equal_texts_train_equal_tokenizers(tokenizer):
    assert train_unigram_tokenizer(TEXTS, VOCAB_SIZE).get_vocab() == tokenizer.get_vocab()


def test_saved_beside_a_t5_and_loaded(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    T5Config(vocab_size=len(tokenizer)).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    text = "[X] The door 喜 <extra_id_3> ?"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.audio_token == "<audio>"


def test_too_small_a_vocabulary():
    with pytest.raises(ValueError, match=f"of {NUM_FIXED_TOKENS} is too small"):
        train_unigram_tokenizer(TEXTS, NUM_FIXED_TOKENS)
