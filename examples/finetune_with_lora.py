"""Fine-tunes the bundled model `speech`, which learned from sentences, on vocal bursts, with low-rank adapters
(LoRA) of its language model alone, by peft (extra `lora`): the adapter is small, loads onto the model it was made
for, and can be merged into a plain checkpoint. Two people whom it never heard tell what that changes."""

from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model

from emoicl import (
    Corpus,
    EmoIclForConditionalGeneration,
    EmoIclProcessor,
    MetaIclTrainer,
    MetaIclTrainingArguments,
    SpeechLmRecognizer,
    evaluate,
    load_corpus,
)
from emoicl.bundled import BUNDLED_CLIPS, SPEECH_MODEL


model = EmoIclForConditionalGeneration.from_pretrained(SPEECH_MODEL)
processor = EmoIclProcessor.from_pretrained(SPEECH_MODEL)
utterances = load_corpus(BUNDLED_CLIPS).utterances  # Any table with the columns audio, emotion, speaker_id.
training, held_out = Corpus(utterances[:126]), Corpus(utterances[126:])  # Six people, and two others.


def measure(model: Any) -> dict[str, float]:
    """Negative log-likelihood of the held-out clips without enrollment and with 3 shots: the lower, the better."""
    report = evaluate(SpeechLmRecognizer(model.eval(), processor), held_out, shots=[0, 3], seeds=[0], controls=[])
    return {f"{shots}-shot": round(report.label_scores(shots)["nll"], 3) for shots in (0, 3)}


before = measure(model)
attention = r".*language_model\..*\.(q|k|v|o)"  # As T5 calls them; other language models have other names.
adapted: Any = get_peft_model(model, LoraConfig(r=8, target_modules=attention))
trainer = MetaIclTrainer(
    model=adapted,
    args=MetaIclTrainingArguments(
        "outputs/lora", max_steps=60, per_device_train_batch_size=16, learning_rate=1e-2, logging_steps=10
    ),
    train_dataset=training,
    processing_class=processor,
)
trainer.train()
trainer.save_model("outputs/lora/adapter")

model = EmoIclForConditionalGeneration.from_pretrained(SPEECH_MODEL)
merged = PeftModel.from_pretrained(model, "outputs/lora/adapter").merge_and_unload()
merged.save_pretrained("outputs/lora/model")
processor.save_pretrained("outputs/lora/model")
print({"before": before, "after": measure(merged)})
