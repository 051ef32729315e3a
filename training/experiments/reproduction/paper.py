"""The numbers of the paper: UA_spk on its 79 unseen speakers, and its spread over them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperRow:
    """
    A row of Table II.

    Args:
        ua_spk (`float`): Accuracy of each speaker, averaged over speakers.
        std (`float`): Its standard deviation over speakers.
        median (`float`): Its median.
        max (`float`): That of the best speaker.
        min (`float`): That of the worst speaker.
    """

    ua_spk: float
    std: float
    median: float
    max: float
    min: float


# By system and number of shots.
TABLE_II = {
    ("scratch", 0): PaperRow(0.482, 0.099, 0.473, 0.711, 0.277),
    ("pretrained", 0): PaperRow(0.550, 0.114, 0.559, 0.854, 0.289),
    ("personalized_n", 1): PaperRow(0.595, 0.108, 0.611, 0.846, 0.346),
    ("personalized_a", 7): PaperRow(0.626, 0.109, 0.633, 0.866, 0.346),
    ("zero_shot", 0): PaperRow(0.675, 0.110, 0.684, 0.874, 0.403),
    ("one_shot_n", 1): PaperRow(0.680, 0.102, 0.690, 0.897, 0.400),
    ("proposed", 0): PaperRow(0.664, 0.113, 0.661, 0.900, 0.374),
    ("proposed", 1): PaperRow(0.698, 0.099, 0.707, 0.911, 0.411),
    ("proposed", 2): PaperRow(0.717, 0.102, 0.723, 0.926, 0.420),
    ("proposed", 3): PaperRow(0.732, 0.097, 0.739, 0.949, 0.446),
    ("proposed", 4): PaperRow(0.738, 0.096, 0.746, 0.943, 0.426),
    ("proposed", 5): PaperRow(0.747, 0.098, 0.763, 0.954, 0.454),
    ("proposed", 6): PaperRow(0.752, 0.097, 0.760, 0.960, 0.460),
    ("proposed", 7): PaperRow(0.757, 0.098, 0.766, 0.957, 0.471),
}

# UA_spk of the proposed system by setting, from 1 shot on. "TU+LO Anger" enrolls nothing but anger.
TABLE_III = {
    "TU+LD": (0.698, 0.717, 0.732, 0.738, 0.747, 0.752),
    "TU+LU": (0.698, 0.715, 0.726, 0.734, 0.740, 0.744),
    "TE+LD": (0.692, 0.706, 0.718, 0.726, 0.734, 0.740),
    "TE+LU": (0.692, 0.708, 0.714, 0.721, 0.727, 0.727),
    "TU+LO Anger": (0.695, 0.705, 0.709, 0.712),
    "TU+LO Disgust": (0.696, 0.703, 0.705, 0.708),
    "TU+LO Fear": (0.704, 0.712, 0.717, 0.716),
    "TU+LO Joy": (0.699, 0.711, 0.716, 0.721),
    "TU+LO Sadness": (0.702, 0.709, 0.711, 0.710),
    "TU+LO Surprise": (0.703, 0.711, 0.716, 0.720),
    "TU+LO Neutral": (0.690, 0.696, 0.700, 0.699),
}

# UA_spk by system and setting, from 1 shot on: the systems differ in the enrollments of their meta-training.
TABLE_IV = {
    ("proposed", "TU+LD"): (0.698, 0.717, 0.732, 0.738, 0.747, 0.752, 0.757),
    ("to_ld_7", "TU+LD"): (0.563, 0.621, 0.659, 0.659, 0.721, 0.746, 0.764),
    ("neutral_0_7", "TU+LD"): (0.639, 0.638, 0.640, 0.643, 0.643, 0.642, 0.642),
    ("proposed", "TU+LO Neutral"): (0.690, 0.696, 0.700, 0.699),
    ("to_ld_7", "TU+LO Neutral"): (0.516, 0.512, 0.508, 0.506),
    ("neutral_0_7", "TU+LO Neutral"): (0.677, 0.684, 0.688, 0.689),
}
