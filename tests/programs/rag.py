"""Retrieval over texts of the standard library: one flow cuts and indexes them, a second one finds and answers."""

import importlib
import math
import re
from collections import Counter

import numpy as np
from pocketflow import BatchNode, Flow, Node

MODULES = ["bisect", "colorsys", "heapq", "sched", "shelve", "statistics", "string", "textwrap"]


def words(text):
    return re.findall(r"[a-z]{3,}", text.lower())


def embed(text, weights):
    """Return the text's vector of length 1: how often it has each word, the more the rarer the word."""
    counts = Counter(words(text))
    vector = np.array([counts[word] * weight for word, weight in weights.items()])
    return vector / (np.linalg.norm(vector) or 1)


def call_llm(prompt):
    """Stand in for a model, which this is not: quote the sentence of the context with most words of the question."""
    question, context = prompt.split("\n\nContext: ")
    sentences = re.split(r"(?<=[.:?!])\s+", " ".join(context.split()))
    return max(sentences, key=lambda sentence: len(set(words(sentence)) & set(words(question))))


class ChunkDocuments(BatchNode):
    def prep(self, shared):
        return sorted(shared["folder"].glob("*.txt"))

    def exec(self, path):
        text = path.read_text(encoding="utf-8")
        return [(path.stem, paragraph) for paragraph in re.split(r"\n\s*\n", text) if words(paragraph)]

    def post(self, shared, paths, chunks_of_each):
        shared["chunks"] = [chunk for chunks in chunks_of_each for chunk in chunks]


class IndexChunks(Node):
    def prep(self, shared):
        return [text for _, text in shared["chunks"]]

    def exec(self, texts):
        appears_in = Counter(word for text in texts for word in set(words(text)))
        weights = {word: math.log(len(texts) / n) for word, n in sorted(appears_in.items())}
        return weights, np.array([embed(text, weights) for text in texts])

    def post(self, shared, texts, index):
        shared["weights"], shared["vectors"] = index


class EmbedQuestion(Node):
    def prep(self, shared):
        return shared["question"], shared["weights"]

    def exec(self, inputs):
        return embed(*inputs)

    def post(self, shared, prep_res, vector):
        shared["question_vector"] = vector


class Retrieve(Node):
    def prep(self, shared):
        return shared["question_vector"], shared["vectors"]

    def exec(self, inputs):
        vector, vectors = inputs
        return int(np.argmax(vectors @ vector))

    def post(self, shared, prep_res, best):
        shared["source"], shared["context"] = shared["chunks"][best]


class GenerateAnswer(Node):
    def prep(self, shared):
        return f"{shared['question']}\n\nContext: {shared['context']}"

    def exec(self, prompt):
        return call_llm(prompt)

    def post(self, shared, prep_res, exec_res):
        shared["answer"] = exec_res


def make_flow():
    chunk = ChunkDocuments()
    chunk >> IndexChunks()
    offline = Flow(start=chunk)

    embed_question = EmbedQuestion()
    embed_question >> Retrieve() >> GenerateAnswer()
    online = Flow(start=embed_question)

    offline >> online
    return Flow(start=offline)


def make_shared(folder):
    for name in MODULES:
        (folder / f"{name}.txt").write_text(importlib.import_module(name).__doc__, encoding="utf-8")
    return {"folder": folder, "question": "Which object is like a dictionary, and persistent?"}


def answer(shared):
    return shared["source"], shared["answer"]
