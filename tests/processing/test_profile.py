"""A profile answers as its enrollment does, is kept in one file, and is refused where it means nothing."""

import itertools
import json
import os
import pickle
import random
import stat
import subprocess
import sys

import numpy as np
import pytest
import torch
from bundled_models import needs_bundled
from recognizers import ENROLLMENT, SHOTS, TARGETS, assert_same, make_recognizer, scores_of
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from synthetic_speech import encoded, tone
from tiny import LABELS
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from emoicl import EmoIclPipeline, SpeakerProfile, load_corpus
from emoicl.bundled import BUNDLED_CLIPS, BURSTS_MODEL
from emoicl.processing import profile_emoicl
from emoicl.processing.fingerprint_emoicl import fingerprint, is_same_fingerprint


@pytest.fixture(scope="module")
def recognizer():
    return make_recognizer()


@pytest.fixture
def profile(recognizer):
    return recognizer.enroll(ENROLLMENT)


@pytest.fixture
def saved(profile, tmp_path):
    profile.save(tmp_path / "ann.profile")
    return tmp_path / "ann.profile"


def model_answer(recognizer, target, enrollment, candidate_labels=None):
    """What the model says of the whole prompt, without the pipeline."""
    processor = recognizer.processor
    labels = candidate_labels or processor.candidate_labels
    with torch.no_grad():
        scores = recognizer.model.score_labels(
            processor.label_ids(labels), **processor(target, enrollment, candidate_labels)
        )
    return dict(zip(labels, scores.exp()[0].tolist(), strict=True))


@pytest.mark.parametrize("candidate_labels", [None, ["Bored", *LABELS, "Half asleep"]])
def test_answers_are_those_of_the_enrollment(recognizer, candidate_labels):
    profile = recognizer.enroll(ENROLLMENT, candidate_labels)
    parameters = {"profile": profile, "candidate_labels": candidate_labels}
    expected = [model_answer(recognizer, target, ENROLLMENT, candidate_labels) for target in TARGETS]
    zero_shot = model_answer(recognizer, TARGETS[0], [], candidate_labels)
    assert expected[0] != pytest.approx(zero_shot, abs=1e-2)
    for target, scores in zip(TARGETS, expected, strict=True):
        assert scores_of(recognizer(target, **parameters)) == pytest.approx(scores, abs=1e-5)
    for answers, scores in zip(recognizer(TARGETS, batch_size=2, **parameters), expected, strict=True):
        assert scores_of(answers) == pytest.approx(scores, abs=1e-5)


def test_it_can_be_given_to_the_constructor(recognizer, profile, saved):
    expected = recognizer(TARGETS[0], profile=profile)
    for given in (profile, saved):
        parts = {"processor": recognizer.processor, "device": recognizer.device}
        with_it = EmoIclPipeline(recognizer.model, profile=given, **parts)
        assert with_it(TARGETS[0]) == expected
        assert with_it(TARGETS[0], enrollment=[]) == recognizer(TARGETS[0])


def test_threads_can_share_one():
    """Whenever one of them looks at what is kept with it, another has asked with other candidates."""
    recognizer = make_recognizer(enrollment_sees_target=False)
    profile = recognizer.enroll(ENROLLMENT)
    others, candidates = LABELS[::-1], [*LABELS, "Half asleep"]
    kept = []
    for labels in (others, candidates):
        expected = recognizer(TARGETS[0], profile=profile, candidate_labels=labels)
        assert profile.prefix is not None and profile.prefix[1] is not None
        kept.append(profile.prefix)

    class Contested(SpeakerProfile):
        @property
        def prefix(self):
            kept.reverse()
            return kept[-1]

        @prefix.setter
        def prefix(self, prefix):
            pass

    profile.__class__ = Contested
    assert_same(recognizer(TARGETS[0], profile=profile, candidate_labels=candidates), expected)


UNLABELED = [ENROLLMENT[0], {"audio": SHOTS[1]}, {"audio": SHOTS[2], "label": None}]


