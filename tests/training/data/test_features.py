import dataclasses
from types import SimpleNamespace

import pytest
import torch
from tiny_corpus import compose_tiny

from emoicl.training.data.features import FeatureCache
from emoicl.training.data.writing import default_cache_folder


@pytest.fixture
def computed(features, monkeypatch):
    """Names of the utterances whose features are computed, in order."""
    names = []
    compute = features._compute

    def record(utterances):
        names.extend(utterance.name for utterance in utterances)
        return compute(utterances)

    monkeypatch.setattr(features, "_compute", record)
    return names


def test_same_features_as_the_model_gives(composed, features, corpus):
    model, processor = composed
    utterances = [corpus[2], corpus[0], corpus[1]]
    loaded = features.load(utterances)
    with torch.no_grad():
        inputs = processor.feature_extractor([utterance.audio for utterance in utterances])
        expected, mask = model.get_speech_features(**inputs)
    assert loaded["speech_features"].dtype == torch.float16
    assert torch.equal(loaded["speech_features_mask"], mask)
    assert not mask.bool().all()
    # Half precision keeps 11 bits.
    torch.testing.assert_close(
        loaded["speech_features"].float() * mask[..., None], expected * mask[..., None], rtol=2**-11, atol=1e-4
    )
    assert not loaded["speech_features"][mask == 0].any()


def test_computed_once(features, corpus, computed):
    features.fill(corpus.utterances[:3])
    features.load(corpus.utterances[1:4])
    features.load(corpus.utterances[:4])
    assert computed == [utterance.name for utterance in corpus.utterances[:4]]


def test_they_are_computed_where_a_model_is_trained(features, corpus, computed, monkeypatch):
    device = torch.device("xpu", 0)
    process = SimpleNamespace(process_index=0, num_processes=1, device=device, wait_for_everyone=lambda: None)
    monkeypatch.setattr("emoicl.training.data.features.PartialState", lambda: process)
    moves = []
    monkeypatch.setattr(features.model, "to", lambda place: moves.append((str(place), len(computed))))
    features.fill_together(corpus.utterances[:2])
    assert moves == [("xpu:0", 0), ("cpu", 2)]


def test_known_by_content_not_by_name(features, corpus, computed, tmp_path):
    features.fill(corpus.utterances[:1])
    file = tmp_path / "moved.wav"
    file.write_bytes(corpus[0].audio)
    features.fill([dataclasses.replace(corpus[0], audio=file, name="moved.wav")])
    assert computed == [corpus[0].name]
    features.fill([dataclasses.replace(corpus[0], audio=corpus[2].audio)])
    assert computed == [corpus[0].name] * 2


def test_one_folder_for_equal_encoders_only(whisper, features, tmp_path):
    def folder(change=None, min_duration=0.1, **fields):
        model, processor = compose_tiny(whisper, **fields)
        if change:
            change(model)
        processor.feature_extractor.min_duration = min_duration
        return FeatureCache(model, processor.feature_extractor, tmp_path / "cache").folder

    @torch.no_grad()
    def nudge(model):
        model.model.speech_encoder.conv1.bias[0] += 1e-3

    assert folder() == folder(num_query_tokens=5, adaptation_config=None) == features.folder
    others = [folder(nudge), folder(speech_layer=1), folder(min_duration=0.05)]
    assert len({*others, features.folder}) == 4


def test_saving_keeps_the_folder(composed, features, tmp_path):
    model, processor = composed
    processor.save_pretrained(tmp_path / "saved")
    loaded = type(processor).from_pretrained(tmp_path / "saved")
    folders = {FeatureCache(model, p.feature_extractor, tmp_path / "cache").folder for p in (processor, loaded)}
    assert folders == {features.folder}


def test_an_interrupted_fill_goes_on_where_it_stopped(features, corpus, computed, monkeypatch):
    def interrupt(waveforms):
        if len(computed) > 4:
            raise KeyboardInterrupt
        return extract(waveforms)

    extract = features.feature_extractor.extract
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(features.feature_extractor), "extract", lambda self, waveforms: interrupt(waveforms))
        features.fill(corpus, batch_size=2)
    computed.clear()
    features.fill(corpus)
    assert computed == [utterance.name for utterance in corpus.utterances[4:]]


def test_an_unreadable_clip_is_named(features, corpus):
    broken = dataclasses.replace(corpus[0], audio=b"RIFF, or so it says", name="clips/broken.wav")
    with pytest.raises(ValueError, match="clips/broken.wav"):
        features.fill([corpus[1], broken])


def test_features_of_a_trained_encoder_are_refused(whisper, tmp_path):
    model, processor = compose_tiny(whisper, freeze_speech_encoder=False)
    with pytest.raises(ValueError, match="frozen"):
        FeatureCache(model, processor.feature_extractor, tmp_path)


def test_default_folder_can_be_set(monkeypatch, tmp_path):
    monkeypatch.setenv("EMOICL_CACHE", str(tmp_path))
    assert default_cache_folder() == tmp_path
    monkeypatch.delenv("EMOICL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_folder() == tmp_path / "home" / ".cache" / "emoicl"


def test_a_damaged_entry_is_computed_again_with_a_word(features, corpus, computed, caplog):
    expected = features.load(corpus.utterances[:3])["speech_features"]
    [path] = features.folder.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    # Frames come last but for the keys of the three clips.
    content[-3 * 32 - 1] ^= 1
    path.write_bytes(content)
    with caplog.at_level("WARNING", logger="emoicl"):
        assert torch.equal(features.load(corpus.utterances[:3])["speech_features"], expected)
    assert f"{corpus[2].name}: features in {features.folder} are damaged" in caplog.text
    assert corpus[1].name not in caplog.text
    caplog.clear()
    reopened = FeatureCache(features.model, features.feature_extractor, features.folder.parents[1])
    assert torch.equal(reopened.load(corpus.utterances[:3])["speech_features"], expected)
    assert computed == [utterance.name for utterance in corpus.utterances[:3]] + [corpus[2].name]
    assert not caplog.records


def test_clips_of_a_shared_batch_stand_once_in_the_cache(features, corpus, computed):
    features.load([corpus[0], corpus[1], corpus[0]])
    assert computed == [corpus[0].name, corpus[1].name]
