from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from tiny import LABELS
from tiny_checkpoints import save_speech_encoder
from tiny_corpus import compose_tiny, tiny_corpus

from emoicl.training.data.corpus import Corpus, Utterance
from emoicl.training.episodes.classifier_inputs import InputCache
from emoicl.training.episodes.speaker_blocks import BlockCollator, SpeakerBlocks
from emoicl.training.systems.encoder_config import EncoderTrainingArguments
from emoicl.training.systems.encoder_trainer import EncoderTrainer, start_adaptation


@pytest.fixture(scope="module")
def corpus():
    return tiny_corpus(6)


@pytest.fixture
def tuned(whisper):
    torch.manual_seed(0)
    return compose_tiny(whisper, freeze_speech_encoder=False)


def arguments(folder, **fields):
    defaults = {"max_steps": 2, "report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"}
    return EncoderTrainingArguments(output_dir=str(folder), **defaults | fields)


def make_tuner(tuned, corpus, folder, **fields) -> Any:
    model, processor = tuned
    inputs = InputCache(processor.feature_extractor)
    return EncoderTrainer(model, arguments(folder, **fields), corpus, LABELS, inputs)


def named(speakers, labels, takes=2):
    """A corpus that is never decoded."""
    names = [f"{speaker} {label} {take}" for speaker in speakers for label in labels for take in range(takes)]
    return Corpus(Utterance(name.encode(), name.split()[1], name.split()[0], name) for name in names)


def test_a_block_is_two_takes_of_each_label_of_a_speaker(corpus):
    blocks = SpeakerBlocks(corpus, LABELS, open_share=0.0, seed=0)
    numbers_of_shots = Counter()
    for item in range(60):
        block = blocks[item]
        assert sorted(corpus.labels[e.target] for e in block) == sorted(2 * list(LABELS))
        assert len({corpus.speaker_ids[i] for e in block for i in (e.target, *e.enrollment)}) == 1
        assert len({e.target for e in block}) == len(block)
        halves = [block[: len(LABELS)], block[len(LABELS) :]]
        for half, other in (halves, halves[::-1]):
            assert {i for e in half for i in e.enrollment} <= {e.target for e in other}
            numbers_of_shots[len(half[0].enrollment)] += 1
        for e in block:
            assert e.label == corpus.labels[e.target] and e.candidate_labels == block[0].candidate_labels
            assert e.enrollment_labels == [corpus.labels[i] for i in e.enrollment]
    assert set(numbers_of_shots) == {0, 1, 2, 3}


def test_open_blocks_have_other_labels_too():
    corpus = named(["a/1"], [*LABELS, "Awe"])
    of_share = {
        share: {e.label for item in range(40) for e in SpeakerBlocks(corpus, LABELS, share, 0)[item]}
        for share in (0.0, 1.0)
    }
    assert of_share == {0.0: set(LABELS), 1.0: {*LABELS, "Awe"}}


def test_small_corpora_are_heard_more_often_than_their_size():
    corpus = named([f"large/{i}" for i in range(16)] + ["small/1"], LABELS)
    blocks = SpeakerBlocks(corpus, LABELS, 0.0, 0)
    share = np.mean([corpus.speaker_ids[blocks[item][0].target] == "small/1" for item in range(1000)])
    assert share == pytest.approx(1 / (1 + 16 ** (1 / 3)), abs=0.04)


def test_speakers_without_two_takes_are_passed_over():
    blocks = SpeakerBlocks(Corpus([*named(["a/1"], LABELS), *named(["a/2"], LABELS, takes=1)]), LABELS, 0.0, 0)
    assert {blocks.corpus.speaker_ids[blocks[item][0].target] for item in range(20)} == {"a/1"}
    with pytest.raises(ValueError, match="two utterances of each of two"):
        SpeakerBlocks(named(["a/1"], LABELS, takes=1), LABELS, 0.0, 0)


def test_blocks_are_drawn_anew_each_epoch(corpus):
    blocks = SpeakerBlocks(corpus, LABELS, 0.0, 0)
    first = [blocks[item] for item in range(3)]
    assert first == [blocks[item] for item in range(3)]
    blocks.set_epoch(1)
    assert first != [blocks[item] for item in range(3)]