@pytest.mark.parametrize("fields", [{}, {"adaptation_config": None}], ids=["adaptation", "language model"])
def test_utterances_without_a_label(tmp_path, fields):
    recognizer = make_recognizer(**fields)
    profile = recognizer.enroll(UNLABELED)
    assert profile.labels == ["Joy", None, None]
    expected = model_answer(recognizer, TARGETS[0], UNLABELED)
    profile.save(tmp_path / "me")
    loaded = SpeakerProfile.load(tmp_path / "me")
    assert loaded.labels == ["Joy", None, None]
    for parameters in ({"enrollment": UNLABELED}, {"profile": profile}, {"profile": loaded}):
        assert scores_of(recognizer(TARGETS[0], **parameters)) == pytest.approx(expected, abs=1e-5)
    for other in (ENROLLMENT, ENROLLMENT[:1], []):
        assert model_answer(recognizer, TARGETS[0], other) != pytest.approx(expected, abs=1e-3)
    requests = [{"audio": TARGETS[0], "enrollment": UNLABELED}, {"audio": TARGETS[1], "enrollment": ENROLLMENT}]
    assert scores_of(recognizer(requests, batch_size=2)[0]) == pytest.approx(expected, abs=1e-5)


def test_only_files_with_an_utterance_without_a_label_are_of_the_new_version(recognizer, tmp_path):
    profile = recognizer.enroll(UNLABELED)
    versions = []
    while len(profile):
        profile.save(tmp_path / "me")
        with safe_open(tmp_path / "me", "pt") as file:
            versions.append(json.loads(file.metadata()["profile"])["schema_version"])
        assert SpeakerProfile.load(tmp_path / "me").labels == profile.labels
        profile.remove(len(profile) - 1)
    assert versions == [2, 2, 1]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_beam_search_writes_what_it_writes_with_the_enrollment(recognizer, profile, batch_size):
    answers = recognizer(TARGETS, profile=profile, decoding="beam", batch_size=batch_size)
    for target, (answer,) in zip(TARGETS, answers, strict=True):
        output = recognizer.model.generate(
            **recognizer.processor(target, ENROLLMENT), return_dict_in_generate=True, output_scores=True
        )
        assert answer["label"] == recognizer.processor.tokenizer.decode(output.sequences[0], skip_special_tokens=True)
        assert answer["score"] == pytest.approx(float(output.sequences_scores.exp()), abs=1e-5)


def test_a_model_without_speaker_adaptation():
    recognizer = make_recognizer(adaptation_config=None)
    answers = recognizer(TARGETS[0], profile=recognizer.enroll(ENROLLMENT))
    assert scores_of(answers) == pytest.approx(model_answer(recognizer, TARGETS[0], ENROLLMENT), abs=1e-5)


def test_targets_of_a_batch_have_profiles_of_their_own(recognizer, profile):
    other = recognizer.enroll(ENROLLMENT[1:2])
    requests = [
        {"audio": TARGETS[0]},
        {"audio": TARGETS[1], "profile": other},
        {"audio": TARGETS[2], "enrollment": ENROLLMENT[:2]},
        {"audio": TARGETS[0], "profile": None},
        {"audio": TARGETS[1], "enrollment": []},
    ]
    enrollments = [ENROLLMENT, ENROLLMENT[1:2], ENROLLMENT[:2], [], []]
    answers = recognizer(requests, profile=profile, batch_size=5)
    for request, enrollment, answer in zip(requests, enrollments, answers, strict=True):
        expected = model_answer(recognizer, request["audio"], enrollment)
        assert scores_of(answer) == pytest.approx(expected, abs=1e-5)


def test_only_targets_are_encoded(recognizer, profile, encoded_utterances):
    recognizer(TARGETS, profile=profile, batch_size=2)
    assert encoded_utterances == [2, 1]


def test_it_grows_and_shrinks_in_order(recognizer, profile):
    assert (len(profile), profile.labels) == (3, ["Joy", "Anger", "Sadness"])
    built = recognizer.enroll(ENROLLMENT[1:2])
    built.add(recognizer.enroll(ENROLLMENT[:1]))
    built.remove(1)
    built.add(recognizer.enroll([ENROLLMENT[2], ENROLLMENT[0]]))
    assert built.labels == ["Anger", "Sadness", "Joy"]
    expected = model_answer(recognizer, TARGETS[0], [ENROLLMENT[1], ENROLLMENT[2], ENROLLMENT[0]])
    assert scores_of(recognizer(TARGETS[0], profile=built)) == pytest.approx(expected, abs=1e-5)
    for index in (3, -1):
        with pytest.raises(IndexError, match=f"has 3 utterances; there is none with index {index}"):
            built.remove(index)
    for _ in range(3):
        built.remove(0)
    assert (len(built), built.labels) == (0, [])
    assert recognizer(TARGETS[0], profile=built) == recognizer(TARGETS[0])


