"""What the ways of this package save, each as the ratio of two of them that are measured in turns in one run.

python benchmarks/speed.py [NAME ...] [--repeats 5]
"""

import argparse
import io
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file, save_file
from tabulate import tabulate
from torch.ao.quantization import quantize_dynamic
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    Wav2Vec2FeatureExtractor,
    pipeline,
)

from emoicl import EmoIclPipeline, load_pipeline
from emoicl.training.data.corpus import Corpus, Utterance
from emoicl.training.data.feature_shards import FeatureShards
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.collation import EpisodeCollator
from emoicl.training.episodes.episodes import EpisodeDataset
from emoicl.training.systems.composition import compose


LABELS = ["Neutral", "Joy", "Sadness", "Anger", "Fear", "Disgust", "Surprise"]
SECONDS = 3.0
# What the ratio is of, the slow way and the fast way.
Ways = tuple[str, Callable[[], Any], Callable[[], Any]]


def clip(seed: int, seconds: float = SECONDS) -> bytes:
    """A wav file of noise that swells and fades."""
    times = np.arange(round(seconds * 16000)) / 16000
    waveform = 0.1 * np.random.default_rng(seed).standard_normal(len(times)) * np.sin(np.pi * times / seconds)
    file = io.BytesIO()
    soundfile.write(file, waveform, 16000, format="WAV")
    return file.getvalue()


def save_whisper(folder: Path) -> str:
    """The shape of Whisper-base's encoder, with random weights: what they are does not matter here."""
    sizes = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048}
    sizes |= {"decoder_layers": 1, "decoder_attention_heads": 8}
    AutoModel.from_config(AutoConfig.for_model("whisper", **sizes)).encoder.save_pretrained(folder)
    return str(folder)


def unpadded(folder: Path) -> Ways:
    model, processor = compose(save_whisper(folder / "whisper"), LABELS, speech_layer=6, num_query_tokens=8)
    whisper: Any = model.eval().get_encoder(modality="audio")
    extractor = processor.feature_extractor
    inputs = extractor(extractor.decode(clip(0)))
    padded = torch.zeros(1, 80, 3000)
    published = AutoModel.from_config(whisper.config).encoder.eval()
    return (
        "speech encoder of Whisper-base, a 3 s clip",
        lambda: published(padded),
        lambda: model.get_speech_features(**inputs),
    )


def scoring(folder: Path) -> Ways:
    recognizer, enrollment = bundled(), enrolled(7)
    profile = recognizer.enroll(enrollment)
    return (
        "7 shots from a profile: beam search of 4 against label scores",
        lambda: recognizer(clip(0), profile=profile, decoding="beam"),
        lambda: recognizer(clip(0), profile=profile),
    )


def profile(folder: Path) -> Ways:
    recognizer, enrollment = bundled(), enrolled(7)
    kept = recognizer.enroll(enrollment)
    return (
        "7 shots: enrollment of clips against a profile",
        lambda: recognizer(clip(0), enrollment=enrollment),
        lambda: recognizer(clip(0), profile=kept),
    )


def shots(folder: Path) -> Ways:
    recognizer = bundled()
    kept = recognizer.enroll(enrolled(7))
    return (
        "7 shots from a profile against none (1.0 would cost nothing)",
        lambda: recognizer(clip(0), profile=kept),
        lambda: recognizer(clip(0)),
    )


def episodes(folder: Path) -> Ways:
    model, processor = compose(save_whisper(folder / "whisper"), LABELS, speech_layer=6, num_query_tokens=8)
    corpus = Corpus(
        Utterance(clip(number), LABELS[number % 7], f"speaker {number // 14}", f"{number}.wav") for number in range(28)
    )
    items = EpisodeDataset(corpus, LABELS, shots=(0, 7), symbol_share=0.3)
    batch = [items[item] for item in range(8)]
    cached = EpisodeCollator(
        corpus, processor, model, FeatureCache(model, processor.feature_extractor, folder / "cache")
    )
    cached(batch)
    extractor = processor.feature_extractor

    def naive() -> None:
        """Each utterance of each episode is decoded and encoded."""
        for episode in batch:
            inputs = cached([episode])
            del inputs["speech_features"], inputs["speech_features_mask"]
            places = (*episode.enrollment, episode.target)
            heard = extractor([extractor.decode(corpus[place].audio) for place in places])
            inputs["utterance_index"] = torch.arange(len(places))[None]
            step(inputs | dict(heard))

    def step(inputs: dict[str, torch.Tensor]) -> None:
        with torch.enable_grad():
            model(**inputs).loss.backward()
        model.zero_grad()

    return (
        "stage 2, a batch of 8 episodes: each utterance encoded against cached and shared",
        naive,
        lambda: step(cached(batch)),
    )


