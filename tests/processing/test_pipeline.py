"""The pipeline answers as the model does, one by one and in batches, and names the input that is at fault."""

import inspect
import pickle
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from synthetic_speech import encoded, tone
from transformers import AutoConfig, pipeline
from transformers.pipelines.pt_utils import KeyDataset

from emoicl import TASK, EmoIclConfig, EmoIclForConditionalGeneration, EmoIclPipeline
from emoicl.modeling.adaptation_emoicl import pool_statistics
from emoicl.modeling.configuration_emoicl import EmoIclSpeechEncoderConfig
from emoicl.modeling.familiarity_emoicl import NUM_QUANTILES
from emoicl.processing.base_pipeline_emoicl import EmoIclBasePipeline
from emoicl.processing.enrollment_emoicl import ARGUMENTS


CPU = torch.device("cpu")
LABELS = ["Neutral", "Joy", "Sad", "Surprised!"]
TARGETS = [tone(frequency, seconds) for frequency, seconds in ((300, 0.3), (700, 0.55), (1100, 0.4))]
SHOTS = [tone(frequency, seconds) for frequency, seconds in ((350, 0.5), (900, 0.35))]
ENROLLMENT = [{"audio": audio, "label": label} for audio, label in zip(SHOTS, ("Joy", "Surprised!"), strict=True)]


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    config = EmoIclConfig(
        speech_config=EmoIclSpeechEncoderConfig(**sizes),
        qformer_config=AutoConfig.for_model("blip_2_qformer", cross_attention_frequency=1, **sizes),
        text_config=AutoConfig.for_model(
            "t5", vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
            decoder_start_token_id=0,
        ),
        num_query_tokens=2,
        max_shots=3,
    )  # fmt: skip
    return EmoIclForConditionalGeneration(config).eval()


@pytest.fixture
def recognizer(model, processor):
    processor.candidate_labels = LABELS
    return EmoIclPipeline(model=model, processor=processor, task=TASK, device=CPU)


def assert_same(answers, expected):
    assert [answer["label"] for answer in answers] == [answer["label"] for answer in expected]
    for answer, other in zip(answers, expected, strict=True):
        assert answer["score"] == pytest.approx(other["score"], rel=1e-4)


def test_the_scores_are_those_of_the_model(recognizer, model, processor):
    answers = recognizer(TARGETS[0], enrollment=ENROLLMENT)
    inputs = processor(TARGETS[0], ENROLLMENT)
    with torch.no_grad():
        probabilities = model.score_labels(processor.label_ids(LABELS), **inputs).exp()[0].tolist()
    expected = dict(zip(LABELS, probabilities, strict=True))
    assert {answer["label"]: answer["score"] for answer in answers} == pytest.approx(expected, abs=1e-5)
    scores = [answer["score"] for answer in answers]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1)


def test_enrollment_matters_and_is_optional(recognizer):
    zero_shot = recognizer(TARGETS[0])
    assert len(zero_shot) == len(LABELS)
    assert zero_shot == recognizer(TARGETS[0], enrollment=[])
    assert zero_shot != recognizer(TARGETS[0], enrollment=ENROLLMENT)


@pytest.mark.parametrize("decoding", ["labels", "beam"])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_a_list_is_answered_as_its_items_are_alone(recognizer, batch_size, decoding):
    """Three targets: one whose enrollment is the common one, one that brings its own, one that has none."""
    inputs = [TARGETS[0], {"audio": TARGETS[1], "enrollment": ENROLLMENT[1:]}, {"audio": TARGETS[2], "enrollment": []}]
    batch = recognizer(inputs, enrollment=ENROLLMENT, batch_size=batch_size, decoding=decoding)
    expected = [
        recognizer(target, enrollment=enrollment, decoding=decoding)
        for target, enrollment in zip(TARGETS, (ENROLLMENT, ENROLLMENT[1:], None), strict=True)
    ]
    assert len(batch) == 3
    for answers, alone in zip(batch, expected, strict=True):
        assert_same(answers, alone)


def test_an_empty_list_has_no_answers(recognizer):
    assert recognizer([], enrollment=ENROLLMENT) == []


