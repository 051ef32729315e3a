"""Which utterances enroll a speaker: the paper's SelectProcedure, for all nine of its settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np

from emoicl.training.data.corpus import Corpus


TargetControl = Literal["TU", "TO", "TE"]
LabelControl = Literal["LU", "LO", "LD"]


class EnrollmentError(ValueError):
    """A speaker has too few utterances for the enrollment that is asked for."""


@dataclass(frozen=True)
class EnrollmentSetting:
    """
    How the labels of an enrollment relate to the target's emotion and to each other.

    Args:
        target (`str`): `"TU"` (uncontrolled: the target's emotion may appear or not), `"TO"` (overlap: it appears at
            least once) or `"TE"` (exclusive: it does not appear).
        label (`str`): `"LU"` (uncontrolled), `"LO"` (overlap: all labels are the same) or `"LD"` (disjoint: all labels
            differ).
    """

    target: TargetControl = "TU"
    label: LabelControl = "LU"

    @classmethod
    def parse(cls, setting: "str | EnrollmentSetting") -> "EnrollmentSetting":
        """Read a setting as the paper writes it, `"TU+LD"`."""
        if isinstance(setting, EnrollmentSetting):
            return setting
        target, _, label = setting.partition("+")
        if target not in get_args(TargetControl) or label not in get_args(LabelControl):
            raise ValueError(f"{setting!r} is no enrollment setting; choose from {', '.join(map(str, SETTINGS))}.")
        return cls(cast(TargetControl, target), cast(LabelControl, label))

    def __str__(self) -> str:
        return f"{self.target}+{self.label}"


SETTINGS = tuple(
    EnrollmentSetting(target, label) for target in get_args(TargetControl) for label in get_args(LabelControl)
)


def select_enrollment(
    corpus: Corpus,
    target: int,
    k: int,
    setting: str | EnrollmentSetting = "TU+LU",
    seed: Sequence[int] = (0, 0, 0),
    speaker_id: str | None = None,
    label: str | None = None,
) -> list[int]:
    """
    Draw the enrollment of one target: k other utterances of its speaker, in random order.

    What the setting leaves open is drawn uniformly: with LU, every ordered choice of k utterances has the same
    probability; with LD, every ordered choice of k labels, then every utterance of each label; with LO, every label of
    which there are at least k utterances, then every ordered choice of k of them. TO draws from the same distributions
    under the condition that the target's emotion appears; TE after the target's emotion is taken away. With the same
    seed, a smaller k draws the beginning of a larger one for LU and LD with TU or TE, so that curves over k
    are smooth.

    Args:
        corpus ([`Corpus`]): The corpus. It holds no clip twice, so that other indices are other clips.
        target (`int`): Index of the target, which is never drawn.
        k (`int`): Number of shots. With 0, the enrollment is empty in every setting.
        setting (`str` or [`EnrollmentSetting`]): One of the nine settings, for example `"TU+LD"`.
        seed (`Sequence[int]`): Non-negative integers, usually (seed, epoch, item). The same seed draws the same
            enrollment in every process.
        speaker_id (`str`, *optional*): Enroll this speaker instead of the target's own (the control with another
            speaker's enrollment).
        label (`str`, *optional*): With TU+LO, the one emotion to enroll, as in the paper's Table III.

    Returns:
        `list[int]`: Indices of k different utterances.

    Raises:
        `EnrollmentError`: If the speaker lacks utterances or emotions for `setting`; the message says which.
        `ValueError`: If `k` or `target` is negative, `setting` is unknown, or `label` is given without TU+LO.
    """
    setting = EnrollmentSetting.parse(setting)
    if k < 0 or target < 0:
        raise ValueError(f"k and target count from 0, but are {k} and {target}.")
    speaker_id = speaker_id or corpus.speaker_ids[target]
    pool = _pool(corpus, target, setting, speaker_id, label)
    limit = _limit(corpus.labels[target], setting, pool)
    if k > limit:
        raise EnrollmentError(_explain(corpus, target, k, setting, speaker_id, label, limit))
    if k == 0:
        return []
    rng = np.random.default_rng(seed)
    enrollment = _draw(rng, pool, k, setting)
    # Redrawing until the condition holds gives exactly the distribution under that condition.
    while setting.target == "TO" and all(corpus.labels[i] != corpus.labels[target] for i in enrollment):
        enrollment = _draw(rng, pool, k, setting)
    return enrollment


def max_shots(
    corpus: Corpus,
    target: int,
    setting: str | EnrollmentSetting,
    speaker_id: str | None = None,
    label: str | None = None,
) -> int:
    """The largest k that [`select_enrollment`] can draw with the same arguments; every smaller k can be drawn too."""
    setting = EnrollmentSetting.parse(setting)
    pool = _pool(corpus, target, setting, speaker_id or corpus.speaker_ids[target], label)
    return _limit(corpus.labels[target], setting, pool)


def speaker_max_shots(corpus: Corpus, speaker_id: str) -> dict[str, int]:
    """For each of the nine settings, the largest k that every utterance of a speaker can be given as a target."""
    # All targets of one emotion have the same limits.
    targets = {corpus.labels[index]: index for index in corpus.by_speaker[speaker_id]}.values()
    return {str(setting): min(max_shots(corpus, target, setting) for target in targets) for setting in SETTINGS}


def _pool(
    corpus: Corpus, target: int, setting: EnrollmentSetting, speaker_id: str, label: str | None
) -> dict[str, np.ndarray]:
    """The utterances that may be drawn, by label, in the order in which these come first."""
    if label is not None and str(setting) != "TU+LO":
        raise ValueError(f"label={label!r} fixes the one emotion of TU+LO; it has no meaning with {setting}.")
    if speaker_id not in corpus.by_speaker:
        raise EnrollmentError(f"The corpus has no speaker {speaker_id!r}.")
    only = corpus.labels[target] if str(setting) == "TO+LO" else label
    emotion = corpus.labels[target]
    pool = {}
    for of_label, indices in corpus.by_label[speaker_id].items():
        others = indices[indices != target] if of_label == emotion else indices
        if len(others) and only in (None, of_label) and not (setting.target == "TE" and of_label == emotion):
            pool[of_label] = others
    return dict(sorted(pool.items(), key=lambda item: item[1][0]))


def _limit(emotion: str, setting: EnrollmentSetting, pool: dict[str, np.ndarray]) -> int:
    if setting.target == "TO" and emotion not in pool:
        return 0
    if setting.label == "LD":
        return len(pool)
    sizes = [len(indices) for indices in pool.values()]
    return sum(sizes) if setting.label == "LU" else max(sizes, default=0)


def _draw(rng: np.random.Generator, pool: dict[str, np.ndarray], k: int, setting: EnrollmentSetting) -> list[int]:
    if setting.label == "LU":
        return rng.permutation(np.concatenate(list(pool.values())))[:k].tolist()
    if setting.label == "LD":
        labels = rng.permutation(list(pool)).tolist()[:k]
        return [int(rng.choice(pool[label])) for label in labels]
    eligible = [label for label in pool if len(pool[label]) >= k]
    return rng.permutation(pool[rng.choice(eligible)])[:k].tolist()


def _explain(
    corpus: Corpus, target: int, k: int, setting: EnrollmentSetting, speaker_id: str, label: str | None, limit: int
) -> str:
    emotion = corpus.labels[target]
    needs = {
        "TU+LU": "other utterances",
        "TU+LO": f"other utterances of {label or 'one emotion'}",
        "TU+LD": "emotions among the other utterances",
        "TO+LU": f"other utterances, at least one of them {emotion}",
        "TO+LO": f"other utterances of {emotion}",
        "TO+LD": f"emotions among the other utterances, one of them {emotion}",
        "TE+LU": f"utterances of emotions other than {emotion}",
        "TE+LO": f"utterances of one emotion other than {emotion}",
        "TE+LD": f"emotions other than {emotion}",
    }[str(setting)]
    has = f"no other utterance of {emotion}" if setting.target == "TO" and not limit else limit
    return f"{corpus[target].name}: {setting} with k={k} needs {k} {needs}; speaker {speaker_id} has {has}."
