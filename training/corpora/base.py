"""What is known of a corpus as its owners ship it: one small class for each, behind one interface."""

import csv
import io
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Literal


PAPER_LABELS = ("neutral", "surprise", "sadness", "joy", "fear", "disgust", "anger")

# Formats that no library here reads are among them, so that such files are named rather than passed over.
AUDIO_SUFFIXES = frozenset(
    """
    .wav .wave .w64 .rf64 .flac .ogg .oga .opus .spx .mp3 .mp2 .mpga .mpeg .aif .aiff .aifc .au .snd .caf .m4a .m4b
    .aac .mp4 .3gp .webm .mka .wma .amr .sph .nist
    """.split()
)
GENDERS = ("", "female", "male", "other")


@dataclass(frozen=True, slots=True)
class Recording:
    """
    One clip that a corpus should hold, and all that its owners say of it. What they do not say is empty.

    Args:
        path (`str`): The audio file, relative to the corpus's folder, with `/` between folders.
        speaker_id (`str`): The owners' own name of the speaker, for example `"03"`. Prepared, it is `"emodb/03"`.
        native_label (`str`): The emotion as the owners write it, a key of the corpus's `label_map`.
        sentence_id (`str`, *optional*, defaults to `""`): What is the same in all clips of the same words.
        take (`str`, *optional*, defaults to `""`): Tells re-takes of one sentence and emotion by one speaker apart.
        intensity (`str`, *optional*, defaults to `""`): How strongly the emotion was to be shown, in a word.
        gender (`str`, *optional*, defaults to `""`): `"female"`, `"male"`, `"other"` or unknown.
        age (`str`, *optional*, defaults to `""`): In years, or the owners' age group.
        text (`str`, *optional*, defaults to `""`): The words that are spoken.
        votes (`Mapping[str, float]`, *optional*): Soft label: how many listeners chose each native label from the
            sound alone.
        source_id (`str`, *optional*, defaults to the file name without its extension): Name of the clip, unique in its
            corpus. To be given where file names repeat from folder to folder.

    Raises:
        `ValueError`: If the speaker or the label is empty, or the gender is another word.
    """

    path: str
    speaker_id: str
    native_label: str
    sentence_id: str = ""
    take: str = ""
    intensity: str = ""
    gender: str = ""
    age: str = ""
    text: str = ""
    votes: Mapping[str, float] | None = None
    source_id: str = ""

    def __post_init__(self):
        if not (self.speaker_id and self.native_label):
            raise ValueError(f"{self.path}: a recording has a speaker and a label; these are {self!r}.")
        if self.gender not in GENDERS:
            raise ValueError(f"{self.path}: gender is female, male, other or empty, not {self.gender!r}.")
        if not self.source_id:
            object.__setattr__(self, "source_id", Path(self.path).stem)