def test_labels_cannot_be_changed_from_outside(profile):
    profile.labels.append("Joy")
    assert len(profile) == len(profile.labels) == 3


def test_a_target_that_was_enrolled_is_refused(recognizer, profile):
    with pytest.raises(ValueError, match=r"^inputs\[1\]: enrollment\[2\]: is the target itself"):
        recognizer([TARGETS[0], SHOTS[2]], profile=profile, batch_size=2)
    profile.remove(2)
    assert len(recognizer(SHOTS[2], profile=profile)) == len(LABELS)


def noise(seed, seconds=1.0):
    """Something that is no hum."""
    smooth = np.hanning(40) / 20
    return np.convolve(np.random.default_rng(seed).normal(0, 0.1, round(16000 * seconds)), smooth, "same").astype("f4")


def copies_of(waveform):
    return [
        encoded(waveform),
        encoded(waveform, format="OGG", subtype="VORBIS"),
        encoded(waveform, format="MP3", subtype="MPEG_LAYER_III"),
        waveform[1:],
        waveform[800:],
        0.5 * waveform,
    ]


def test_a_target_that_was_enrolled_in_another_form_is_refused(recognizer, tmp_path):
    voices = [noise(0), noise(1)]
    profile = recognizer.enroll([{"audio": voice, "label": "Joy"} for voice in voices])
    profile.save(tmp_path / "me")
    loaded = SpeakerProfile.load(tmp_path / "me")
    for copy in copies_of(voices[1]):
        with pytest.raises(ValueError, match=r"^inputs\[1\]: enrollment\[1\]: is the target itself, encoded or cut"):
            recognizer([TARGETS[0], copy], profile=loaded)
        with pytest.raises(ValueError, match=r"^enrollment\[0\]: is the recording that the profile has at 1 already"):
            loaded.add(recognizer.enroll([{"audio": copy, "label": "Joy"}]))
    with pytest.raises(ValueError, match=r"enrollment\[1\]: is the target from 1 to 2 s itself, encoded or cut"):
        recognizer(np.concatenate([noise(2), 0.5 * voices[1]]), profile=loaded, window_s=1.0, hop_s=1.0)
    loaded.remove(1)
    assert len(recognizer(0.5 * voices[1], profile=loaded)) == len(LABELS)


def test_a_profile_without_fingerprints_is_read(recognizer, profile, saved):
    rewrite(saved, fingerprints=None)
    assert recognizer(TARGETS[0], profile=saved) == recognizer(TARGETS[0], profile=profile)


def test_takes_of_a_sentence_are_no_copies(shared, recognizer):
    """The two takes of each sentence and emotion of a speaker of RAVDESS, who hardly change a thing."""
    rows = load_corpus(shared / "data" / "ravdess" / "test.parquet").utterances[:60]
    waveforms = [recognizer.feature_extractor.decode(row.audio) for row in rows]
    prints = [fingerprint(waveform) for waveform in waveforms]
    assert not any(is_same_fingerprint(*pair) for pair in itertools.combinations(prints, 2))
    for waveform, known in list(zip(waveforms, prints, strict=True))[::10]:
        for copy in copies_of(waveform):
            assert is_same_fingerprint(known, fingerprint(recognizer.feature_extractor.decode(copy)))


def test_a_hum_has_no_fingerprint():
    assert fingerprint(tone(300, 1.0)) == fingerprint(noise(0, 0.3)) == ""
    assert fingerprint(np.zeros(16000, np.float32)) == ""
    assert len(fingerprint(noise(0))) == pytest.approx(100, abs=8)


def test_save_and_load(recognizer, profile, saved):
    loaded = SpeakerProfile.load(saved)
    assert (loaded.labels, loaded.model_fingerprint) == (profile.labels, profile.model_fingerprint)
    expected = recognizer(TARGETS[0], profile=profile)
    for same in (loaded, saved, str(saved)):
        assert recognizer(TARGETS[0], profile=same) == expected
    with pytest.raises(ValueError, match=r"enrollment\[0\]: is the target itself"):
        recognizer(SHOTS[0], profile=loaded)
    loaded.remove(0)
    loaded.save(saved)
    assert SpeakerProfile.load(saved).labels == ["Anger", "Sadness"]
    assert list(saved.parent.iterdir()) == [saved]


