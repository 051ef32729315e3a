import csv
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from tiny_corpus import SPEAKERS, tone
from torch import nn

from emoicl.modeling.speech_encoder_emoicl import EmoIclSpeechEncoder
from emoicl.processing import EmoIclFeatureExtractor
from emoicl.training.pretraining.running import Schedule
from emoicl.training.pretraining.speech_data import (
    IGNORED,
    SpeechTaskCollator,
    Targets,
    TaskExample,
    read_examples,
    spoken_characters,
)
from emoicl.training.pretraining.speech_tasks import (
    SPEECH_ENCODER_SIZES,
    SpeechEncoderPretraining,
    SpeechEncoderSize,
    SpeechTaskConfig,
    SpeechTaskModel,
    age_loss,
    class_loss,
    pretrain_speech_encoder,
    transcription_loss,
)


ENCODER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
TINY = SpeechEncoderSize(ENCODER, Schedule(max_steps=50, batch_size=8, learning_rate=5e-3))
ALL_TASKS = ["transcription", "speaker", "gender", "emotion", "age"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Tones of four speakers, three emotions and two sentences; some cells are empty."""
    folder = tmp_path_factory.mktemp("tones")
    rows = []
    for number, speaker in enumerate(SPEAKERS[:4]):
        for octave, emotion in enumerate(["joy", "sadness", "anger"]):
            for take, text in enumerate(["Hi, you!", "No..."]):
                name = f"{speaker}_{emotion}_{take}.wav"
                frequency = 200 * 3**octave + 40 * number
                (folder / name).write_bytes(tone(frequency, 0.4 + 0.2 * take, seed=take))
                gender = "female" if number % 2 else "male"
                age = "" if speaker == "bob" else str(20 + 10 * number)
                rows.append([name, speaker, emotion, text if number else "", gender, age])
    with (folder / "tones.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["audio", "speaker_id", "emotion", "text", "gender", "age"], *rows])
    return folder / "tones.csv"


def test_what_is_known_of_clips(table):
    clips = read_examples([table])
    assert len(clips) == 24
    assert clips[0].known == {"speaker": "ann", "emotion": "joy", "gender": "male", "age": "20"}
    assert clips[7].known == {"speaker": "bob", "emotion": "joy", "gender": "female", "transcription": "No..."}
    assert clips[0].audio == table.parent / "ann_joy_0.wav"
    assert read_examples([table], ["gender"])[0].known == {"gender": "male"}


def test_targets(table):
    clips = read_examples([table])
    targets = Targets.of(clips)
    assert targets.tasks == ALL_TASKS
    assert targets.head_sizes == {"transcription": 8, "speaker": 4, "gender": 2, "emotion": 3, "age": 1}
    encoded = targets.encode([clips[0], clips[6], clips[7]])
    assert targets.characters == list(" hinouy")
    transcriptions = encoded["transcription"].tolist()
    assert transcriptions == [[IGNORED] * 6, [2, 3, 1, 7, 5, 6], [4, 5, *[IGNORED] * 4]]
    assert encoded["speaker"].tolist() == [0, 1, 1]
    assert encoded["emotion"].tolist() == [1, 1, 1]
    ages = [20.0] * 6 + [40.0] * 6 + [50.0] * 6
    assert encoded["age"][0].item() == pytest.approx((20 - np.mean(ages)) / np.std(ages, ddof=1))
    assert encoded["age"][1:].isnan().all()


def test_a_column_that_tells_nothing_is_no_task(table):
    ann = [clip for clip in read_examples([table]) if clip.known["speaker"] == "ann"]
    assert Targets.of(ann).tasks == ["emotion"]


def test_what_can_be_heard_of_a_text():
    assert spoken_characters(" Don't -- WORRY,  Zażółć 3! ") == "don't worry zażółć 3"


def test_losses_pass_over_what_is_unknown():
    logits = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.0]])
    targets = torch.tensor([0, IGNORED, 1])
    expected = nn.functional.cross_entropy(logits[[0, 2]], targets[[0, 2]])
    torch.testing.assert_close(class_loss(logits, targets), expected)
    assert class_loss(logits, torch.tensor([IGNORED] * 3)) == 0
    assert age_loss(torch.tensor([1.0, 5.0, 0.0]), torch.tensor([0.0, torch.nan, 2.0])) == 2.5
    assert age_loss(torch.tensor([1.0]), torch.tensor([torch.nan])) == 0


def test_the_transcription_loss_is_per_known_character():
    torch.manual_seed(0)
    logits = torch.randn(3, 6, 4)
    targets = torch.tensor([[1, 2, 3], [2, IGNORED, IGNORED], [IGNORED] * 3])
    loss = transcription_loss(logits, torch.tensor([6, 4, 6]), targets)

    def alone(frames, text):
        lengths = torch.tensor([len(frames)]), torch.tensor([len(text)])
        return nn.functional.ctc_loss(frames.log_softmax(-1)[:, None], torch.tensor([text]), *lengths, reduction="sum")

    torch.testing.assert_close(loss, (alone(logits[0], [1, 2, 3]) + alone(logits[1, :4], [2])) / 4)


def test_a_text_that_is_too_long_for_its_frames_teaches_nothing():
    logits = torch.zeros(1, 2, 4, requires_grad=True)
    loss = transcription_loss(logits, torch.tensor([2]), torch.tensor([[1, 2, 3]]))
    loss.backward()
    assert loss == 0
    assert torch.equal(torch.zeros_like(logits), logits.grad)  # pyright: ignore[reportArgumentType]


def test_padding_does_not_change_the_losses(table):
    clips = read_examples([table])[6:10]
    targets = Targets.of(read_examples([table]))
    torch.manual_seed(0)
    model = SpeechTaskModel(SpeechTaskConfig(head_sizes=targets.head_sizes, **ENCODER)).eval()
    collate = SpeechTaskCollator(EmoIclFeatureExtractor(), targets)
    together = model(**collate(clips))["losses"]
    alone = [model(**collate([clip]))["losses"] for clip in clips]
    assert list(together) == ["speaker", "gender", "emotion", "transcription", "age"]
    for task in ("speaker", "gender", "emotion"):
        torch.testing.assert_close(together[task], torch.stack([losses[task] for losses in alone]).mean())
    lengths = torch.tensor([float(len(spoken_characters(clip.known["transcription"]))) for clip in clips])
    per_character = torch.stack([losses["transcription"] for losses in alone])
    torch.testing.assert_close(together["transcription"], (per_character * lengths).sum() / lengths.sum())


def test_tasks_are_weighted(table):
    targets = Targets.of(read_examples([table]))
    batch = SpeechTaskCollator(EmoIclFeatureExtractor(), targets)(read_examples([table])[:8])
    weights = {"speaker": 2.0, "age": 0.0}
    model = SpeechTaskModel(SpeechTaskConfig(head_sizes=targets.head_sizes, task_weights=weights, **ENCODER)).eval()
    outputs = model(**batch)
    losses = outputs["losses"]
    expected = losses["transcription"] + 2 * losses["speaker"] + losses["gender"] + losses["emotion"]
    torch.testing.assert_close(outputs["loss"], expected)


def test_every_task_is_learned(table, tmp_path, losses):
    encoder = pretrain_speech_encoder(SpeechEncoderPretraining([str(table)], str(tmp_path), size=TINY))
    for task in ALL_TASKS:
        before, after = losses(tmp_path / "speech_tasks", f"{task}_loss")
        assert after < 0.9 * before, task
    loaded = EmoIclSpeechEncoder.from_pretrained(tmp_path / "model")
    assert loaded.config.hidden_size == 32
    assert type(loaded.config) is type(encoder.config)
    features = torch.randn(1, 80, 21)
    mask = torch.ones(1, 21)
    torch.testing.assert_close(
        loaded.eval()(features, mask).last_hidden_state, encoder(features, mask).last_hidden_state
    )


def test_interrupted_is_uninterrupted(table, tmp_path, interrupt):
    size = replace(TINY, schedule=Schedule(max_steps=10, batch_size=4, learning_rate=5e-3))

    def run(name):
        pretraining = SpeechEncoderPretraining([str(table)], str(tmp_path / name), size=size)
        return pretrain_speech_encoder(pretraining).state_dict()

    interrupted, steps = interrupt(lambda: run("interrupted"), at_step=8)
    assert steps == [8, 9]
    uninterrupted = run("uninterrupted")
    assert all(torch.equal(uninterrupted[name], weight) for name, weight in interrupted.items())


@pytest.mark.parametrize(
    "rows, changes, message",
    [
        ("audio,age\nx.wav,adult\n", {}, "the age in row 1 is 'adult'; it should be in years"),
        ("audio,age\n,27\n", {}, "row 1 has no audio"),
        ("audio,gender\nx.wav,male\n", {}, "nothing to learn in any of the columns text, speaker_id, gender, "),
        ("audio\nx.wav\n", {"tasks": ["accent"]}, "no task accent; choose from transcription, speaker, "),
        ("audio\nx.wav\n", {"task_weights": {"accent": 1.0}}, "There are weights for accent; the tasks are tran"),
    ],
)
def test_mistaken_corpora(rows, changes, message, tmp_path):
    (tmp_path / "a.csv").write_text(rows)
    pretraining = SpeechEncoderPretraining([str(tmp_path / "a.csv")], str(tmp_path / "run"), size=TINY)
    with pytest.raises(ValueError, match=message):
        pretrain_speech_encoder(replace(pretraining, **changes))


def test_it_is_not_pretrained_in_parts(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="a speech encoder is none: .* a configuration of DDP"):
        pretrain_speech_encoder(SpeechEncoderPretraining(["absent.csv"], str(tmp_path / "encoder")))


def test_a_clip_that_cannot_be_read_is_named(tmp_path):
    example = TaskExample(b"no audio", "row 3 of a.csv", {"gender": "male"})
    with pytest.raises(ValueError, match="row 3 of a.csv"):
        SpeechTaskCollator(EmoIclFeatureExtractor(), Targets([], {"gender": ["female", "male"]}))([example])


def test_the_papers_size():
    config = SpeechTaskConfig(head_sizes={}, **SPEECH_ENCODER_SIZES["paper"].encoder)
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (512, 6, 2048)


def test_real_speech(shared, tmp_path):
    tables = [shared / "data" / name / "train.parquet" for name in ("nemo", "ravdess")]
    samples = [pyarrow.parquet.read_table(table).sort_by("duration")[:200:4] for table in tables]
    pyarrow.parquet.write_table(pa.concat_tables(samples), tmp_path / "sample.parquet")
    size = SpeechEncoderSize(ENCODER, Schedule(max_steps=60, batch_size=8, learning_rate=5e-3))
    pretrain_speech_encoder(
        SpeechEncoderPretraining([str(tmp_path / "sample.parquet")], str(tmp_path / "run"), size=size)
    )
    clips = read_examples([tmp_path / "sample.parquet"])
    assert len(clips) == 100
    batch = SpeechTaskCollator(EmoIclFeatureExtractor(), Targets.of(clips))(clips)
    trained = SpeechTaskModel.from_pretrained(tmp_path / "run" / "speech_tasks" / "model").eval()
    torch.manual_seed(0)
    with torch.no_grad():
        after = trained(**batch)["losses"]
        config: Any = trained.config
        before = SpeechTaskModel(config).eval()(**batch)["losses"]
    print({task: (round(before[task].item(), 3), round(after[task].item(), 3)) for task in ALL_TASKS})
    assert [task for task in ALL_TASKS if after[task] >= before[task]] == []
