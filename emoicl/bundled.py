"""What comes with the package: a small trained checkpoint, and clips of speakers that it was not trained on."""

from pathlib import Path


ASSETS = Path(__file__).parent / "assets"

# Two tuned layers of Whisper-base's encoder and a small language model, by `emoicl train base-emogator`.
BUNDLED_MODEL = ASSETS / "base-emogator"

# Seven emotions of 8 test speakers of EmoGator (Buhl 2023, Apache-2.0).
BUNDLED_CLIPS = ASSETS / "emogator" / "clips.parquet"