def test_the_file_is_private_and_holds_no_audio(saved):
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert SHOTS[0].tobytes()[:64] not in saved.read_bytes()
    assert sum(tensor.numel() for tensor in load_file(saved).values()) == 3 * (3 * 24 + 6)


def test_an_interruption_leaves_the_old_profile(profile, saved, monkeypatch):
    def interrupted(*paths):
        raise KeyboardInterrupt

    before = saved.read_bytes()
    profile.remove(0)
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        profile.save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_the_model_is_known_wherever_it_was_loaded_from(recognizer, profile, tmp_path):
    recognizer.save_pretrained(tmp_path)
    loaded = EmoIclPipeline(
        model=AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path),
        processor=AutoProcessor.from_pretrained(tmp_path),
        device=torch.device("cpu"),
    )
    assert_same(loaded(TARGETS[0], profile=profile), recognizer(TARGETS[0], profile=profile))


def test_it_works_where_the_package_is_absent(recognizer, profile, saved, tmp_path, monkeypatch):
    """With the classes of the checkpoint, which are others than those of the package."""
    folder = str(tmp_path / "checkpoint")
    recognizer.save_pretrained(folder)
    path = tmp_path / "target.npy"
    np.save(path, TARGETS[0])
    script = f"""
import json, sys
sys.modules["emoicl"] = None
import numpy as np
from transformers import pipeline
recognizer = pipeline("audio-classification", {folder!r}, trust_remote_code=True, device="cpu")
target = np.load({str(path)!r})
profile = recognizer.enroll([{{"audio": target[::-1].copy(), "label": "Joy"}}])
profile.add(type(profile).load({str(saved)!r}))
profile.remove(0)
print(json.dumps([recognizer(target, profile={str(saved)!r}), recognizer(target, profile=profile, window_s=1)]))
"""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    answers, (window,) = json.loads(process.stdout.splitlines()[-1])
    expected = recognizer(TARGETS[0], profile=profile)
    assert_same(answers, expected)
    assert_same(window["labels"], expected)


def test_profiles_of_other_models_are_refused(recognizer, profile):
    others = [make_recognizer(seed=1), make_recognizer(adaptation_config=None), make_recognizer()]
    with torch.no_grad():
        others[2].model.model.qformer.query_tokens[0, 0] += 1e-3
    for other in others:
        with pytest.raises(ValueError, match="made with another model .* or enroll the speaker's recordings with"):
            other(TARGETS[0], profile=profile)
        with pytest.raises(ValueError, match=r"^inputs\[0\]: The profile was made with another model"):
            other([{"audio": TARGETS[0], "profile": profile}])
        with pytest.raises(ValueError, match="another model"):
            profile.add(other.enroll(ENROLLMENT[:1]))
    louder = make_recognizer()
    louder.processor.feature_extractor.hop_length = 80
    with pytest.raises(ValueError, match="another model"):
        louder(TARGETS[0], profile=profile)
    assert len(profile) == 3


def test_a_model_that_is_trained_further_is_another():
    recognizer = make_recognizer(feature_dropout=0.5)
    profile = recognizer.enroll(ENROLLMENT)
    # As a trainer leaves it.
    recognizer.model.train()
    assert_same(recognizer(TARGETS[0], profile=profile), recognizer(TARGETS[0], enrollment=ENROLLMENT))
    optimizer = torch.optim.SGD(recognizer.model.model.qformer.parameters(), lr=0.1)
    for weight in recognizer.model.model.qformer.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    with pytest.raises(ValueError, match="another model"):
        recognizer(TARGETS[0], profile=profile)


def test_half_precision(recognizer, saved):
    half = make_recognizer()
    half.model.bfloat16()
    profile = half.enroll(ENROLLMENT)
    profile.save(saved)
    expected = half(TARGETS[0], enrollment=ENROLLMENT)
    assert scores_of(half(TARGETS[0], profile=saved)) == pytest.approx(scores_of(expected), abs=2e-2)


