"""MEAD: acted English of a talking-face corpus, eight emotions at three intensities."""

import re
from collections.abc import Iterator
from pathlib import Path

from emoicl.training.corpora.base import CorpusReader, Recording


CLIP = re.compile(r"(?P<speaker>(?P<gender>[MW])\d{3})/audio/(?P<emotion>\w+)/level_(?P<level>[123])/(?P<clip>\d{3})")
GENDERS = {"M": "male", "W": "female"}
INTENSITIES = {"1": "weak", "2": "medium", "3": "strong"}
NEUTRAL = "neutral"


class Mead(CorpusReader):
    """
    MEAD (Part 0): a folder for each actor, with `audio.tar` unpacked in it.

    A path is `{speaker}/audio/{emotion}/level_{intensity}/{clip}.m4a`; M are actors, W actresses; neutral has level 1
    only. **M4A is not read here**: convert the clips to `.wav` or `.flac` in the same folder, under the same name (for
    example with ffmpeg); the converted clip is then taken. Which sentence a number stands for is not said with the
    clips, so that there is no `sentence_id`. Source: the project page, README.md of the owners' repository, Wang et
    al. 2020; the folders as read by several public loaders.
    """

    name = "mead"
    pretty_name = "MEAD (audio)"
    license = "MEAD terms of use (research only)"
    license_url = "https://github.com/uniBruce/Mead"
    homepage = "https://wywu.github.io/projects/MEAD/MEAD.html"
    citation = """\
@inproceedings{wang2020mead,
  title = {{MEAD}: A Large-Scale Audio-Visual Dataset for Emotional Talking-Face Generation},
  author = {Wang, Kaisiyuan and Wu, Qianyi and Song, Linsen and Yang, Zhuoqian and Wu, Wayne and Qian, Chen and
            He, Ran and Qiao, Yu and Loy, Chen Change},
  booktitle = {European Conference on Computer Vision (ECCV)},
  pages = {700--717},
  year = {2020},
  doi = {10.1007/978-3-030-58589-1_42}
}"""
    languages = ("en",)
    elicitation = "acted"
    description = (
        "Actors and actresses (60, of whom a part is published) speak English sentences to cameras in eight emotions "
        "at three intensities."
    )
    label_meaning = (
        "The emotion that the actor was asked to show. Some sentences are of one emotion only: their words give it "
        "away."
    )
    label_map = {
        "angry": "anger",
        "contempt": "contempt",
        "disgusted": "disgust",
        "fear": "fear",
        "happy": "joy",
        "neutral": "neutral",
        "sad": "sadness",
        "surprised": "surprise",
    }
    layout = "a folder for each actor with files such as M003/audio/angry/level_1/001.m4a (or, converted, 001.wav)"
    ignored = {
        "[MW][0-9][0-9][0-9]/audio/*/level_[123]/[0-9][0-9][0-9].m4a": "converted to another format beside it",
        "*/video/*": "video",
    }

    def recordings(self) -> Iterator[Recording]:
        clips: dict[str, Path] = {}
        for path in self.files("*/audio/*/level_*/*"):
            clip = path.with_suffix("").as_posix()
            if clip not in clips or path.suffix != ".m4a":
                clips[clip] = path
        for clip, path in clips.items():
            match = CLIP.fullmatch(clip)
            if not match or match["emotion"] not in self.label_map:
                continue
            yield Recording(
                path=path.as_posix(),
                speaker_id=match["speaker"],
                native_label=match["emotion"],
                intensity="" if match["emotion"] == NEUTRAL else INTENSITIES[match["level"]],
                gender=GENDERS[match["gender"]],
                source_id=f"{match['speaker']}_{match['emotion']}_{match['level']}_{match['clip']}",
            )

    def read_audio(self, recording: Recording) -> bytes:
        """As the base class.

        Raises:
            `ValueError`: If the clip is M4A.
        """
        if recording.path.endswith(".m4a"):
            raise ValueError("m4a is not read here: convert it to wav or flac in the same folder, under the same name")
        return super().read_audio(recording)
