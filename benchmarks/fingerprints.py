"""How many copies of recordings are known again by their fingerprints, and how many others are taken for copies.

python benchmarks/fingerprints.py
python benchmarks/fingerprints.py --corpus TABLE TABLE --clips 300

Copies are encoded, sent over a telephone line, half as loud, shifted or cut. Pairs are of one speaker.
"""

import argparse
import io
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
import soundfile
from scipy.signal import resample_poly
from tabulate import tabulate
from tqdm.auto import tqdm

from emoicl import load_corpus
from emoicl.bundled import BUNDLED_CLIPS
from emoicl.processing import decode_audio
from emoicl.processing.fingerprint_emoicl import fingerprint, is_same_fingerprint


RATE = 16000
TELEPHONE_RATE = 8000


def encode(format: str, subtype: str, compression_level: float | None = None) -> Callable[[np.ndarray], np.ndarray]:
    def encoded(waveform: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        soundfile.write(file, waveform, RATE, subtype, format=format, compression_level=compression_level)
        return decode_audio(file.getvalue(), RATE)

    return encoded


def telephone(waveform: np.ndarray) -> np.ndarray:
    """As G.711 has it: 8 kHz, mu-law."""
    file = io.BytesIO()
    soundfile.write(file, resample_poly(waveform, TELEPHONE_RATE, RATE), TELEPHONE_RATE, "ULAW", format="WAV")
    return decode_audio(file.getvalue(), RATE)


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "MP3": encode("MP3", "MPEG_LAYER_III"),
    "MP3, lowest quality": encode("MP3", "MPEG_LAYER_III", compression_level=0.99),
    "Opus": encode("OGG", "OPUS"),
    "Vorbis": encode("OGG", "VORBIS"),
    "telephone": telephone,
    "half as loud": lambda waveform: 0.5 * waveform,
    "shifted by 1 sample": lambda waveform: waveform[1:],
    "shifted by 10 ms": lambda waveform: waveform[RATE // 100 :],
    "cut by 50 ms": lambda waveform: waveform[RATE // 20 :],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", nargs="+", default=[str(BUNDLED_CLIPS)], help="tables")
    parser.add_argument("--clips", type=int, default=100, help="of each table, at most")
    options = parser.parse_args()
    missed: Counter[str] = Counter()
    known_of: dict[str, list[str]] = defaultdict(list)
    num_clips = num_without = 0
    for table in options.corpus:
        corpus = load_corpus(table)
        clips = list(zip(corpus, corpus.speaker_ids, strict=True))[: options.clips]
        for clip, speaker in tqdm(clips, table, unit="clip", disable=None):
            waveform = decode_audio(clip.audio, RATE, clip.name)
            if not (known := fingerprint(waveform)):
                num_without += 1
                continue
            num_clips += 1
            known_of[speaker].append(known)
            for name, copy in COPIES.items():
                missed[name] += not is_same_fingerprint(known, fingerprint(copy(waveform)))
    pairs = [pair for known in known_of.values() for pair in itertools.combinations(known, 2)]
    confused = sum(is_same_fingerprint(*pair) for pair in pairs)
    rows = [[name, num_clips, missed[name]] for name in COPIES]
    rows.append(["all copies", num_clips * len(COPIES), missed.total()])
    print(tabulate(rows, headers=["copy", "clips", "not known again"], tablefmt="github"))
    print(f"\n{confused} of {len(pairs)} pairs of one speaker are taken for copies; {num_without} clips have none.")


if __name__ == "__main__":
    main()