@pytest.mark.parametrize("targets", [(target for target in TARGETS), iter(TARGETS), map(np.copy, TARGETS)])
def test_iterators_are_streamed(recognizer, targets):
    answers = recognizer(targets, enrollment=ENROLLMENT, batch_size=2)
    for answer, target in zip(answers, TARGETS, strict=True):
        assert_same(answer, recognizer(target, enrollment=ENROLLMENT))


def test_the_enrollment_of_a_call_is_encoded_once(recognizer, encoded_utterances):
    list(recognizer((target for target in TARGETS), enrollment=ENROLLMENT, batch_size=2))
    assert encoded_utterances == [2 + 2, 1]


def test_what_the_inputs_of_a_batch_share_is_encoded_once(recognizer, encoded_utterances):
    requests = [{"audio": target, "enrollment": ENROLLMENT} for target in TARGETS]
    recognizer(requests, batch_size=3)
    assert encoded_utterances == [3 + 2]


def test_datasets_are_streamed(recognizer, tmp_path):
    """Rows with the bytes of a file and rows with its path, by their column and as they are."""
    paths = [tmp_path / f"{i}.wav" for i in range(3)]
    contents = [encoded(target, subtype="FLOAT") for target in TARGETS]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    rows = {
        "audio": [
            {"bytes": contents[0], "path": None},
            {"bytes": None, "path": str(paths[1])},
            {"bytes": contents[2], "path": str(paths[2])},
        ],
        "file": list(map(str, paths)),
        "take": [0, 1, 2],
    }
    dataset: Any = datasets.Dataset.from_dict(rows)
    expected = recognizer(TARGETS, enrollment=ENROLLMENT)
    requests: Any = dataset.select_columns(["audio"])
    for inputs in (KeyDataset(dataset, "audio"), KeyDataset(dataset, "file"), (row for row in requests)):
        answers = recognizer(inputs, enrollment=ENROLLMENT, batch_size=2)
        assert not isinstance(answers, list)
        for answer, other in zip(answers, expected, strict=True):
            assert_same(answer, other)


def test_forms_of_audio(recognizer, tmp_path):
    content = encoded(TARGETS[0], subtype="FLOAT")
    path = tmp_path / "speech.wav"
    path.write_bytes(content)
    expected = recognizer(TARGETS[0])
    raw = {"raw": TARGETS[0], "sampling_rate": 16000}
    forms = [str(path), path, content, {"bytes": content, "path": None}, {"array": TARGETS[0], "sampling_rate": 16000}]
    for form in [*forms, raw, torch.from_numpy(TARGETS[0]), {"audio": path}]:
        assert recognizer(form) == expected
        assert recognizer([form]) == [expected]


def test_top_k_and_candidate_labels(recognizer):
    everything = recognizer(TARGETS[0])
    assert recognizer(TARGETS[0], top_k=2) == recognizer(TARGETS[0], top_k=np.int64(2)) == everything[:2]
    assert recognizer(TARGETS[0], top_k=99) == everything
    chosen = recognizer(TARGETS[0], candidate_labels=["Joy", "Bored stiff"])
    assert {answer["label"] for answer in chosen} == {"Joy", "Bored stiff"}
    assert sum(answer["score"] for answer in chosen) == pytest.approx(1)


def test_parameters_can_be_given_to_the_constructor(model, processor):
    recognizer = EmoIclPipeline(
        model=model, processor=processor, device=CPU, enrollment=[{"audio": SHOTS[0], "label": "Joy"}], top_k=1
    )
    assert len(recognizer(TARGETS[0])) == 1
    assert len(recognizer(TARGETS[0], top_k=2)) == 2


def test_beam_search_writes_what_generate_writes(recognizer, model, processor):
    (answer,) = recognizer(TARGETS[0], enrollment=ENROLLMENT, decoding="beam")
    output = model.generate(
        **processor(TARGETS[0], ENROLLMENT), return_dict_in_generate=True, output_scores=True, num_beams=4
    )
    assert answer["label"] == processor.tokenizer.decode(output.sequences[0], skip_special_tokens=True)
    assert answer["score"] == pytest.approx(float(output.sequences_scores.exp()))


def test_half_precision(model, processor):
    recognizer = EmoIclPipeline(model=model.bfloat16(), processor=processor, device=CPU)
    try:
        assert sum(answer["score"] for answer in recognizer(TARGETS[0])) == pytest.approx(1, abs=1e-2)
    finally:
        model.float()


