import torch
from synthetic_voices import HIDDEN_SIZE, voices

from emoicl.training.systems.initialization import fit_feature_normalization


def test_features_are_normalized(composed):
    model, _ = composed
    corpus, features = voices(5)
    for name, frames in features.frames.items():
        features.frames[name] = frames * torch.linspace(1, 30, HIDDEN_SIZE) + 2
    fit_feature_normalization(model, corpus, features)
    frames = (
        torch.cat(list(features.frames.values())) * model.model.qformer.feature_scale
        + model.model.qformer.feature_shift
    )
    frames = frames.detach()
    torch.testing.assert_close(frames.mean(0), torch.zeros(HIDDEN_SIZE), rtol=0, atol=1e-4)
    torch.testing.assert_close(frames.std(0), torch.ones(HIDDEN_SIZE), rtol=1e-3, atol=0)
