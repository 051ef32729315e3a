import json

import pytest
from tiny_corpus import tiny_corpus, tone
from transformers import TrainerState

from emoicl.training.data.corpus import Corpus, Utterance, load_corpus
from emoicl.training.publishing.provenance import (
    PROVENANCE_NAME,
    Provenance,
    carry_provenance,
    describe_arguments,
    describe_corpus,
    describe_stage,
    hub_names,
    save_report,
    seconds_of,
    speaker_digest,
    with_digests,
)
from emoicl.training.systems.classifier_config import ClassifierTrainingArguments
from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments


@pytest.fixture
def provenance(tmp_path):
    args = MetaIclTrainingArguments(str(tmp_path / "stage"), max_steps=3)
    corpus = tiny_corpus(num_speakers=2)
    stage = describe_stage(args, TrainerState(global_step=3), corpus, tiny_corpus(num_speakers=1, takes=1))
    return Provenance(["openai/whisper-base"], [stage], {"summary": "Hears tones."})


def test_what_is_told_of_a_corpus():
    corpus = Corpus(
        Utterance(utterance.audio, utterance.label, f"{corpus}/{utterance.speaker_id}", utterance.name)
        for corpus, speakers in (("ravdess", slice(0, 9)), ("mine", slice(9, 18)))
        for utterance in tiny_corpus(num_speakers=2).utterances[speakers]
    )
    described = describe_corpus(corpus)
    assert list(described) == ["ravdess", "mine"]
    ravdess = described["ravdess"]
    assert (ravdess["speakers"], ravdess["utterances"]) == (1, 9)
    # Three labels, in takes of 0.2, 0.23 and 0.26 s.
    assert ravdess["hours"] == round(3 * 0.69 / 3600, 3)
    assert list(ravdess["labels"].values()) == [3, 3, 3]
    assert ravdess["speaker_digests"] == [speaker_digest("ravdess/ann")]
    assert "ann" not in json.dumps(described)
    assert list(describe_corpus(tiny_corpus(num_speakers=1))) == [""]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:100], "is no JSON file, or a damaged one"),
        (lambda text: text.replace('"steps": 3', '"steps": "3"'), '`steps` should be a whole number, and is "3"'),
        (lambda text: text.replace('"hours": ', '"hours": 1e999, "was": '), "`hours` should be a finite number"),
        (lambda text: text.replace('"hours": ', f'"hours": {10**400}, "was": '), "`hours` should be a finite number"),
        (lambda text: text.replace('"versions"', '"verzions"'), "an item of `stages` lacks versions"),
        (
            lambda text: text.replace('"is_complete": true', '"is_complete": 1'),
            "`is_complete` should be true",
        ),
        (lambda text: text.replace('"training": {', '"training": [], "was": {'), "`training` in `data` should be an"),
        (lambda text: text.replace('"Hears tones."', "null"), "`summary` should be a text, and is null"),
        (lambda text: text.replace("Hears", "\\ud800"), "surrogates not allowed"),
        (lambda text: text.replace('"summary"', '"my\\nsummary"'), "no remarks called my summary"),
        (lambda text: text.replace('"is_complete"', '"is\\ncomplete"'), "a provenance has no is complete"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(provenance, tmp_path, damage, message):
    provenance.save(tmp_path)
    path = tmp_path / PROVENANCE_NAME
    path.write_text(damage(path.read_text()))
    with pytest.raises(ValueError) as error:
        Provenance.load(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)
    assert "\n" not in str(error.value)


def test_durations_are_of_what_is_there():
    clip = bytearray(tone(440, 0.5))
    assert seconds_of(bytes(clip)) == 0.5
    for announced in (0, 2**32 - 1):
        clip[40:44] = announced.to_bytes(4, "little")
        assert seconds_of(bytes(clip)) == 0.5
    with pytest.raises(ValueError, match="^audio: 5 bytes that are not readable audio"):
        seconds_of(b"audio")


def test_arguments_tell_what_was_set(tmp_path):
    args = MetaIclTrainingArguments(str(tmp_path), per_device_train_batch_size=4, gradient_accumulation_steps=3)
    told = describe_arguments(args)
    expected = {"setting": "TU+LU", "max_shots": 7, "batch_size": 12, "seed": 42, "lr_scheduler_type": "linear"}
    assert told.items() >= expected.items()
    assert not {"eval_shots", "data_seed", "bf16", "output_dir"} & set(told)
    assert None not in told.values()
    json.dumps(told)
    told = describe_arguments(ClassifierTrainingArguments(str(tmp_path), radam=False, optim="adafactor"))
    assert told["optimizer"] == "adafactor"


def test_saved_and_loaded(provenance, tmp_path):
    provenance.save(tmp_path / "checkpoint")
    assert Provenance.load(tmp_path / "checkpoint" / PROVENANCE_NAME) == provenance
    assert provenance.heard() == {speaker_digest("ann"), speaker_digest("bob")}


def test_another_version_is_refused(provenance, tmp_path):
    provenance.save(tmp_path)
    path = tmp_path / PROVENANCE_NAME
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(ValueError, match="schema_version is 99; this version of emoicl reads 1"):
        Provenance.load(path)
    path.write_text('{"schema_version": 1, "stagez": []}')
    with pytest.raises(ValueError, match="a provenance has no stagez"):
        Provenance.load(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"the content should be an object, and is \[\]"):
        Provenance.load(path)


def test_remarks_have_names():
    with pytest.raises(ValueError, match="no remarks called sumary; there are name, summary"):
        Provenance(remarks={"sumary": "..."})  # pyright: ignore[reportArgumentType]


def test_only_names_of_the_hub_are_told(tmp_path, monkeypatch):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    names = ["openai/whisper-base", "models/mine", "../models/mine", str(tmp_path), "", "mine"]
    assert hub_names(names) == ["openai/whisper-base"]


def test_provenance_of_a_model(composed, provenance, tmp_path):
    model, _ = composed
    assert Provenance.of_model(model) == Provenance()
    model.config.speech_config._name_or_path = "openai/whisper-base"
    assert Provenance.of_model(model).base_models == ["openai/whisper-base"]
    model.name_or_path = str(tmp_path)
    assert not Provenance.of_model(model).is_complete
    provenance.save(tmp_path)
    inherited = Provenance.of_model(model)
    assert (inherited.stages, inherited.base_models) == (provenance.stages, ["openai/whisper-base"])
    assert inherited.is_complete
    # The remarks are on that checkpoint, not on what becomes of it.
    assert inherited.remarks == {}


def test_provenance_is_carried_with_the_weights(provenance, tmp_path):
    provenance.save(tmp_path / "run")
    (tmp_path / "run" / "accuracy_against_shots.png").write_bytes(b"png")
    carry_provenance(tmp_path / "run", tmp_path / "copy", {"limits": ["Tones only."]})
    carried = Provenance.load(tmp_path / "copy" / PROVENANCE_NAME)
    assert carried.remarks == {"summary": "Hears tones.", "limits": ["Tones only."]}
    assert carried.stages == provenance.stages
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [
        "accuracy_against_shots.png",
        PROVENANCE_NAME,
    ]
    carry_provenance(tmp_path / "nowhere", tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


def test_reports_beside_a_checkpoint_name_nobody(tmp_path):
    row = {"shots": 0, "control": None, "worst_speaker": "mine/ann", "per_speaker": {"mine/ann": 0.5, "bob": 0.7}}
    row |= dict.fromkeys(("ua_spk", "std", "max", "min", "seed_std"), 0.5)
    report = {"setting": "TU+LD", "seeds": [0], "num_utterances": 2, "rows": [row]}
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "report.json").write_text(json.dumps(report))
    (tmp_path / "checkpoint").mkdir()
    save_report(tmp_path / "evaluation", tmp_path / "checkpoint")
    text = (tmp_path / "checkpoint" / "report.json").read_text()
    assert "ann" not in text and "bob" not in text
    stored = json.loads(text)
    ann, bob = f"mine/{speaker_digest('mine/ann')}", f"/{speaker_digest('bob')}"
    assert stored["rows"][0]["per_speaker"] == {ann: 0.5, bob: 0.7}
    assert stored["rows"][0]["worst_speaker"] == ann
    assert with_digests(stored) == stored


def test_real_corpora_tell_their_hours(shared):
    described = describe_corpus(load_corpus(shared / "data" / "nemo" / "test.parquet"))
    assert list(described) == ["nemo"]
    assert described["nemo"]["speakers"] == 1
    assert 0.1 < described["nemo"]["hours"] < 2
