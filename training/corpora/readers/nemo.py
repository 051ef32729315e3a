"""nEMO: acted Polish of nine speakers, 90 sentences in six emotions."""

from collections.abc import Iterator

from emoicl.training.corpora.base import CorpusReader, Recording, read_rows


TABLE = "data.tsv"
COLUMNS = ("file_id", "emotion", "raw_text", "speaker_id", "gender", "age")


class Nemo(CorpusReader):
    """
    nEMO as its git repository has it: `data.tsv`, and the clips in `samples`.

    A name is `{speaker_id}_{emotion}_{sentence_id}.wav`; all but the sentence is in the table too, whose speakers have
    blanks before them. Source: README.md of the owners' repository.
    """

    name = "nemo"
    pretty_name = "nEMO"
    license = "CC-BY-NC-SA-4.0"
    license_url = "https://creativecommons.org/licenses/by-nc-sa/4.0/"
    homepage = "https://github.com/amu-cai/nEMO"
    hub_id = "amu-cai/nEMO"
    citation = """\
@inproceedings{christop2024nemo,
  title = {{nEMO}: Dataset of Emotional Speech in {Polish}},
  author = {Christop, Iwona},
  booktitle = {Proceedings of the 2024 Joint International Conference on Computational Linguistics, Language Resources
               and Evaluation (LREC-COLING 2024)},
  pages = {12111--12116},
  year = {2024},
  url = {https://aclanthology.org/2024.lrec-main.1059}
}"""
    languages = ("pl",)
    elicitation = "acted"
    description = (
        "Nine native speakers of Polish (4 women, 5 men, 23 to 28 years) act 90 sentences, chosen to cover the sounds "
        "of Polish, in six emotions."
    )
    label_meaning = "The emotion that the speaker was asked to show."
    label_map = {
        "anger": "anger",
        "fear": "fear",
        "happiness": "joy",
        "neutral": "neutral",
        "sadness": "sadness",
        "surprised": "surprise",
    }
    layout = "data.tsv, and samples/EB0_anger_1.wav and so on"
    required = (TABLE, "samples")

    def recordings(self) -> Iterator[Recording]:
        rows = read_rows(self.source / TABLE, COLUMNS, delimiter="\t")
        for number, row in enumerate(rows, start=1):
            clip = row["file_id"].removesuffix(".wav")
            speaker, emotion, sentence = (clip.split("_") + ["", ""])[:3]
            if (speaker, emotion) != (row["speaker_id"], row["emotion"]):
                raise ValueError(
                    f"{self.source / TABLE}: row {number}, {clip}, is of speaker {row['speaker_id']} and emotion "
                    f"{row['emotion']}; its name says otherwise."
                )
            yield Recording(
                path=f"samples/{clip}.wav",
                speaker_id=speaker,
                native_label=emotion,
                sentence_id=sentence,
                gender=row["gender"],
                age=row["age"],
                text=row["raw_text"],
            )
