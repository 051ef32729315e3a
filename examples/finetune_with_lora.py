"""Fine-tunes the bundled model with low-rank adapters (LoRA) of its language model alone, by peft (extra `lora`): the
adapter is small, loads onto the model it was made for, and can be merged into a plain checkpoint."""

from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import pipeline

from emoicl import (
    TASK,
    EmoIclForConditionalGeneration,
    EmoIclProcessor,
    MetaIclTrainer,
    MetaIclTrainingArguments,
    load_corpus,
)
from emoicl.bundled import BUNDLED_CLIPS, BURSTS_MODEL


model = EmoIclForConditionalGeneration.from_pretrained(BURSTS_MODEL)
processor = EmoIclProcessor.from_pretrained(BURSTS_MODEL)
queries_and_values = r".*language_model\..*\.(q|v)"  # As T5 calls them; other language models have other names.
adapted: Any = get_peft_model(model, LoraConfig(r=8, target_modules=queries_and_values))
trainer = MetaIclTrainer(
    model=adapted,
    args=MetaIclTrainingArguments("outputs/lora", max_steps=4, per_device_train_batch_size=16, learning_rate=1e-3),
    train_dataset=load_corpus(BUNDLED_CLIPS),  # Any table with the columns audio, emotion, speaker_id.
    processing_class=processor,
)
trainer.train()
trainer.save_model("outputs/lora/adapter")

model = EmoIclForConditionalGeneration.from_pretrained(BURSTS_MODEL)
merged = PeftModel.from_pretrained(model, "outputs/lora/adapter").merge_and_unload()
merged.save_pretrained("outputs/lora/model")
processor.save_pretrained("outputs/lora/model")
print(pipeline(TASK, model="outputs/lora/model")(load_corpus(BUNDLED_CLIPS)[0].audio))
