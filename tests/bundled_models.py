"""What tests of the bundled models need: `from bundled_models import needs_bundled`."""

import pytest

from emoicl.bundled import BUNDLED_CLIPS, BUNDLED_MODELS


needs_bundled = pytest.mark.skipif(
    not all(path.is_file() for path in [BUNDLED_CLIPS, *(model / "config.json" for model in BUNDLED_MODELS.values())]),
    reason="needs the bundled models and clips",
)
