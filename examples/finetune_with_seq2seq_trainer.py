"""Fine-tunes the bundled model `speech`, which learned from sentences, on vocal bursts, with the `Seq2SeqTrainer`
of transformers, unchanged: all it needs are a dataset of episodes, their collator, and a callback by which each
epoch draws other enrollments. Two people whom the model never heard tell what that changes."""

import torch
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

from emoicl import (
    Corpus,
    EmoIclForConditionalGeneration,
    EmoIclProcessor,
    EpisodeCollator,
    EpisodeDataset,
    EpochCallback,
    SpeechLmRecognizer,
    evaluate,
    load_corpus,
)
from emoicl.bundled import BUNDLED_CLIPS, SPEECH_MODEL


model = EmoIclForConditionalGeneration.from_pretrained(SPEECH_MODEL)
processor = EmoIclProcessor.from_pretrained(SPEECH_MODEL)
utterances = load_corpus(BUNDLED_CLIPS).utterances  # Any table with the columns audio, emotion, speaker_id.
training, held_out = Corpus(utterances[:126]), Corpus(utterances[126:])  # Six people, and two others.


def measure() -> dict[str, float]:
    """Accuracy of the held-out clips, averaged over speakers, without enrollment and with 3 shots."""
    report = evaluate(SpeechLmRecognizer(model.eval(), processor), held_out, shots=[0, 3], seeds=[0], controls=[])
    return {f"{shots}-shot": round(report.accuracy(shots).ua_spk, 3) for shots in (0, 3)}


before = measure()
episodes = EpisodeDataset(training, processor.candidate_labels, shots=(0, 7), symbol_share=0.3)
trainer = Seq2SeqTrainer(
    model=model,
    args=Seq2SeqTrainingArguments(
        "outputs/seq2seq",
        max_steps=60,
        per_device_train_batch_size=16,
        learning_rate=2e-3,
        logging_steps=10,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.accelerator.is_available(),  # On a CPU alone it would warn.
    ),
    train_dataset=episodes,
    data_collator=EpisodeCollator(training, processor, model),
    processing_class=processor,
    callbacks=[EpochCallback(episodes)],
)
trainer.train()
trainer.save_model("outputs/seq2seq/model")
print({"before": before, "after": measure()})
