"""Sections on the language stages: the model, profiles, fine-tuning, synthesis."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from hnlmrec.config.data import Share
from hnlmrec.config.section import EnvironmentVariable, Section

SERVED = "openai:"
_SECRET_PARAMETER = re.compile(r"[?&][^=&]*(key|token|secret|sig|pass)[^=&]*=", re.I)


class ServerConfig(Section):
    """The OpenAI-compatible server of models that are named openai:NAME."""

    base_url: str | None = Field(
        None, description="such as http://127.0.0.1:8000/v1; null: what OPENAI_BASE_URL says"
    )
    key_variable: EnvironmentVariable = Field(
        "OPENAI_API_KEY",
        description="environment variable that holds the key, where the server wants one",
    )
    concurrency: int = Field(8, ge=1, description="requests under way at a time")
    timeout: float = Field(120, gt=0, description="seconds that an answer may take")
    retries: int = Field(
        5, ge=0, description="of a request that failed or was refused, after growing pauses"
    )
    give_up_after: int = Field(
        5,
        ge=1,
        description="requests in a row that failed in spite of repetitions, after which no more "
        "are sent and the run stops; of fewer, each counts as an answer that cannot be used",
    )
    response_format: Literal["json_schema", "json_schema_subset", "json_object", "text"] = Field(
        "json_schema",
        description="how JSON is asked for: with the whole schema (vLLM, llama.cpp, Ollama), "
        "without the lengths of strings (OpenAI and other clouds refuse those), or with none",
    )
    limit_key: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="what the server calls the limit of an answer"
    )
    temperature: float | None = Field(0, ge=0, description="null: the server's own")
    price_prompt: float = Field(0, ge=0, description="of a million tokens, to estimate the cost")
    price_answer: float = Field(0, ge=0, description="likewise for the tokens of answers")

    @field_validator("base_url")
    @classmethod
    def _no_secret_in_the_address(cls, base_url: str | None) -> str | None:
        if base_url is not None and "@" in base_url.split("//")[-1].split("/")[0]:
            raise ValueError(
                "an address with a password would be saved with the run; put the key into the "
                "environment variable that key_variable names"
            )
        if base_url is not None and _SECRET_PARAMETER.search(base_url):
            raise ValueError(
                "an address with a key would be saved with the run; put the key into the "
                "environment variable that key_variable names"
            )
        return base_url


class LanguageConfig(Section):
    """The language model that writes profiles and encodes queries."""

    model: str = Field(
        "embedded:smollm2",
        description="embedded:smollm2, embedded:minilm, a Hugging Face folder, a .gguf file, "
        "the name of a model that is already in the local Hugging Face cache, or openai:NAME on a "
        "server (for profiles; or for embeddings, of which the amortized head alone learns)",
    )
    answers: Path | None = Field(
        None,
        description="SQLite file that keeps what models have written; null: $HNLMREC_ANSWERS, or "
        "answers.sqlite in $HNLMREC_CACHE or ~/.cache/hnlmrec",
    )
    server: ServerConfig = ServerConfig()
    dtype: Literal["auto", "bfloat16", "float32", "4bit"] = Field(
        "auto",
        description="auto: bfloat16 where the device computes in it, else float32; 4bit: weights "
        "in NF4 by bitsandbytes, for models that do not fit otherwise",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    batch_tokens: int = Field(1024, ge=64, description="token budget of an encoding batch")
    max_tokens: int = Field(32, ge=8, description="tokens kept of a query or a text")

    @property
    def served_model(self) -> str | None:
        """The model's name on its server; None for a local model."""
        return self.model.removeprefix(SERVED) if self.model.startswith(SERVED) else None


class ProfileConfig(Section):
    """Who writes the profiles of users and items."""

    generator: Literal["template", "llm"] = Field(
        "template", description="template: compose metadata; llm: ask the model for every profile"
    )
    model: str | None = Field(
        None, description="the model that writes, named as in language.model; null: that one"
    )
    user_wording: Path | None = Field(
        None, description="YAML file with the wording of questions; null: the library's own"
    )
    item_wording: Path | None = Field(None, description="likewise for items")
    llm_sample_users: int = Field(
        3, ge=0, description="with template: users whose profile the LLM writes all the same"
    )
    llm_sample_items: int = Field(3, ge=0, description="with template: likewise for items")
    history: int = Field(
        8, ge=1, description="training items of a user that a profile is written from"
    )
    max_new_tokens: int = Field(160, ge=16, description="longest answer of the LLM, in tokens")
    batch_size: int = Field(8, ge=1, description="profiles generated together")
    attempts: int = Field(
        3,
        ge=1,
        le=3,
        description="2: a rejected answer is to be repaired; 3: and if it is not, the question is "
        "asked anew without its example; then a template takes its place",
    )
    max_fallback_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="with llm: the run stops when more of the profiles have no usable answer; so "
        "it does for names and for picks of the language model",
    )


class RouteAConfig(Section):
    """Route A: the language model names hard negatives, which are looked up in the catalogue."""

    pairs: int = Field(200, ge=0, description="training pairs that are asked about; 0: all")
    wording: Path | None = Field(
        None, description="YAML file with the wording of questions; null: the library's own"
    )
    max_new_tokens: int = Field(96, ge=16, description="longest answer, in tokens")
    min_ratio: float = Field(
        88,
        ge=0,
        le=100,
        description="least similarity of a name to a title that it means, by letters",
    )
    min_cosine: float | None = Field(
        0.6,
        ge=-1,
        le=1,
        description="least cosine of a name's text vector to that of a title that it means; null: "
        "names are found by letters alone, and titles need not be encoded",
    )


