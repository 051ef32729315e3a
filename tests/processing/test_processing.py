"""The prompt is laid out as the contract says, each utterance is there once, and a bad item is named."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_speech import encoded, tone
from transformers import AutoFeatureExtractor, AutoProcessor

from emoicl.processing import EmoIclFeatureExtractor, EmoIclProcessor


A, B, C, D = (tone(frequency, seconds) for frequency, seconds in ((300, 0.3), (400, 0.4), (500, 0.5), (600, 0.6)))
PROMPT_FIELDS = ["input_ids", "attention_mask", "sequence_ids", "segment_ids"]


def shot(audio, label: Any = "Joy"):
    return {"audio": audio, "label": label}


def test_layout_with_two_shots_by_hand(processor):
    inputs = processor(C, [shot(A, "Sad"), shot(B, "Joy")], labels="Sad")
    # W = "Of Joy, Sad." X^1 Z^1 X^2 Z^2 X; a space is "Ġ" in byte-level BPE
    text = ["O", "f", "Ġ", "Joy", ",", "Ġ", "S", "a", "d", "."]
    expected = [*text, "<audio>", "<audio>", "S", "a", "d", "<audio>", "<audio>", "Joy", "<audio>", "<audio>"]
    assert processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist()) == expected
    assert inputs["attention_mask"].tolist() == [[1] * 20]
    assert inputs["sequence_ids"].tolist() == [[0] * 10 + [5, 5, 4, 4, 4, 3, 3, 2, 1, 1]]
    assert inputs["segment_ids"].tolist() == [[0] * 10 + [1, 1, 0, 0, 0, 1, 1, 0, 1, 1]]
    assert inputs["utterance_index"].tolist() == [[0, 1, 2]]
    assert processor.tokenizer.convert_ids_to_tokens(inputs["labels"][0].tolist()) == ["S", "a", "d", "</s>"]
    assert all(inputs[name].dtype == torch.int64 for name in inputs if name != "input_features")
    assert list(inputs) == [*processor.model_input_names[:5], "labels", *processor.model_input_names[5:]]
    assert inputs["input_features"].shape == (3, 80, 50)
    assert inputs["input_features_mask"].sum(-1).tolist() == [30, 40, 50]


def test_the_instruction_and_the_labels_of_the_paper(tokenizer):
    processor = EmoIclProcessor(EmoIclFeatureExtractor(), tokenizer, num_query_tokens=1)
    prompt = processor.tokenizer.decode(processor(A)["input_ids"][0])
    assert prompt == (
        "Please select the appropriate emotion for the input speech from the following: "
        "Neutral, Surprise, Sadness, Joy, Fear, Disgust, Anger.<audio>"
    )


@pytest.mark.parametrize("unlabeled", [{}, {"label": None}])
def test_a_shot_without_a_label_keeps_the_place_of_its_label(processor, unlabeled):
    inputs = processor(D, [{"audio": A, **unlabeled}, shot(B, "Joy"), {"audio": C, **unlabeled}])
    speech = ["<audio>", "<audio>"]
    assert processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0, 10:].tolist()) == [
        *speech, *speech, "Joy", *speech, *speech
    ]  # fmt: skip
    assert inputs["sequence_ids"].tolist() == [[0] * 10 + [7, 7, 5, 5, 4, 3, 3, 1, 1]]
    assert inputs["segment_ids"].tolist() == [[0] * 10 + [1, 1, 1, 1, 0, 1, 1, 1, 1]]
    assert inputs["utterance_index"].tolist() == [[0, 1, 2, 3]]
    text = processor.build_prompts([[0, 1, 2, 3]], [[None, "Joy", None]])
    assert all(torch.equal(text[name], inputs[name]) for name in PROMPT_FIELDS)


def test_no_shot_has_a_label_in_a_batch(processor):
    batch = processor([C, D], [[{"audio": A}, {"audio": B}], []])
    assert batch["attention_mask"].sum(-1).tolist() == [10 + 3 * 2, 10 + 2]
    assert batch["sequence_ids"][0, 10:].tolist() == [5, 5, 3, 3, 1, 1]


@pytest.mark.parametrize("instruction", ["{foo} of {labels}", "{labels:>9} {0} {}", "{{labels}}"])
def test_only_the_labels_of_an_instruction_are_filled_in(processor, instruction):
    processor.instruction = instruction
    text = processor.tokenizer.decode(processor(A)["input_ids"][0], skip_special_tokens=True)
    assert text == instruction.replace("{labels}", "Joy, Sad")


def test_uneven_shots_in_a_batch(processor):
    enrollments = [[shot(A, "Sad"), shot(B)], None, [shot(C)]]
    batch = processor([C, D, A], enrollments, labels=["Joy", "Sad", "Joy"])
    # A B C of the first prompt, then D; the third prompt has nothing new.
    assert batch["utterance_index"].tolist() == [[0, 1, 2], [3, -1, -1], [2, 0, -1]]
    assert len(batch["input_features"]) == 4
    assert batch["attention_mask"].sum(-1).tolist() == [20, 12, 15]
    padding = batch["attention_mask"] == 0
    assert (batch["input_ids"][padding] == processor.tokenizer.pad_token_id).all()
    assert not batch["sequence_ids"][padding].any() and not batch["segment_ids"][padding].any()
    assert batch["labels"].tolist() == processor.label_ids(["Joy", "Sad", "Joy"]).tolist()


def test_alone_is_the_same_as_in_a_batch_to_the_bit(processor):
    targets, enrollments = [C, D, A], [[shot(A, "Sad"), shot(B)], [], [shot(C)]]
    batch = processor(targets, enrollments)
    for i in range(3):
        alone = processor(targets[i], enrollments[i])
        length = alone["input_ids"].shape[1]
        for name in PROMPT_FIELDS:
            assert torch.equal(batch[name][i, :length], alone[name][0])
            assert not (batch["attention_mask"][i, length:]).any()
        rows = batch["utterance_index"][i]
        for row, own in zip(rows[rows >= 0], alone["utterance_index"][0], strict=True):
            mask = batch["input_features_mask"][row].bool()
            own_mask = alone["input_features_mask"][own].bool()
            assert torch.equal(batch["input_features"][row][:, mask], alone["input_features"][own][:, own_mask])


def test_an_utterance_in_any_form_is_one_row(processor, tmp_path):
    samples = np.round(A * 32768).astype(np.int16)
    content = encoded(samples)
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    forms = [samples, content, path, str(path), {"bytes": content, "path": None}, torch.from_numpy(samples)]
    batch = processor([B] * len(forms), [[shot(form)] for form in forms])
    assert batch["utterance_index"].tolist() == [[0, 1]] * len(forms)
    assert len(batch["input_features"]) == 2


def test_text_alone_for_cached_features(processor):
    """What training calls: the same prompts as with audio, but rows of a cache in place of features."""
    with_audio = processor([C, D], [[shot(A, "Sad")], []], labels=["Joy", "Sad"])
    text = processor.build_prompts([[5, 3], [9]], [["Sad"], []], labels=["Joy", "Sad"])
    assert text["utterance_index"].tolist() == [[5, 3], [9, -1]]
    for name in [*PROMPT_FIELDS, "labels"]:
        assert torch.equal(text[name], with_audio[name])
    assert "input_features" not in text


def test_candidate_labels_of_a_call_and_of_each_target(processor):
    words = ["Glad", "Mad"]
    alone = processor(A, [shot(B, "Mad")], candidate_labels=words, labels="Glad")
    assert processor.tokenizer.decode(alone["input_ids"][0]).startswith("Of Glad, Mad.<audio>")
    batch = processor([A, A], [[shot(B, "Mad")], [shot(B, "Joy")]], candidate_labels=[words, ["Joy"]])
    assert torch.equal(batch["input_ids"][0], alone["input_ids"][0])
    text = processor.tokenizer.decode(batch["input_ids"][1], skip_special_tokens=True)
    assert text == "Of Joy.Joy"


def test_label_ids_of_uneven_length(processor):
    vocabulary = processor.tokenizer.get_vocab()
    joy, sad = processor.label_ids(["Joy", "Sad"]).tolist()
    assert joy == [vocabulary["Joy"], vocabulary["</s>"], -100, -100]
    assert sad == [vocabulary["S"], vocabulary["a"], vocabulary["d"], vocabulary["</s>"]]


def test_numpy_output(processor):
    inputs = processor(A, [shot(B)], labels="Joy", return_tensors="np")
    assert all(isinstance(value, np.ndarray) for value in inputs.values())


@pytest.mark.parametrize(
    "enrollment, message",
    [
        ([shot(A), shot(B, "Happy")], r"^enrollment\[1\]: label 'Happy' is none of the candidate labels Joy, Sad"),
        ([shot(A, "Jo y")], r"^enrollment\[0\]: label 'Jo y'.*did you mean 'Joy'"),
        ([shot(A, 3)], r"^enrollment\[0\]: label 3"),
        ([shot(A), shot(C)], r"^enrollment\[1\]: is the target itself"),
        ([shot(C.copy())], r"^enrollment\[0\]: is the target itself"),
        ([shot({"array": C, "sampling_rate": 16000})], r"^enrollment\[0\]: is the target itself"),
        ([shot(A), {"label": "Joy"}], r"^enrollment\[1\]: must be.*\['label'\]"),
        ([shot(A), {"audio": B, "lable": "Joy"}], r"^enrollment\[1\]: unknown key 'lable'; an item has \"audio\" and"),
        ([{"audio": A, "label": "Joy", 3: "x"}], r"^enrollment\[0\]: unknown key 3"),
        ([shot(A, "")], r"^enrollment\[0\]: label ''"),
        ([shot(A), {"audio": C}], r"^enrollment\[1\]: is the target itself"),
        ([{"audio": A}, shot(A)], r"^enrollment\[1\]: is the recording of enrollment\[0\] again"),
        ([{"audio": x} for x in (A, B, D, tone(700, 0.7))], "^an enrollment of 4 utterances; at most 3"),
        ([shot(None)], r"^enrollment\[0\]: must be"),
        ([A], r"^enrollment\[0\]: must be.*'ndarray'"),
        ([[shot(A)]], r"^enrollment\[0\]: must be.*'list'"),
        ([shot(A), shot(0 * A)], r"^enrollment\[1\]: silent"),
        ([shot(A), shot(B), shot(A, "Sad")], r"^enrollment\[2\]: is the recording of enrollment\[0\] again"),
        ([shot(x) for x in (A, B, D, tone(700, 0.7))], r"^an enrollment of 4 utterances; at most 3 \(`max_shots`\)"),
    ],
)
def test_a_bad_enrollment_is_named(processor, enrollment, message):
    with pytest.raises(ValueError, match=message):
        processor(C, enrollment)
    with pytest.raises(ValueError, match=f"^target 1: {message.removeprefix('^')}"):
        processor([D, C], [None, enrollment])


def test_the_target_in_its_own_enrollment_is_found_by_path(processor, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(A))
    with pytest.raises(ValueError, match="is the target itself"):
        processor(path, [shot(str(path))])
    with pytest.raises(ValueError, match=r"^enrollment\[0\] \(.*gone.wav\): cannot open"):
        processor(path, [shot(tmp_path / "gone.wav")])


@pytest.mark.parametrize(
    "candidates, message",
    [
        ([], "no candidate labels"),
        (["Joy", "Sad", "Joy"], "more than once: Joy"),
        (["Joy", ""], "non-empty strings"),
        (["Joy", 3], "non-empty strings"),
        ("Joy", "list of non-empty strings; got 'Joy'"),
        (["Joy", "</s>"], "Label '</s>' holds '</s>', which the tokenizer takes for a control token"),
        (["Joy", "say <audio> now"], "Label 'say <audio> now' holds '<audio>'"),
        (["Joy", "\ud83d"], r"Label '\\ud83d' holds half a character"),
        (["Joy", "a" * 4000], r"Label 'a{20}'\.\.\. has 4000 characters; at most 100"),
    ],
)
def test_bad_candidate_labels(processor, tokenizer, candidates, message):
    with pytest.raises(ValueError, match=message):
        processor(A, candidate_labels=candidates)
    with pytest.raises(ValueError, match=message):
        EmoIclProcessor(EmoIclFeatureExtractor(), tokenizer, candidate_labels=candidates)


def test_lists_that_do_not_match(processor):
    with pytest.raises(ValueError, match="the list is empty"):
        processor([])
    with pytest.raises(ValueError, match="2 targets needs a list of 2 enrollments"):
        processor([A, B], [[shot(C)]])
    with pytest.raises(ValueError, match="each of them a list"):
        processor([A, B], [shot(C), shot(D)])
    with pytest.raises(ValueError, match="1 labels for 2 targets"):
        processor([A, B], labels="Joy")
    with pytest.raises(ValueError, match="1 lists of candidate labels for 2 targets"):
        processor([A, B], candidate_labels=[["Joy"]])


def test_bad_prompts(processor):
    with pytest.raises(ValueError, match="^prompt 1: label 'Rage' is none"):
        processor.build_prompts([[0], [1]], [[], []], labels=["Joy", "Rage"])
    with pytest.raises(ValueError, match=r"^prompt 0: enrollment\[1\]: is the target itself"):
        processor.build_prompts([[4, 2, 2]], [["Joy", "Sad"]])
    with pytest.raises(ValueError, match=r"^prompt 0: enrollment\[0\]: label 'Mad'"):
        processor.build_prompts([[4, 2]], [["Mad"]])
    with pytest.raises(ValueError, match="^prompt 0: 1 utterances and 1 enrollment labels"):
        processor.build_prompts([[4]], [["Joy"]])


def test_a_tokenizer_without_the_audio_token_is_refused(tokenizer):
    with pytest.raises(ValueError, match="no token '<speech>'.*resize"):
        EmoIclProcessor(EmoIclFeatureExtractor(), tokenizer, audio_token="<speech>")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_query_tokens": "8"}, "`num_query_tokens` is a whole number, 0 or more; got '8'"),
        ({"max_shots": -1}, "`max_shots` is a whole number, 0 or more; got -1"),
        ({"max_shots": None}, "`max_shots` is .* got None"),
        ({"instruction": None}, "`instruction` is a text; got None"),
        ({"prompt_frame": "ab"}, "`prompt_frame` is two texts, before and after; got 'ab'"),
        ({"prompt_frame": ["a", 1]}, "`prompt_frame` is two texts"),
    ],
)
def test_fields_that_cannot_be_are_refused(tokenizer, fields, message):
    with pytest.raises(ValueError, match=message):
        EmoIclProcessor(EmoIclFeatureExtractor(), tokenizer, **fields)


@pytest.mark.parametrize("token", ["pad_token", "eos_token"])
def test_a_tokenizer_without_a_token_that_is_needed_is_refused(tokenizer, token):
    tokenizer = copy.deepcopy(tokenizer)
    setattr(tokenizer, token, None)
    with pytest.raises(ValueError, match=f"has no `{token}`"):
        EmoIclProcessor(EmoIclFeatureExtractor(), tokenizer)


@pytest.mark.parametrize("load", [EmoIclProcessor.from_pretrained, AutoProcessor.from_pretrained])
def test_save_and_load(processor, tmp_path, load):
    processor.feature_extractor.max_duration = 20.0
    processor.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert isinstance(loaded, EmoIclProcessor)
    for name in ("num_query_tokens", "candidate_labels", "instruction", "max_shots", "audio_token", "audio_token_id"):
        assert getattr(loaded, name) == getattr(processor, name)
    assert isinstance(loaded.feature_extractor, EmoIclFeatureExtractor)
    assert loaded.feature_extractor.max_duration == AutoFeatureExtractor.from_pretrained(tmp_path).max_duration == 20.0
    before, after = (p(C, [shot(A, "Sad"), shot(B)], labels="Sad") for p in (processor, loaded))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_real_speech(tokenizer, shared):
    """Seven shots and a target of one speaker of EmoGator, as the table has them."""
    import pyarrow.parquet as pq

    rows = pq.read_table(shared / "data" / "emogator" / "test.parquet").to_pylist()
    speaker = [row for row in rows if row["speaker_id"] == rows[0]["speaker_id"]]
    processor = EmoIclProcessor(EmoIclFeatureExtractor(), tokenizer, num_query_tokens=8)
    known = [row for row in speaker if row["emotion"].capitalize() in processor.candidate_labels]
    enrollment = [{"audio": row["audio"], "label": row["emotion"].capitalize()} for row in known[1:8]]
    inputs = processor(known[0]["audio"], enrollment, labels=known[0]["emotion"].capitalize())
    assert inputs["utterance_index"].tolist() == [list(range(8))]
    assert (inputs["input_ids"] == processor.audio_token_id).sum() == 64
    seconds = inputs["input_features_mask"].sum(-1) / 100
    expected = [row["duration"] for row in [*known[1:8], known[0]]]
    torch.testing.assert_close(seconds, torch.tensor(expected), rtol=0, atol=0.011)
    with pytest.raises(ValueError, match=r"^enrollment\[2\]: is the target itself"):
        processor(known[3]["audio"], enrollment)
