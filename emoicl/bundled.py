"""What comes with the package: two small trained checkpoints, and clips of speakers that they were not trained on."""

import re
from difflib import get_close_matches
from pathlib import Path


ASSETS = Path(__file__).parent / "assets"

# Of acted sentences (RAVDESS and nEMO: CC BY-NC-SA 4.0, non-commercial), by `emoicl train speech`. The default.
SPEECH_MODEL = ASSETS / "speech"

# Of vocal bursts such as laughs, sighs and gasps (EmoGator: Apache-2.0), by `emoicl train bursts`.
BURSTS_MODEL = ASSETS / "bursts"

# By the names that the command line and `load_pipeline` take, the default first.
BUNDLED_MODELS = {"speech": SPEECH_MODEL, "bursts": BURSTS_MODEL}
DEFAULT_MODEL = "speech"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)

# Seven emotions of 8 test speakers of EmoGator (Buhl 2023, Apache-2.0).
BUNDLED_CLIPS = ASSETS / "emogator" / "clips.parquet"


def find_model(model: str | Path | None = None) -> str:
    """
    What a model is loaded from.

    Args:
        model (`str` or `Path`, *optional*): `"speech"`, the default, or `"bursts"` for a bundled model, or a folder
            or Hub name. A folder that is called so is `"./speech"`, or a `Path`.

    Returns:
        `str`: Folder or Hub name.

    Raises:
        `ValueError`: If it is none of these, which needs no network to tell.
    """
    if isinstance(model, Path):
        return str(model)
    name = DEFAULT_MODEL if model is None else model
    if name in BUNDLED_MODELS:
        return str(BUNDLED_MODELS[name])
    if not Path(name).is_dir() and not HUB_NAME.fullmatch(name):
        close = get_close_matches(name, BUNDLED_MODELS, n=1)
        question = f" (did you mean {close[0]}?)" if close else ""
        raise ValueError(
            f"There is no model {name!r}{question}: it is {' or '.join(BUNDLED_MODELS)}, a folder, or a Hub name such "
            "as my-org/my-model."
        )
    return name
