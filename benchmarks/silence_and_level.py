"""How many answers change with silence around a clip and with its level, and what of it a trim and one level mend.

python benchmarks/silence_and_level.py
python benchmarks/silence_and_level.py --model speech --corpus TABLE --clips 40 --shots 5 --seeds 1

Clips are taken as they are, trimmed, brought to one level, or both. An answer is compared with that for the same
clips without a change. The target alone is changed, or the enrollment too. Noise is of -60 dBFS.
"""

import argparse
import io
import tempfile
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import soundfile
from tabulate import tabulate
from tqdm.auto import tqdm

from emoicl import SpeechLmRecognizer, load_corpus, load_pipeline
from emoicl.bundled import BUNDLED_CLIPS, BURSTS_MODEL
from emoicl.processing import decode_audio
from emoicl.processing.audio_emoicl import trim_silence
from emoicl.processing.pipeline_emoicl import EmoIclPipeline
from emoicl.training.data.corpus import Corpus, Utterance
from emoicl.training.data.features import FeatureCache
from emoicl.training.evaluation.evaluate import draw_episode
from emoicl.training.evaluation.reports import Condition


RATE = 16000
FRAME = RATE // 40
SETTING = "TU+LD"
FAINT = 1e-3
# -15 dBFS.
LOUD = 10**-1.5
# In dB below the loudest frame.
THRESHOLD = 40.0

Change = Callable[[np.ndarray], np.ndarray]


def frame_powers(waveform: np.ndarray) -> np.ndarray:
    """Mean square of each frame of 25 ms, the last of which may have zeros at its end."""
    frames = np.pad(waveform, (0, -len(waveform) % FRAME)).reshape(-1, FRAME)
    return np.square(frames).mean(1)


def level(waveform: np.ndarray) -> np.ndarray:
    """A clip whose loudest frame of 25 ms has the power `LOUD`."""
    return (waveform * np.sqrt(LOUD / frame_powers(waveform).max())).astype(np.float32)


def pad(seconds: float, before: bool, noise: float) -> Change:
    def padded(waveform: np.ndarray) -> np.ndarray:
        silence = noise * np.random.default_rng(0).standard_normal(round(seconds * RATE))
        parts = [silence, waveform] if before else [waveform, silence]
        return np.concatenate(parts).astype(np.float32)

    return padded


def scale(gain: float) -> Change:
    return lambda waveform: (gain * waveform).astype(np.float32)


CHANGES: dict[str, Change] = {
    f"{seconds:g} s of {'noise' if noise else 'silence'} {'before' if before else 'after'}": pad(
        seconds, before, noise
    )
    for noise in (0.0, FAINT)
    for seconds in (0.5, 2.0)
    for before in (True, False)
} | {f"level x {gain:g}": scale(gain) for gain in (0.5, 0.1, 2.0)}
TREATMENTS: dict[str, Change] = {
    "as they are": lambda waveform: waveform,
    "trimmed": lambda waveform: trim_silence(waveform, RATE, THRESHOLD),
    "one level": level,
    "trimmed, one level": lambda waveform: level(trim_silence(waveform, RATE, THRESHOLD)),
}
CHANGES["level x 2, clipped"] = lambda waveform: np.clip(2 * waveform, -1, 1).astype(np.float32)


def changed(corpus: Corpus, waveforms: list[np.ndarray], change: Change) -> list[Utterance]:
    clips = []
    for utterance, waveform in zip(corpus, waveforms, strict=True):
        file = io.BytesIO()
        soundfile.write(file, change(waveform), RATE, "FLOAT", format="WAV")
        clips.append(replace(utterance, audio=file.getvalue()))
    return clips


