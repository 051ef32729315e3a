"""A language model that knows its own label words alone is given reserved tokens in place of any others."""

import json
from types import SimpleNamespace

import pytest
import torch
from recognizers import ENROLLMENT, SHOTS, TARGETS, make_recognizer, scores_of
from tiny import LABELS, NUM_MEL_BINS, VOCAB_SIZE, tiny_model
from transformers import AutoProcessor

from emoicl import EmoIclPipeline
from emoicl.processing import EmoIclFeatureExtractor, EmoIclProcessor
from emoicl.training.systems.tokenizer import train_tokenizer


OTHERS = ["Wut", "Joy", "calm and neutral"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(LABELS, vocab_size=VOCAB_SIZE, num_open_labels=2)


@pytest.fixture
def processor(tokenizer):
    return EmoIclProcessor(
        EmoIclFeatureExtractor(feature_size=NUM_MEL_BINS),
        tokenizer,
        num_query_tokens=3,
        candidate_labels=LABELS,
        instruction="Of {labels}.",
        max_shots=5,
        known_labels=LABELS,
    )


@pytest.fixture
def plain(processor):
    """A processor that differs in that it writes all labels as they are."""
    return EmoIclProcessor(
        processor.feature_extractor, processor.tokenizer, 3, LABELS, processor.instruction, processor.max_shots
    )


def texts(processor, ids):
    return [processor.tokenizer.decode(row[row >= 0]) for row in ids]


def test_labels_that_are_not_known_are_written_as_reserved_tokens(processor):
    prompts = processor.build_prompts(
        [[0, 1, 2, 3], [1, 0]], [["calm and neutral", None, "Joy"], ["Wut"]], OTHERS, labels=["Wut", "Joy"]
    )
    speech = "<audio>" * 3
    assert texts(processor, prompts["input_ids"]) == [
        f"Of <label_0>, Joy, <label_1>.{speech}<label_1>{speech}{speech}Joy{speech}",
        f"Of <label_0>, Joy, <label_1>.{speech}<label_0>{speech}" + "<pad>" * (prompts["attention_mask"] == 0).sum(),
    ]
    assert texts(processor, prompts["labels"]) == ["<label_0></s>", "Joy</s>"]
    ids = processor.label_ids(OTHERS, OTHERS)
    assert texts(processor, ids) == ["<label_0></s>", "Joy</s>", "<label_1></s>"]
    assert (ids[0] >= 0).sum() == 2, "a reserved token is one token"


def test_each_prompt_has_the_writing_of_its_own_candidates(processor):
    prompts = processor.build_prompts([[0, 1]] * 2, [["Wut"]] * 2, [["Wut", "Joy"], ["Mut", "Wut"]], ["Wut", "Mut"])
    shots = [text.partition("<audio>")[2].replace("<audio>", "") for text in texts(processor, prompts["input_ids"])]
    assert [shot.replace("<pad>", "") for shot in shots] == ["<label_0>", "<label_1>"]
    assert texts(processor, prompts["labels"]) == ["<label_0></s>", "<label_0></s>"]


def test_known_labels_are_written_as_ever(processor, plain):
    arguments = ([[0, 1, 2]], [["Joy", "Anger"]], ["Anger", "Joy"])
    for name, tensor in plain.build_prompts(*arguments, labels=["Joy"]).items():
        assert torch.equal(processor.build_prompts(*arguments, labels=["Joy"])[name], tensor)
    assert torch.equal(processor.label_ids(list(LABELS)), plain.label_ids(list(LABELS)))
    assert texts(processor, processor.label_ids(["Anger"], OTHERS)) == ["Anger</s>"]
    assert texts(plain, plain.label_ids(["Wut"])) == ["Wut</s>"], "without known labels, all are"


def test_what_cannot_be_written_is_refused(processor, tokenizer):
    with pytest.raises(ValueError, match="^label 'Wut' is none of the candidate labels Joy, Sadness, Anger"):
        processor.label_ids(["Wut"])
    many = ["Wut", "Mut", "Hut"]
    for refuse in (
        lambda: processor(TARGETS[0], candidate_labels=many),
        lambda: processor.label_ids(["Wut"], many),
        lambda: processor.match_enrollment_labels([], many),
        lambda: EmoIclProcessor(processor.feature_extractor, tokenizer, candidate_labels=many, known_labels=LABELS),
    ):
        with pytest.raises(
            ValueError, match="^3 of the candidate labels are none of the known.*can take 2 such labels"
        ):
            refuse()
    with pytest.raises(ValueError, match="holds '<label_1>', which the tokenizer takes for a control token"):
        processor(TARGETS[0], candidate_labels=["Joy", "a <label_1>"])
    with pytest.raises(ValueError, match="Known labels must be a list of non-empty strings; got 'Joy'"):
        EmoIclProcessor(processor.feature_extractor, tokenizer, known_labels="Joy")
    with pytest.raises(ValueError, match="the tokenizer has no token '<label_0>'"):
        EmoIclProcessor(processor.feature_extractor, train_tokenizer(LABELS), known_labels=list(LABELS))


def test_save_and_load(processor, plain, tmp_path):
    processor.save_pretrained(tmp_path / "known")
    saved = json.loads((tmp_path / "known" / "processor_config.json").read_text())
    assert saved["known_labels"] == list(LABELS) and "open_labels" not in saved
    loaded = AutoProcessor.from_pretrained(tmp_path / "known")
    assert loaded.known_labels == list(LABELS)
    for name, tensor in processor(TARGETS[0], ENROLLMENT[:1], OTHERS, labels="Wut").items():
        assert torch.equal(loaded(TARGETS[0], ENROLLMENT[:1], OTHERS, labels="Wut")[name], tensor)
    plain.save_pretrained(tmp_path / "plain")
    assert AutoProcessor.from_pretrained(tmp_path / "plain").known_labels is None


def test_what_was_written_is_read_as_the_users_word(processor, plain):
    written = torch.nn.utils.rnn.pad_sequence(
        [
            torch.tensor([0, *processor.tokenizer(text)["input_ids"], 1])
            for text in ("<label_1>", "Joy", "<label_0>", "Joy<label_0>", "Anger", "")
        ],
        batch_first=True,
    )
    expected = ["calm and neutral", "Joy", "Wut", "Joy<label_0>", "Anger", ""]
    assert processor.decode_labels(written, OTHERS) == expected
    assert processor.decode_labels(written)[0] == "<label_1>", "it stands for none of the default candidates"
    assert plain.decode_labels(written)[1] == "Joy"


@pytest.fixture
def recognizer(processor):
    return EmoIclPipeline(model=tiny_model(), processor=processor, device=torch.device("cpu"))


RENAMED = [{"audio": SHOTS[0], "label": "Wut"}, {"audio": SHOTS[1], "label": "Joy"}]


def test_the_pipeline_answers_in_the_users_words(recognizer, processor):
    answers = recognizer(TARGETS[0], enrollment=RENAMED, candidate_labels=OTHERS)
    with torch.no_grad():
        scores = recognizer.model.score_labels(
            processor.label_ids(OTHERS, OTHERS), **processor(TARGETS[0], RENAMED, OTHERS)
        )
    assert scores_of(answers) == pytest.approx(dict(zip(OTHERS, scores.exp()[0].tolist(), strict=True)), abs=1e-5)
    profile = recognizer.enroll(RENAMED, candidate_labels=OTHERS)
    assert profile.labels == ["Wut", "Joy"], "a profile holds words, which candidates decide the writing of"
    with_profile = recognizer(TARGETS[0], profile=profile, candidate_labels=OTHERS)
    assert scores_of(with_profile) == pytest.approx(scores_of(answers), abs=1e-5)


def test_only_the_order_of_the_words_counts_not_the_words(recognizer):
    other = [{"audio": SHOTS[0], "label": "怒り"}, {"audio": SHOTS[1], "label": "Joy"}]
    first, second = (
        [scores_of(recognizer(TARGETS[0], enrollment=shots, candidate_labels=words))[word] for word in words]
        for shots, words in ((RENAMED, OTHERS), (other, ["怒り", "Joy", "普通"]))
    )
    assert first == pytest.approx(second, abs=1e-6)
    with_words = make_recognizer()(TARGETS[0], enrollment=RENAMED, candidate_labels=OTHERS)
    assert first != pytest.approx([scores_of(with_words)[word] for word in OTHERS], abs=1e-3)


def test_beam_search_writes_the_users_words(recognizer, processor, monkeypatch):
    written = torch.nn.functional.pad(processor.label_ids(["calm and neutral"], OTHERS), (1, 0))
    output = SimpleNamespace(sequences=written, sequences_scores=torch.tensor([0.5]).log())
    monkeypatch.setattr(recognizer.model, "generate", lambda **inputs: output)
    (answer,) = recognizer(TARGETS[0], candidate_labels=OTHERS, decoding="beam")
    assert answer == {"label": "calm and neutral", "score": 0.5}