class CorpusReader(ABC):
    """
    A corpus in the folder in which its owners ship it.

    A subclass states the class attributes and writes [`~CorpusReader.recordings`]; its docstring names the page,
    README or paper that the layout and the codes are taken from. It neither opens nor checks audio: [`prepare`] does,
    and tells what is missing (listed here, not in the folder), unlisted (audio in the folder, not listed here) and
    unreadable.

    Args:
        source (`str` or `Path`): The folder, unpacked and otherwise untouched.

    Attributes:
        name (`str`): What the command line calls the corpus, and the `corpus` column: lower case, no spaces.
        pretty_name (`str`): What people call it.
        license (`str`): SPDX identifier (`"CC-BY-NC-SA-4.0"`), or the name of the owners' own terms.
        license_url (`str`): Where the terms are read.
        homepage (`str`): Where the corpus is asked for or downloaded.
        hub_id (`str`): Name of the owners' data set on the Hub; empty if it is not there.
        citation (`str`): BibTeX.
        languages (`tuple[str, ...]`): BCP-47 codes of what is spoken; empty for non-speech vocalizations.
        elicitation (`str`): `"acted"`, `"induced"` or `"natural"`; `"unknown"` for a corpus of the user's own.
        description (`str`): Who was recorded, how, and how the emotions were elicited: one to three sentences.
        label_meaning (`str`): What a label states: the emotion an actor was asked for, what listeners heard, ...
        label_map (`Mapping[str, str]`): From native labels to lower-case words. The paper's seven are `neutral`,
            `surprise`, `sadness`, `joy`, `fear`, `disgust`, `anger`; every other class stays itself (`calm`,
            `boredom`, `contempt`). Two native labels share a word only if they mean the same.
        layout (`str`): What the folder holds, for messages: `"Actor_01/03-01-01-01-01-01-01.wav, ..."`.
        required (`tuple[str, ...]`): Files and folders without which this is not the corpus's folder. If they are all
            in a folder within the given one, that is taken.
        clip_name (`re.Pattern`, *optional*): What all of a clip's file name without its extension is like, of a corpus
            whose clips are found by their names in whatever folders ([`~CorpusReader.clips`]).
        beside (`Mapping[str, str]`): Files that tell more of the clips than their names, with what is unknown without
            them. They may be in any folder ([`~CorpusReader.find`]); those that are not there are named as missing.
        num_recordings (`int`, *optional*): The owners' own count, for a corpus whose `recordings` come from the files
            that are there, so that missing files show in the number. Not for those that come from a table or a design.
        ignored (`Mapping[str, str]`): Shell patterns of relative paths that belong to the owners' folder but not to
            this corpus, with the reason: `{"*/03-02-*": "song"}`. Such files are counted, and are not unlisted.
        flawed (`Mapping[str, str]`): `source_id`s that the owners declare unusable, with what they say. Such clips are
            left out and named.
        has_votes (`bool`): Whether recordings may have `votes`.

    Raises:
        `ValueError`: If the folder is not there, lacks what is `required` or has no clip.
    """

    name: str
    pretty_name: str
    license: str
    license_url: str
    homepage: str
    hub_id: str = ""
    citation: str
    languages: tuple[str, ...]
    elicitation: Literal["acted", "induced", "natural", "unknown"]
    description: str
    label_meaning: str
    label_map: Mapping[str, str]
    layout: str
    required: tuple[str, ...] = ()
    clip_name: re.Pattern[str] | None = None
    beside: Mapping[str, str] = {}
    num_recordings: int | None = None
    ignored: Mapping[str, str] = {}
    flawed: Mapping[str, str] = {}
    has_votes: bool = False

    def __init__(self, source: str | Path):
        self.source = Path(source)
        if not self.source.is_dir():
            raise ValueError(
                f"{self.source}: there is no such folder. {self.pretty_name} is had from {self.homepage}."
            )
        self.source = self._innermost(self.source)
        if self.clip_name and not self.clips:
            raise ValueError(
                f"{self.source}: no audio file here or below has a name of {self.pretty_name}, which holds "
                f"{self.layout}."
            )

    def _innermost(self, source: Path) -> Path:
        """The folder with all that is required: the given one, or one that it was packed into."""
        if not (absent := self._lacks(source)):
            return source
        within = [path for depth in ("*", "*/*") for path in sorted(source.glob(depth)) if path.is_dir()]
        complete = [path for path in within if not self._lacks(path)]
        if not complete:
            raise ValueError(
                f"{source}: lacks {', '.join(absent)}. {self.pretty_name}, as its owners ship it, holds {self.layout}."
            )
        if len(complete) > 1:
            raise ValueError(
                f"{source}: holds {self.pretty_name} more than once, in {', '.join(map(str, complete))}; name one."
            )
        return complete[0]

    def _lacks(self, folder: Path) -> list[str]:
        return [name for name in self.required if not (folder / name).exists()]

    @abstractmethod
    def recordings(self) -> Iterator[Recording]:
        """
        Every recording that should be there, in an order that depends on nothing but the folder.

        Where the owners list their files (a table) or the design is complete (every speaker x sentence x emotion), the
        recordings come from that, whether or not the files exist: a file that does not is then named as missing. Else
        they come from the names of the files that are there ([`~CorpusReader.files`]); a name that is not understood
        is passed over, and so named as unlisted.

        Raises:
            `ValueError`: If a table cannot be read or contradicts itself.
        """

    def speaker_lists(self) -> dict[str, list[str]]:
        """The owners' own division of the speakers, named as in the tables; empty where they give none. [`prepare`]
        writes it as `speakers.json`, which `emoicl corpus split --speakers` reads.

        Returns:
            `dict[str, list[str]]`: speakers of `"train"`, `"validation"` and `"test"`.
        """
        return {}

    def files(self, pattern: str = "**/*") -> Iterator[Path]:
        """Audio files that are there, relative to the folder and sorted. Hidden files and `__MACOSX` are left out."""
        paths = files_below(self.source) if pattern == "**/*" else sorted(self.source.glob(pattern))
        for path in paths:
            relative = path.relative_to(self.source)
            if is_audio(path) and not any(map(is_hidden, relative.parts)):
                yield relative

    def name_of(self, path: Path) -> str:
        """What a file is called as a clip, for example by folder and file name; empty if it is none of the corpus."""
        return path.stem if self.clip_name and self.clip_name.fullmatch(path.stem) else ""

    @cached_property
    def clips(self) -> dict[str, str]:
        """Paths of the clips that are there by their names ([`~CorpusReader.name_of`]), whatever folders they are in.
        Of several files of one name, the uppermost is taken."""
        clips: dict[str, str] = {}
        for path in sorted(self.files(), key=lambda path: len(path.parts)):
            if not self.reason_to_ignore(path.as_posix()) and (name := self.name_of(path)):
                clips.setdefault(name, path.as_posix())
        return dict(sorted(clips.items()))

    def reason_to_ignore(self, path: str) -> str:
        """Why a file is `ignored`; empty if it is not."""
        return next((reason for pattern, reason in self.ignored.items() if fnmatchcase(path, pattern)), "")

    @cached_property
    def _uppermost(self) -> dict[str, Path]:
        paths = sorted(files_below(self.source), key=lambda path: (len(path.parts), path), reverse=True)
        return {path.name: path for path in paths}

    def find(self, name: str) -> Path | None:
        """A file of this name in the folder or below, the uppermost if there are several."""
        return self._uppermost.get(name)

    def absent(self) -> dict[str, str]:
        """The files of `beside` that are not there, with what is unknown without them."""
        return {name: unknown for name, unknown in self.beside.items() if self.find(name) is None}

    def read_audio(self, recording: Recording) -> bytes:
        """The encoded clip, exactly as the owners ship it.

        Raises:
            `FileNotFoundError`: If it is missing.
        """
        return (self.source / recording.path).read_bytes()

    def version(self, recording: Recording) -> str:
        """Changes when the clip does: tells whether an interrupted preparation may go on. Empty if it is missing."""
        return file_version(self.source / recording.path)

    def harmonize(self, native_label: str) -> str:
        """The word of `label_map` for a native label.

        Raises:
            `ValueError`: If the label is unknown.
        """
        if native_label not in self.label_map:
            known = ", ".join(self.label_map)
            raise ValueError(f"{self.pretty_name} has no label {native_label!r}; it has {known}.")
        return self.label_map[native_label]