def answers(
    recognizer: SpeechLmRecognizer, corpus: Corpus, both: Corpus, num_shots: int, seeds: int
) -> dict[tuple[int, bool], np.ndarray]:
    """
    Answers for changed targets.

    Args:
        recognizer ([`SpeechLmRecognizer`]): The model.
        corpus ([`Corpus`]): The clips, by which enrollments are drawn.
        both ([`Corpus`]): The clips as they are, and behind them all of them changed.
        num_shots (`int`): Of an enrollment.
        seeds (`int`): Number of enrollments of each target.

    Returns:
        `dict`: by the number of shots, and whether they are changed too, the places of the labels, of shape
        `(num_draws, num_clips)`.
    """
    found = {}
    for shots, with_enrollment in ((0, False), (num_shots, False), (num_shots, True)):
        rows = []
        for seed in range(seeds if shots else 1):
            episodes = []
            for target in range(len(corpus)):
                labels = recognizer.candidate_labels
                episode = draw_episode(corpus, target, Condition(shots), SETTING, seed, None, labels)
                shift = len(corpus) if with_enrollment else 0
                enrollment = [index + shift for index in episode.enrollment]
                episodes.append(replace(episode, target=target + len(corpus), enrollment=enrollment))
            rows.append(recognizer.score(both, episodes).argmax(1))
        found[shots, with_enrollment] = np.array(rows)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(BURSTS_MODEL), help="folder or Hub name of a speech language model")
    parser.add_argument("--corpus", nargs="+", default=[str(BUNDLED_CLIPS)], help="tables of speakers it never heard")
    parser.add_argument("--clips", type=int, help="of each table, drawn at random")
    parser.add_argument("--treatments", nargs="+", choices=TREATMENTS, default=TREATMENTS)
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=CHANGES)
    parser.add_argument("--shots", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=2, help="enrollments of each target")
    options = parser.parse_args()
    pipeline = load_pipeline(options.model)
    if not isinstance(pipeline, EmoIclPipeline):
        raise ValueError(f"{options.model} is a classifier; give a speech language model.")
    chosen: list[Utterance] = []
    for table in options.corpus:
        utterances = load_corpus(table, pipeline.processor.candidate_labels).utterances
        drawn = np.random.default_rng(0).permutation(len(utterances))[: options.clips]
        chosen += [utterances[place] for place in sorted(drawn)]
    corpus = Corpus(chosen)
    waveforms = [decode_audio(utterance.audio, RATE, utterance.name) for utterance in corpus]
    references = np.array([pipeline.processor.candidate_labels.index(label) for label in corpus.labels])
    table = []
    with tempfile.TemporaryDirectory() as folder:
        features = FeatureCache(pipeline.model, pipeline.processor.feature_extractor, folder)
        recognizer = SpeechLmRecognizer(pipeline.model, pipeline.processor, features)
        with tqdm(total=len(options.treatments) * (1 + len(options.changes)), unit="change", disable=None) as progress:
            for treatment in options.treatments:
                treat = TREATMENTS[treatment]
                plain = changed(corpus, waveforms, treat)
                expected: dict[tuple[int, bool], np.ndarray] = {}
                for name, change in {"none": scale(1.0), **{name: CHANGES[name] for name in options.changes}}.items():
                    clips = changed(
                        corpus, waveforms, lambda waveform, treat=treat, change=change: treat(change(waveform))
                    )
                    both = Corpus(plain)
                    # Not by the constructor, which leaves out what is there twice.
                    both.utterances = [*both.utterances, *clips]
                    found = answers(recognizer, corpus, both, options.shots, options.seeds)
                    expected = expected or found
                    row = [
                        f"{np.mean(found[key] != expected[key]):.1%} ({accuracy(found[key], references):.3f})"
                        for key in found
                    ]
                    table.append([treatment, name, *row])
                    progress.update()
    print(f"{len(corpus)} clips, {options.seeds} enrollments each: answers that change (accuracy)\n")
    headers = [
        "clips",
        "change",
        "0 shots",
        f"{options.shots} shots, target alone",
        f"{options.shots} shots, enrollment too",
    ]
    print(tabulate(table, headers=headers, tablefmt="github"))


def accuracy(found: np.ndarray, references: np.ndarray) -> float:
    return float((found == references).mean())


if __name__ == "__main__":
    main()