def test_wrong_use_is_explained(recognizer, profile):
    with pytest.raises(ValueError, match="No utterances to enroll"):
        recognizer.enroll([])
    with pytest.raises(ValueError, match=r"^enrollment\[1\]: label 'Angst' is none of the candidate labels Joy"):
        recognizer.enroll([ENROLLMENT[0], {"audio": SHOTS[1], "label": "Angst"}])
    with pytest.raises(ValueError, match=r"^enrollment\[0\]: silent"):
        recognizer.enroll([{"audio": 0 * SHOTS[0], "label": "Joy"}])
    with pytest.raises(ValueError, match="`enrollment` and `profile` are both given"):
        recognizer(TARGETS[0], profile=profile, enrollment=ENROLLMENT)
    with pytest.raises(ValueError, match='"enrollment" and "profile" are both given'):
        recognizer({"audio": TARGETS[0], "profile": profile, "enrollment": ENROLLMENT})
    with pytest.raises(ValueError, match="`profile` is what `enroll` returned.*; got 'list'"):
        recognizer(TARGETS[0], profile=ENROLLMENT)
    with pytest.raises(ValueError, match=r"^enrollment\[1\]: label 'Anger' is none of the candidate labels Joy, Sad"):
        recognizer(TARGETS[0], profile=profile, candidate_labels=["Joy", "Sadness"])


def test_more_shots_than_the_model_takes(recognizer, profile):
    shots = [{"audio": tone(200 + 10 * i, 0.2), "label": "Joy"} for i in range(6)]
    message = r"an enrollment of 6 utterances; at most 5 \(`max_shots`\) are taken"
    with pytest.raises(ValueError, match=message):
        recognizer.enroll(shots)
    profile.add(recognizer.enroll(shots[:3]))
    with pytest.raises(ValueError, match=message):
        recognizer(TARGETS[0], profile=profile)
    profile.remove(0)
    assert len(recognizer(TARGETS[0], profile=profile)) == len(LABELS)


def rewrite(path, tensors=None, form=None, **fields):
    """Writes a profile anew with other tensors or other fields of its description; None takes one out."""
    with profile_emoicl.safe_open(path, "pt") as file:
        metadata = file.metadata()
    header = json.loads(metadata["profile"]) | fields
    header = {name: value for name, value in header.items() if value is not None}
    metadata = {"format": form or metadata["format"], "profile": json.dumps(header)}
    save_file(load_file(path) | (tensors or {}), path, metadata)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"schema_version": 3}, r"schema version 3; this version of emoicl reads versions 1 and 2\. Update emoicl"),
        ({"schema_version": None}, "schema version None"),
        ({"labels": None}, "the field 'labels' is missing"),
        ({"labels": ["Joy", "Anger"]}, "2 labels and 3 digests"),
        ({"labels": ["Joy", "Anger", 3]}, "labels must be non-empty strings, or None; got 3"),
        ({"labels": {"Joy": 1}}, "must be lists"),
        ({"digests": ["../../secret"] * 3}, "a digest must be 64 hexadecimal digits"),
        ({"fingerprints": ["", ""]}, "there must be a list of 3 fingerprints"),
        ({"fingerprints": ["", "", "xyz"]}, "a fingerprint must be hexadecimal, 4 digits for each frame; got 'xyz'"),
        ({"model_fingerprint": 5}, "the fingerprint of the model must be"),
        ({"tensors": {"voice_embeds": torch.full((3, 6), torch.nan)}}, "voice_embeds has values that are not finite"),
        ({"tensors": {"voice_embeds": torch.zeros(2, 6)}}, r"voice_embeds has shape \(2, 6\); expected \(3, ...\)"),
        ({"tensors": {"voice_embeds": torch.zeros(3, 6).long()}}, "voice_embeds is torch.int64; expected float32"),
        ({"form": "pt"}, "not a speaker profile"),
    ],
)
def test_damaged_files_are_refused(saved, change, message):
    rewrite(saved, **change)
    with pytest.raises(ValueError, match=message) as error:
        SpeakerProfile.load(saved)
    assert str(error.value).startswith(str(saved))


def test_a_profile_with_any_damage_is_one_line(saved):
    content, rng = saved.read_bytes(), random.Random(0)
    for _ in range(200):
        place, noise = rng.randrange(len(content)), rng.randbytes(4)
        kept = rng.choice([place, place + 4, len(content)])
        saved.write_bytes(content[:place] + noise * (kept > place) + content[kept:])
        try:
            SpeakerProfile.load(saved)
        except ValueError as error:
            assert str(error).startswith(f"{saved}: ") and "profile" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    "tensors", [{"voice_embeds": torch.zeros(3, 7)}, {"another": torch.zeros(3, 2)}], ids=["shape", "field"]
)
def test_other_fields_than_the_model_has_are_refused(recognizer, saved, tensors):
    rewrite(saved, tensors)
    with pytest.raises(ValueError, match="was made by another version of emoicl, or is damaged"):
        recognizer(TARGETS[0], profile=saved)