class SupervisionConfig(Section):
    """Which item is the hard negative of a training pair."""

    strategy: Literal["cf_semantic", "cf", "semantic", "semantic_distinct", "random", "route_a"] = (
        Field(
            "cf_semantic",
            description="cf_semantic: of the user's CF-hardest items, the near ones in meaning; "
            "cf: CF-hardest; semantic: nearest in meaning; semantic_distinct: of those, the half "
            "that the CF model scores lowest for the user; random: any un-interacted item; "
            "route_a: what the language model names, for the pairs that synthesis.route_a asks "
            "about",
        )
    )
    top_k: int = Field(50, ge=1, description="how many hardest items are candidates")
    margin: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="items scored above (1 - margin) of the user's mean positive score are left "
        "out as likely false negatives",
    )
    temperature: float = Field(
        0.1, gt=0, description="of the softmax over semantic similarity that weighs candidates"
    )


class FinetuneConfig(Section):
    """Contrastive fine-tuning of the language model (LoRA) and of the amortized head."""

    steps: int = Field(10, ge=0, description="LoRA steps through the language model")
    batch_users: int = Field(5, ge=1, description="users in a LoRA batch")
    pairs_per_user: int = Field(4, ge=1, description="training pairs of each user in a batch")
    lr: float = Field(5e-4, gt=0, description="learning rate of LoRA and soft tokens")
    rank: int = Field(32, ge=1, description="rank of LoRA")
    dropout: float = Field(0.05, ge=0, lt=1, description="dropout of LoRA")
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="queries of a LoRA batch that a device encodes with gradients at a time, which "
        "bounds its memory and not the batch: the step is that of the whole batch; null: all",
    )
    shard: bool = Field(
        False,
        description="spread the frozen weights over the devices of several processes (FSDP2), "
        "for models that do not fit one",
    )
    temperature: float = Field(0.05, gt=0, description="temperature of the contrastive objective")
    objective: Literal["log_sigmoid", "infonce"] = Field(
        "log_sigmoid", description="log_sigmoid: the paper's in-batch pairwise loss; infonce"
    )
    collaborative: Literal["soft_tokens", "text", "none"] = Field(
        "soft_tokens",
        description="how CF embeddings enter a query: projected soft tokens, digits, not at all",
    )
    pooling: Literal["mean", "last"] = Field("mean", description="pooling of hidden states")
    head_steps: int = Field(400, ge=1, description="steps of the amortized head on cached states")
    head_batch: int = Field(512, ge=2, description="pairs in a batch of the head")
    head_lr: float = Field(1e-3, gt=0, description="learning rate of the head")
    held_out: Share = Field(0.1, description="share of training pairs that picks the checkpoint")
    evaluate_every: int = Field(4, ge=1, description="LoRA steps between held-out evaluations")


class DistillConfig(Section):
    """What the amortized head learns from a pairwise model, beside its own targets."""

    teacher: Path | None = Field(
        None,
        description="folder of a run of mode pairwise, whose fine-tuned model answers for some "
        "pairs; null: no teacher",
    )
    pairs: int = Field(2048, ge=2, description="training pairs that the teacher answers for")
    weight: float = Field(
        1.0, gt=0, description="of one minus the cosine to the teacher's answer, in the loss"
    )


class SynthesisConfig(Section):
    """How hard-negative embeddings are learned and written."""

    mode: Literal["amortized", "pairwise"] = Field(
        "amortized",
        description="amortized: LLM passes over users and items and a head for pairs; pairwise: "
        "one LLM pass a training pair (the paper)",
    )
    user_states: Literal["profile", "history"] = Field(
        "profile",
        description="amortized: what the head reads of a user: the language model's state of the "
        "profile, or the mean of its untuned states of the user's training items, which takes no "
        "pass over users",
    )
    transfer_from: Path | None = Field(
        None,
        description="folder of a finished run, of any data, whose fine-tuned model is used as it "
        "is: then nothing is fine-tuned here",
    )
    supervision: SupervisionConfig = SupervisionConfig()
    route_a: RouteAConfig = RouteAConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    distill: DistillConfig = DistillConfig()
    storage: Literal["float16", "int8"] = Field(
        "float16",
        description="of the written vectors: int8 takes half the disk and memory, at an error of "
        "about a hundredth of a vector's length",
    )
    chunk_pairs: int = Field(8192, ge=1, description="pairs written between two resume points")
    pretrain_epochs: int = Field(
        40,
        ge=1,
        description="epochs of the CF model that supervises (fixed: it sees no validation)",
    )

    @model_validator(mode="after")
    def _a_query_has_a_profile(self) -> Self:
        if self.mode == "pairwise" and self.user_states == "history":
            raise ValueError(
                "user_states: history is for the amortized head; a pairwise query holds the "
                "user's profile"
            )
        return self

    @model_validator(mode="after")
    def _a_head_is_taught(self) -> Self:
        if self.distill.teacher is None:
            return self
        if self.mode == "pairwise":
            raise ValueError("distill.teacher teaches the amortized head, and mode is pairwise")
        if self.transfer_from is not None:
            raise ValueError(
                "with transfer_from nothing is fine-tuned, so distill.teacher teaches nobody: "
                "leave one of them out"
            )
        return self