def test_errors_name_the_input(recognizer):
    with pytest.raises(ValueError, match=r"^inputs\[1\]: audio: silent"):
        recognizer([TARGETS[0], 0 * TARGETS[1]])
    with pytest.raises(ValueError, match=r"^inputs\[2\]: enrollment\[1\]: is the target itself"):
        recognizer([*TARGETS[:2], SHOTS[1]], enrollment=ENROLLMENT, batch_size=3)
    with pytest.raises(ValueError, match=r"^inputs\[0\]: audio \(gone.wav\): cannot open"):
        recognizer(["gone.wav"])
    with pytest.raises(ValueError, match=r"^inputs\[2\]: audio: empty"):
        list(recognizer(target for target in [*TARGETS[:2], TARGETS[2][:0]]))
    with pytest.raises(ValueError, match=r"^enrollment\[0\]: label 'Angst' is none of the candidate labels Neutral"):
        recognizer(TARGETS[0], enrollment=[{"audio": SHOTS[0], "label": "Angst"}])
    with pytest.raises(ValueError, match="more than once: Joy"):
        recognizer(TARGETS[0], candidate_labels=["Joy", "Joy"])
    with pytest.raises(ValueError, match="no candidate labels"):
        recognizer(TARGETS[0], candidate_labels=[])


@pytest.mark.parametrize(
    "parameters, error",
    [
        ({"decoding": "greedy"}, ValueError),
        ({"top_k": 0}, ValueError),
        ({"top_k": "3"}, ValueError),
        ({"top_k": True}, ValueError),
        ({"window_s": "4"}, ValueError),
        ({"window_s": 4, "hop_s": "2"}, ValueError),
        ({"enrollment": "me.csv"}, ValueError),
        ({"enrollment": ENROLLMENT[0]}, ValueError),
        ({"enrollment": 3}, ValueError),
        ({"enrolment": []}, TypeError),
    ],
)
def test_unknown_parameters_are_refused(recognizer, parameters, error):
    with pytest.raises(error, match=list(parameters)[-1]):
        recognizer(TARGETS[0], **parameters)


def test_unknown_keys_of_a_request_are_refused(recognizer):
    with pytest.raises(ValueError, match=r"^inputs\[1\]: unknown key 'enrolment'; a request has"):
        recognizer([TARGETS[0], {"audio": TARGETS[1], "enrolment": ENROLLMENT}])
    with pytest.raises(ValueError, match=r"^inputs\[0\]: unknown key 'top_k'; .*it is an argument of the call"):
        recognizer([{"audio": TARGETS[0], "top_k": 1}])
    with pytest.raises(ValueError, match="^audio: unknown key 'enrollment' of an utterance"):
        recognizer({"array": TARGETS[0], "sampling_rate": 16000, "enrollment": ENROLLMENT})


def test_a_hum_like_another_hum_is_no_copy(recognizer):
    for seconds in (0.15, 0.25, 1.0):
        enrollment = [{"audio": 0.1 * tone(300, seconds), "label": "Joy"}]
        assert len(recognizer(tone(300, seconds), enrollment=enrollment)) == len(LABELS)


def test_every_argument_of_a_call_is_refused_in_a_request():
    classes = (EmoIclBasePipeline, EmoIclPipeline)
    names = {name for kind in classes for name in inspect.signature(kind._sanitize_parameters).parameters}
    of_requests = {"enrollment", "profile", "sampling_rate"}
    assert names - {"self", "common", "unknown"} - of_requests == ARGUMENTS