def test_other_files_are_no_profiles(saved, tmp_path):
    contents = {
        "empty": b"",
        "text": b"audio,label\n" * 20,
        "pickle": pickle.dumps({"labels": ["Joy"]}),
        "truncated": saved.read_bytes()[:-9],
        "header": (2**40).to_bytes(8, "little") + b"{}",
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        for refuse in (SpeakerProfile.load, SpeakerProfile.delete, SpeakerProfile.load(saved).save):
            with pytest.raises(ValueError, match=f"{name}: "):
                refuse(path)
        assert path.read_bytes() == content
    with pytest.raises(ValueError, match="gone: no speaker profile can be read there: No such file"):
        SpeakerProfile.load(tmp_path / "gone")
    with pytest.raises(ValueError, match="a plain file and no folder or link"):
        SpeakerProfile.load(tmp_path)


def test_an_utterance_is_enrolled_once(recognizer, profile):
    for again, place in ((profile, 0), (recognizer.enroll(ENROLLMENT[1:2]), 1)):
        with pytest.raises(ValueError, match=rf"enrollment\[0\]: is the recording that the profile has at {place}"):
            profile.add(again)
    assert len(profile) == 3


def test_sizes_are_limited(recognizer, profile, saved, monkeypatch):
    monkeypatch.setattr(profile_emoicl, "MAX_SHOTS", 4)
    more = recognizer.enroll([{"audio": tone(hertz, 0.3), "label": "Joy"} for hertz in (610, 720, 830)])
    with pytest.raises(ValueError, match="6 utterances; a profile takes at most 4"):
        profile.add(more)
    assert len(profile) == 3
    monkeypatch.setattr(profile_emoicl, "MAX_SHOTS", 2)
    with pytest.raises(ValueError, match="3 utterances; a profile takes at most 2"):
        SpeakerProfile.load(saved)
    monkeypatch.setattr(profile_emoicl, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="ann.profile: is not a speaker profile, or damaged: it is larger than any$"):
        SpeakerProfile.load(saved)
    with pytest.raises(ValueError, match="new: the profile is too large for a file; enroll fewer utterances"):
        profile.save(saved.with_name("new"))


def test_another_file_is_not_called_large(tmp_path):
    file = tmp_path / "hello.profile"
    file.write_text("Anger, as far as I remember, or joy.")
    with pytest.raises(
        ValueError, match=r"hello.profile: is not a speaker profile, or damaged: it begins with b'Anger, a'"
    ):
        SpeakerProfile.load(file)


def test_delete(saved, tmp_path):
    rewrite(saved, schema_version=99)
    SpeakerProfile.delete(saved)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="No such file"):
        SpeakerProfile.delete(saved)


def test_links_are_left_alone(profile, saved, tmp_path):
    """Deleting or replacing a link would leave the profile that it points to."""
    link = tmp_path / "link"
    link.symlink_to(saved)
    for refuse in (SpeakerProfile.delete, SpeakerProfile.load, profile.save):
        with pytest.raises(ValueError, match="no folder or link"):
            refuse(link)
    assert saved.is_file()
    assert link.is_symlink()


@needs_bundled
def test_real_speech(tmp_path):
    """The bundled model on bundled clips of one speaker, seven of them enrolled."""
    from emoicl import load_corpus

    recognizer = EmoIclPipeline(
        model=AutoModelForSpeechSeq2Seq.from_pretrained(BURSTS_MODEL),
        processor=AutoProcessor.from_pretrained(BURSTS_MODEL),
        device=torch.device("cpu"),
    )
    clips = load_corpus(BUNDLED_CLIPS).utterances[:21]
    enrollment = [{"audio": clip.audio, "label": clip.label} for clip in clips[1::3]]
    targets = [clip.audio for clip in clips[::3]]
    recognizer.enroll(enrollment).save(tmp_path / "me")
    answers = recognizer(targets, profile=tmp_path / "me", batch_size=4)
    for target, answer in zip(targets, answers, strict=True):
        assert scores_of(answer) == pytest.approx(model_answer(recognizer, target, enrollment), abs=1e-5)
    without = recognizer(targets)
    pairs = zip(answers, without, strict=True)
    changes = [abs(scores_of(one)["Disgust"] - scores_of(other)["Disgust"]) for one, other in pairs]
    assert max(changes) > 0.1
