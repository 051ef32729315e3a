"""Fine-tunes the bundled model with the `Seq2SeqTrainer` of transformers, unchanged: all it needs are a dataset of
episodes, their collator, and a callback by which each epoch draws other enrollments."""

from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, pipeline

from emoicl import (
    TASK,
    EmoIclForConditionalGeneration,
    EmoIclProcessor,
    EpisodeCollator,
    EpisodeDataset,
    EpochCallback,
    load_corpus,
)
from emoicl.bundled import BUNDLED_CLIPS, BURSTS_MODEL


model = EmoIclForConditionalGeneration.from_pretrained(BURSTS_MODEL)
processor = EmoIclProcessor.from_pretrained(BURSTS_MODEL)
corpus = load_corpus(BUNDLED_CLIPS)  # Any table with the columns audio, emotion, speaker_id.
episodes = EpisodeDataset(corpus, processor.candidate_labels, shots=(0, 7), symbol_share=0.3)
trainer = Seq2SeqTrainer(
    model=model,
    args=Seq2SeqTrainingArguments("outputs/seq2seq", max_steps=4, remove_unused_columns=False),
    train_dataset=episodes,
    data_collator=EpisodeCollator(corpus, processor, model),
    processing_class=processor,
    callbacks=[EpochCallback(episodes)],
)
trainer.train()
trainer.save_model("outputs/seq2seq/model")

target, *shots = corpus.utterances[:8]
enrollment = [{"audio": shot.audio, "label": shot.label} for shot in shots]
print(pipeline(TASK, model="outputs/seq2seq/model")(target.audio, enrollment=enrollment))