def files_below(folder: Path) -> list[Path]:
    """
    The files in a folder and all below it, sorted; hidden ones and `__MACOSX` are left out. Links to folders are
    followed, for corpora often lie on another disk, but what they lead to is gone through once.

    Raises:
        `ValueError`: If a folder cannot be read: its files would be passed over.
    """

    def refuse(error: OSError) -> None:
        raise ValueError(f"{error.filename}: the folder cannot be read: {error.strerror}") from error

    found: list[Path] = []
    pending, seen = [folder], set()
    # Links last, so that of two ways to a folder the one without them is taken.
    while pending:
        for parent, folders, names in os.walk(pending.pop(0), onerror=refuse):
            if (real := os.path.realpath(parent)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            pending += [path for name in folders if (path := Path(parent, name)).is_symlink()]
            found += [Path(parent, name) for name in names if not is_hidden(name)]
    return sorted(found)


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def is_audio(path: Path) -> bool:
    """Whether a path is that of an audio file by its name, or of a link that is named so and leads nowhere."""
    return path.suffix.lower() in AUDIO_SUFFIXES and (path.is_file() or (path.is_symlink() and not path.exists()))


def file_version(path: Path) -> str:
    """Size and time of change of a file; empty if it is missing, or a link that leads to itself."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def read_text(path: Path, encodings: Sequence[str] = ("utf-8-sig",)) -> str:
    """
    Reads a text file in the first encoding that fits; UTF-16 is told by its byte-order mark.

    Args:
        path (`Path`): The file.
        encodings (`Sequence[str]`, *optional*, defaults to `("utf-8-sig",)`): What to try, in this order.

    Returns:
        `str`: The text.

    Raises:
        `ValueError`: If the file is not there, or is in none of the encodings.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file.")
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ("utf-16",)
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise ValueError(f"{path}: is not text in {' or '.join(encodings)}.")


def read_rows(
    path: Path, columns: Sequence[str], delimiter: str = ",", encodings: Sequence[str] = ("utf-8-sig",)
) -> list[dict[str, str]]:
    """
    Reads a table that has a header. Values lose the blanks around them.

    Args:
        path (`Path`): The file.
        columns (`Sequence[str]`): Columns that must be there.
        delimiter (`str`, *optional*, defaults to `","`): What separates values.
        encodings (`Sequence[str]`, *optional*, defaults to `("utf-8-sig",)`): See [`read_text`].

    Returns:
        `list[dict[str, str]]`: The rows, each with all columns of the table.

    Raises:
        `ValueError`: If the file cannot be read, has no rows, lacks a column, or has a row of another length.
    """
    # In tab-separated tables, quotation marks are what was said.
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    reader = csv.DictReader(io.StringIO(read_text(path, encodings), newline=""), delimiter=delimiter, quoting=quoting)
    rows = list(reader)
    names = [name.strip() for name in reader.fieldnames or ()]
    if missing := [name for name in columns if name not in names]:
        raise ValueError(f"{path}: lacks the columns {missing}; it has {names}.")
    if not rows:
        raise ValueError(f"{path}: the table has no rows.")
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise ValueError(
                f"{path}: row {number} has another number of values than the header: {list(row.values())}."
            )
    return [{name.strip(): value.strip() for name, value in row.items()} for row in rows]
