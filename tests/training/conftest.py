import pytest
from tiny_corpus import compose_tiny, save_tiny_whisper, tiny_corpus

from emoicl.training.data.features import FeatureCache


@pytest.fixture(scope="session")
def whisper(tmp_path_factory):
    """Folder of a tiny pretrained speech encoder."""
    return save_tiny_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="session")
def corpus():
    return tiny_corpus()


@pytest.fixture
def composed(whisper):
    """A tiny model, new for each test, and its processor."""
    return compose_tiny(whisper)


@pytest.fixture
def features(composed, tmp_path):
    model, processor = composed
    return FeatureCache(model, processor.feature_extractor, tmp_path / "cache")