def test_a_batch_encodes_each_utterance_once(tuned, corpus):
    inputs = InputCache(tuned[1].feature_extractor)
    blocks = [SpeakerBlocks(corpus, LABELS, 0.0, 0)[item] for item in (0, 1)]
    batch = BlockCollator(corpus, inputs, LABELS, pseudo_speaker_spread=0.0, hidden_share=0.0, longest=2.5)(blocks)
    assert len(batch["input_features"]) == 4 * len(LABELS)
    for row, episode in enumerate([episode for block in blocks for episode in block]):
        places = [place for place in batch["utterance_index"][row].tolist() if place >= 0]
        for place, index in zip(places, (*episode.enrollment, episode.target), strict=True):
            length = int(batch["input_features_mask"][place].sum())
            alone = inputs.load([corpus[index]])["input_features"][0]
            torch.testing.assert_close(batch["input_features"][place, :, :length], alone)
        words = [LABELS[slot] for slot in batch["slots"][row][: len(places) - 1]]
        assert words == episode.enrollment_labels
        assert LABELS[batch["labels"][row]] == episode.label


def test_a_block_has_one_pseudo_speaker(tuned, corpus):
    inputs = InputCache(tuned[1].feature_extractor)
    block = SpeakerBlocks(corpus, LABELS, 0.0, 0)[0]
    batch = BlockCollator(corpus, inputs, LABELS, pseudo_speaker_spread=0.1, hidden_share=0.0, longest=2.5)([block])
    tempos = set()
    for row, episode in zip(batch["utterance_index"], block, strict=True):
        recorded = inputs.load([corpus[episode.target]])["input_features"].shape[2]
        heard = int(batch["input_features_mask"][row[row >= 0][-1]].sum())
        tempos.add(heard / recorded)
    assert max(tempos) - min(tempos) < 0.05
    assert abs(np.mean(list(tempos)) - 1) > 0.01


def test_only_candidates_count(tuned, corpus, tmp_path):
    """The loss of a block with two of the labels is that of a model that knows no others."""
    tuner = make_tuner(tuned, corpus, tmp_path, hidden_share=0.0)
    block = [e for e in SpeakerBlocks(corpus, LABELS[:2], 0.0, 0)[0]]
    batch = tuner.data_collator([block])
    assert batch["candidates"].tolist() == [[label in LABELS[:2] for label in LABELS]] * 4
    _, outputs = tuner.compute_loss(tuner.model, batch, return_outputs=True)
    probabilities = outputs["logits"].softmax(-1)
    assert (probabilities[:, 2] == 0).all()
    loss = tuner.compute_loss(tuner.model, batch)
    torch.testing.assert_close(loss, -probabilities[torch.arange(4), batch["labels"]].log().mean())


def test_only_encoder_and_adaptation_are_trained(tuned, corpus, tmp_path):
    before = {name: weight.clone() for name, weight in tuned[0].state_dict().items()}
    make_tuner(tuned, corpus, tmp_path, learning_rate=1e-2).train()
    changed = {name.split(".")[1] for name, weight in tuned[0].state_dict().items() if not weight.equal(before[name])}
    assert changed == {"speech_encoder", "adaptation"}


def test_tuning_learns(tuned, corpus, tmp_path):
    """From a cold start: the closed form leaves nothing to learn in tones."""
    tuner = make_tuner(tuned, corpus, tmp_path, max_steps=80, learning_rate=1e-2, logging_steps=10)
    tuner.train()
    losses = [entry["loss"] for entry in tuner.state.log_history if "loss" in entry]
    assert losses[-1] < 0.7 * losses[0]


def test_it_starts_as_the_closed_form(tuned, corpus, tmp_path):
    tuner = make_tuner(tuned, corpus, tmp_path, pseudo_speaker_spread=0.0, hidden_share=0.0)
    batch = tuner.data_collator([tuner.train_dataset[item] for item in range(6)])
    cold = tuner.compute_loss(tuner.model, batch).item()
    start_adaptation(tuned[0], corpus, tuned[1].feature_extractor, tmp_path)
    assert tuner.compute_loss(tuner.model, batch).item() < 0.5 * cold


def test_what_cannot_be_tuned(whisper, corpus, tmp_path):
    with pytest.raises(ValueError, match="freeze_speech_encoder=False"):
        make_tuner(compose_tiny(whisper), corpus, tmp_path)
    with pytest.raises(ValueError, match="an `adaptation_config`"):
        make_tuner(compose_tiny(whisper, freeze_speech_encoder=False, adaptation_config=None), corpus, tmp_path)


def test_waveforms_cannot_be_tuned(corpus, tmp_path):
    composed = compose_tiny(save_speech_encoder("wav2vec2", tmp_path), freeze_speech_encoder=False)
    with pytest.raises(ValueError, match="reads waveforms"):
        make_tuner(composed, corpus, tmp_path)
