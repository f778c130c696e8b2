"""The tiny base model of the trainer's tests, for loops that really train."""

from tests.finetune.conftest import tiny as tiny