def test_a_target_that_is_enrolled_in_another_form_is_refused(recognizer):
    speech = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    speech = np.convolve(speech, np.hanning(40) / 20, "same").astype(np.float32)
    other = np.roll(speech[::-1], 3).copy()
    enrollment = [{"audio": other, "label": "Joy"}, {"audio": speech, "label": "Sad"}]
    copies = [
        encoded(speech),
        encoded(speech, format="OGG", subtype="OPUS"),
        encoded(speech, format="MP3", subtype="MPEG_LAYER_III"),
        speech[1:],
        0.5 * speech,
        # The silence around it is other, or some of it is gone.
        np.pad(speech, (0, 8000)),
        np.pad(speech, (20000, 0)),
        speech[4000:],
        speech[:-4000],
    ]
    for copy in copies:
        with pytest.raises(ValueError, match=r"^enrollment\[1\]: is the target itself"):
            recognizer(copy, enrollment=enrollment)
        with pytest.raises(ValueError, match=r"^enrollment\[2\]: is the recording of enrollment\[1\] again"):
            recognizer.enroll([*enrollment, {"audio": copy, "label": "Joy"}])
    assert len(recognizer(TARGETS[0], enrollment=enrollment)) == len(LABELS)


def test_a_model_from_nowhere_has_no_processor(model):
    with pytest.raises(ValueError, match="`processor` is missing"):
        pipeline(TASK, EmoIclForConditionalGeneration(model.config), device=CPU)


def test_labels_are_matched_without_case_and_blanks(recognizer):
    enrollment = [{**shot, "label": f" {shot['label'].upper()} "} for shot in ENROLLMENT]
    expected = recognizer(TARGETS[0], enrollment=ENROLLMENT)
    assert recognizer(TARGETS[0], enrollment=enrollment) == expected
    assert recognizer.enroll(enrollment).labels == ["Joy", "Surprised!"]
    with pytest.raises(ValueError, match=r"^enrollment\[0\]: label 'Joyful' .*; did you mean 'Joy'\?$"):
        recognizer(TARGETS[0], enrollment=[{"audio": SHOTS[0], "label": "Joyful"}])
    with pytest.raises(ValueError, match="more than once: Joy, joy"):
        recognizer(TARGETS[0], candidate_labels=["Joy", "joy"])


def test_labels_that_look_alike_are_the_same(recognizer):
    """File names of macOS have letters as two code points, and spreadsheets bring signs that nobody sees."""
    labels = ["Überraschung", "Joy"]
    enrollment = [{"audio": SHOTS[0], "label": "U\u0308berraschung"}, {"audio": SHOTS[1], "label": "\ufeffJoy\u200b"}]
    assert recognizer.enroll(enrollment, labels).labels == labels
    with pytest.raises(ValueError, match="more than once"):
        recognizer(TARGETS[0], candidate_labels=["Joy", "Joy\u200b"])
    with pytest.raises(ValueError, match="non-empty strings"):
        recognizer(TARGETS[0], candidate_labels=["Joy", "\u200b"])


@pytest.mark.parametrize("kind", [tuple, np.array])
def test_candidate_labels_in_any_sequence(recognizer, kind):
    expected = recognizer(TARGETS[0], enrollment=ENROLLMENT, candidate_labels=LABELS)
    assert recognizer(TARGETS[0], enrollment=ENROLLMENT, candidate_labels=kind(LABELS)) == expected
    assert recognizer.enroll(ENROLLMENT, kind(LABELS)).labels == ["Joy", "Surprised!"]
    assert recognizer.processor(TARGETS[0], candidate_labels=kind(LABELS)).keys()


@pytest.mark.parametrize("labels", ["Joy", set(LABELS), {"Joy": 0}, iter(LABELS), 5])
def test_candidate_labels_without_an_order(recognizer, labels):
    for ask in (recognizer, recognizer.processor):
        with pytest.raises(ValueError, match="^Candidate labels must be a list of non-empty strings; got "):
            ask(TARGETS[0], candidate_labels=labels)


def test_a_rate_beside_an_array_is_its_rate(recognizer):
    """As rows of data sets have it. A file knows its own."""
    halves = [np.repeat(audio, 2) for audio in (TARGETS[0], *SHOTS)]
    target, *shots = ({"array": half, "sampling_rate": 32000} for half in halves)
    for labels in (("Joy", "Sad"), (None, None)):
        given = zip(shots, labels, strict=True)
        expected = recognizer(target, enrollment=[{"audio": shot, "label": label} for shot, label in given])
        beside = [
            {"audio": half, "sampling_rate": 32000, "label": label}
            for half, label in zip(halves[1:], labels, strict=True)
        ]
        beside = [{key: value for key, value in shot.items() if value is not None} for shot in beside]
        request = {"audio": halves[0], "sampling_rate": 32000}
        assert recognizer(request, enrollment=beside) == recognizer([request], enrollment=beside)[0] == expected
    assert recognizer({"audio": encoded(TARGETS[0]), "sampling_rate": 8000}) == recognizer(encoded(TARGETS[0]))


