import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from emoicl.processing import EmoIclFeatureExtractor, EmoIclProcessor


@pytest.fixture(scope="session")
def tokenizer():
    """Byte-level BPE in which "Joy" is one token, and any other word is spelled out byte by byte."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<pad>", "</s>", "<unk>", "<audio>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + len(alphabet) + 2, special_tokens=special, initial_alphabet=alphabet
    )
    bpe.train_from_iterator(["Joy"] * 9, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"audio_token": "<audio>"},
    )


@pytest.fixture
def processor(tokenizer):
    return EmoIclProcessor(
        EmoIclFeatureExtractor(),
        tokenizer,
        num_query_tokens=2,
        candidate_labels=["Joy", "Sad"],
        instruction="Of {labels}.",
        max_shots=3,
    )


@pytest.fixture
def encoded_utterances(recognizer, monkeypatch):
    """Number of utterances in each run of the speech encoder."""
    counts = []
    encode = recognizer.model.model.get_speech_features

    def counting(input_features, input_features_mask):
        counts.append(len(input_features))
        return encode(input_features, input_features_mask)

    monkeypatch.setattr(recognizer.model.model, "get_speech_features", counting)
    return counts
