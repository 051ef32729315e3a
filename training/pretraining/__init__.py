"""The pretraining that the paper's sizes need: its language model and its speech encoder, from scratch."""