def test_rows_have_further_columns(recognizer):
    row = {"audio": TARGETS[0], "emotion": "joy", "speaker_id": "03", "name": "a.wav"}
    assert recognizer(row) == recognizer([row])[0] == recognizer(TARGETS[0])


def test_arrays_of_another_sampling_rate(recognizer):
    told = [{**shot, "audio": {"array": shot["audio"], "sampling_rate": 8000}} for shot in ENROLLMENT]
    expected = recognizer({"array": TARGETS[0], "sampling_rate": 8000}, enrollment=told)
    assert recognizer(TARGETS[0], enrollment=ENROLLMENT, sampling_rate=8000) == expected
    assert recognizer({"audio": TARGETS[0], "enrollment": ENROLLMENT}, sampling_rate=8000) == expected


def test_the_rate_of_a_pipeline_is_that_of_every_enrollment(recognizer):
    expected = recognizer(TARGETS[0], enrollment=ENROLLMENT, sampling_rate=8000)
    of_8_khz = EmoIclPipeline(recognizer.model, processor=recognizer.processor, device=CPU, sampling_rate=8000)
    assert of_8_khz(TARGETS[0], enrollment=ENROLLMENT) == expected
    assert of_8_khz({"audio": TARGETS[0], "enrollment": ENROLLMENT}) == expected
    assert_same(of_8_khz(TARGETS[0], profile=of_8_khz.enroll(ENROLLMENT)), expected)
    profile = recognizer.enroll(ENROLLMENT, sampling_rate=8000)
    assert_same(recognizer(TARGETS[0], profile=profile, sampling_rate=8000), expected)


@pytest.mark.parametrize("format", ["torch", "numpy"])
def test_rows_with_the_format_of_a_library(recognizer, format):
    rows = [{"audio": {"array": audio, "sampling_rate": 8000}} for audio in TARGETS[:2]]
    dataset = datasets.Dataset.from_list(rows).with_format(format)
    assert list(recognizer(dataset)) == recognizer([row["audio"] for row in rows])


def test_a_pickled_pipeline_answers_alike(model, processor):
    processor.candidate_labels = LABELS
    recognizer = EmoIclPipeline(model=model, processor=processor, device=CPU, enrollment=ENROLLMENT)
    expected = recognizer(TARGETS[0])
    assert pickle.loads(pickle.dumps(recognizer))(TARGETS[0]) == expected
    # A process that reads for it gets the enrollment so, too.
    assert recognizer(TARGETS[:1], num_workers=1) == [expected]


def test_logarithms_of_probabilities(recognizer):
    for parameters in ({}, {"decoding": "beam"}):
        probabilities = recognizer(TARGETS[0], function_to_apply="softmax", **parameters)
        logarithms = recognizer(TARGETS[0], function_to_apply="none", **parameters)
        assert probabilities == recognizer(TARGETS[0], **parameters)
        assert_same([{**answer, "score": np.exp(answer["score"])} for answer in logarithms], probabilities)
    with pytest.raises(ValueError, match="labels exclude each other"):
        recognizer(TARGETS[0], function_to_apply="sigmoid")


def test_save_and_load(recognizer, tmp_path):
    recognizer.save_pretrained(tmp_path)
    loaded = pipeline(TASK, str(tmp_path), device=CPU)
    assert type(loaded) is EmoIclPipeline
    assert loaded.processor.candidate_labels == LABELS
    assert AutoConfig.from_pretrained(tmp_path).id2label == dict(enumerate(LABELS))
    of_object = pipeline(TASK, loaded.model, device=CPU)
    assert of_object(TARGETS[0], enrollment=ENROLLMENT) == recognizer(TARGETS[0], enrollment=ENROLLMENT)
    assert loaded(TARGETS[0], enrollment=ENROLLMENT) == recognizer(TARGETS[0], enrollment=ENROLLMENT)
    assert loaded(TARGETS[0], decoding="beam") == recognizer(TARGETS[0], decoding="beam")