def classification(folder: Path) -> Ways:
    config = AutoConfig.for_model("wav2vec2", num_labels=7)
    theirs = pipeline(
        "audio-classification",
        model=AutoModelForAudioClassification.from_config(config),
        feature_extractor=Wav2Vec2FeatureExtractor(),
        device="cpu",
    )
    waveform = soundfile.read(io.BytesIO(clip(0)), dtype="float32")[0]
    ours = bundled()
    return (
        "one 3 s clip: audio-classification with wav2vec2-base against this",
        lambda: theirs(waveform),
        lambda: ours(waveform),
    )


def int8(folder: Path) -> Ways:
    """Linear layers in int8. It changes answers, so that nothing of this package does so unasked."""
    plain, quantized = bundled(), bundled()
    quantized.model = quantize_dynamic(quantized.model, {torch.nn.Linear}, dtype=torch.qint8)
    return "one 3 s clip: float32 against int8", lambda: plain(clip(0)), lambda: quantized(clip(0))


def compiled(folder: Path) -> Ways:
    """The speech encoder, most of the work, by `torch.compile` and for one length: the best that it can do. Compiling
    takes two minutes, and one more when another length comes."""
    plain, faster = bundled(), bundled()
    encoder: Any = faster.model.get_encoder(modality="audio")
    encoder.compile()
    return "one 3 s clip: as it is against `torch.compile`", lambda: plain(clip(0)), lambda: faster(clip(0))


def batches(folder: Path) -> Ways:
    recognizer, clips = bundled(), [clip(number) for number in range(32)]
    return (
        "32 clips: one by one against a batch",
        lambda: [recognizer(one) for one in clips],
        lambda: recognizer(clips, batch_size=32),
    )


def cache(folder: Path) -> Ways:
    """Features as wide as the paper's, of clips of 0.5 to 4 s: 12 to 100 frames of 512."""
    rng = np.random.default_rng(0)
    shards, num_clips = FeatureShards(folder / "shards", 512), 2000
    entries = {rng.bytes(32): torch.zeros(int(length), 512).half() for length in rng.integers(12, 101, num_clips)}
    with shards.writer() as writer:
        for key, frames in entries.items():
            writer.add(key, frames)
            file = folder / "files" / key.hex()[:2] / f"{key.hex()}.safetensors"
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file({"features": frames}, file)
    keys, draw = list(entries), itertools.count(1)

    def drawn() -> list[bytes]:
        """Those of a batch of 64 episodes of 7 shots, most of them of other clips."""
        return [keys[place] for place in np.random.default_rng(next(draw)).integers(num_clips, size=400)]

    def files() -> None:
        for key in drawn():
            path = folder / "files" / key.hex()[:2] / f"{key.hex()}.safetensors"
            if path.exists():
                load_file(path)["features"]

    def mapped() -> None:
        batch = drawn()
        assert not shards.absent(batch)
        shards.read(batch)

    return "features of a batch, checked: a file a clip against shards", files, mapped


def bundled() -> EmoIclPipeline:
    recognizer: Any = load_pipeline("speech", torch.device("cpu"))
    return recognizer


def enrolled(number: int) -> list[dict[str, Any]]:
    return [{"audio": clip(100 + place), "label": LABELS[place % 7]} for place in range(number)]


MEASURES: dict[str, Callable[[Path], Ways]] = {
    "unpadded": unpadded,
    "scoring": scoring,
    "profile": profile,
    "shots": shots,
    "episodes": episodes,
    "classification": classification,
    "int8": int8,
    "compiled": compiled,
    "batches": batches,
    "cache": cache,
}


@torch.no_grad()
def measure(name: str, repeats: int) -> list[str]:
    """A row of the table. The two ways take turns, and the fastest of each counts, so that other work on the machine
    weighs on neither."""
    with tempfile.TemporaryDirectory() as folder:
        what, slow, fast = MEASURES[name](Path(folder))
        seconds: dict[Callable, list[float]] = {slow: [], fast: []}
        for _ in range(repeats + 1):
            for way, measured in seconds.items():
                start = time.process_time()
                way()
                measured.append(time.process_time() - start)
        # The first turn warms up.
        slowest, fastest = (min(measured[1:]) for measured in seconds.values())
    return [what, f"{1000 * slowest:.1f}", f"{1000 * fastest:.1f}", f"{slowest / fastest:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(MEASURES)}")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    # Time of the CPU, which what else runs on the machine does not change; with one thread it is how long it takes.
    torch.set_num_threads(1)
    rows = []
    for name in options.names or MEASURES:
        rows.append(measure(name, options.repeats))
        print(" | ".join(rows[-1]), flush=True)
    print()
    print(tabulate(rows, ["what", "slow, ms", "fast, ms", "ratio"], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