def test_real_speech(recognizer, shared):
    """Clips of one speaker of EmoGator through the whole line."""
    import pyarrow.parquet as pq

    rows = pq.read_table(shared / "data" / "emogator" / "test.parquet", columns=["audio"]).slice(0, 5).to_pylist()
    enrollment = [{"audio": row["audio"], "label": label} for row, label in zip(rows[3:], LABELS[:2], strict=True)]
    answers = recognizer([row["audio"] for row in rows[:3]], enrollment=enrollment, batch_size=2, top_k=1)
    assert [len(answer) for answer in answers] == [1, 1, 1]


@pytest.fixture
def wary(model, processor):
    """A recognizer to which louder targets are the less familiar."""
    config = EmoIclConfig.from_dict(
        model.config.to_dict()
        | {"adaptation_config": {"size": 4, "familiarity_size": 1, "probe_weight": 0.0, "prototype_weight": 0.0}}
    )
    wary = EmoIclForConditionalGeneration(config).eval()
    wary.load_state_dict(model.state_dict(), strict=False)
    statistics: Any = wary.model.adaptation
    statistics.familiarity.weight.normal_()
    features = processor.feature_extractor.extract(TARGETS)
    distances = statistics.familiarity.log_distance(pool_statistics(*wary.get_speech_features(**features)))
    low, high = distances.min().item(), distances.max().item()
    statistics.familiarity.log_distances.copy_(torch.linspace(2 * low - high, high, NUM_QUANTILES))
    processor.candidate_labels = LABELS
    return EmoIclPipeline(model=wary, processor=processor, task=TASK, device=CPU)


def test_familiarity_stands_beside_the_labels(wary, recognizer):
    answers = wary(TARGETS, enrollment=ENROLLMENT, return_familiarity=True, batch_size=3)
    shares = [answer["familiarity"] for answer in answers]
    assert sorted(shares) == [
        pytest.approx(0, abs=1e-4),
        pytest.approx(sorted(shares)[1]),
        pytest.approx(0.5, abs=1e-4),
    ]
    one_by_one = [wary(target, return_familiarity=True)["familiarity"] for target in TARGETS]
    assert one_by_one == pytest.approx(shares, abs=1e-4), "whoever is enrolled"
    for answer, plain in zip(answers, recognizer(TARGETS, enrollment=ENROLLMENT), strict=True):
        assert_same(answer["labels"], plain)
    profile = wary.enroll(ENROLLMENT)
    assert wary(TARGETS[0], profile=profile, return_familiarity=True)["familiarity"] == pytest.approx(
        shares[0], abs=1e-4
    )


def test_windows_have_a_familiarity_each(wary):
    recording = np.concatenate([TARGETS[0], np.zeros(16000, np.float32), TARGETS[1]])
    windows = wary(recording, window_s=0.3, return_familiarity=True)
    for window in windows:
        assert (window["familiarity"] is None) == (not window["labels"])
    assert None in [window["familiarity"] for window in windows]


def test_it_abstains_where_it_is_not_sure_or_not_at_home(wary, recognizer):
    [best, *_] = recognizer(TARGETS[0])
    assert recognizer(TARGETS[0], abstain_below=1) == []
    assert recognizer(TARGETS[0], abstain_below=best["score"] / 2)[0] == best
    shares = [wary(target, return_familiarity=True)["familiarity"] for target in TARGETS]
    answers = wary(TARGETS, min_familiarity=0.2)
    assert [not answer for answer in answers] == [share < 0.2 for share in shares]
    assert [] in answers and any(answers)
    odd = TARGETS[int(np.argmin(shares))]
    assert wary(odd, min_familiarity=0.2, return_familiarity=True) == {"familiarity": min(shares), "labels": []}


@pytest.mark.parametrize("parameters", [{"abstain_below": 1.5}, {"abstain_below": "0.5"}, {"min_familiarity": -1}])
def test_a_threshold_is_a_share(recognizer, parameters):
    with pytest.raises(ValueError, match="is a number from 0 to 1"):
        recognizer(TARGETS[0], **parameters)


def test_a_model_that_knows_not_what_is_familiar_says_so(recognizer):
    with pytest.raises(ValueError, match="no statistics of what is familiar"):
        recognizer(TARGETS[0], min_familiarity=0.1)
