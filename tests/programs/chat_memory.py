"""A chat that keeps the last turns in a window, archives older ones, and recalls the one that fits a question."""

import re

from pocketflow import Flow, Node

WINDOW = 2  # turns
SAID = [
    "My cat is called Pixel.",
    "My bicycle is green.",
    "It rained all week.",
    "What colour is my bicycle?",
    "What is my cat called?",
    "Who won the cup?",
]


def overlap(text, other):
    return len(set(re.findall(r"\w+", text.lower())) & set(re.findall(r"\w+", other.lower())))


def call_llm(messages):
    """Stand in for a model, which this is not: answer a question by the statement in the messages that is closest."""
    *earlier, last = messages
    if not last.endswith("?"):
        return "I shall remember."
    best = max(earlier, key=lambda message: overlap(last, message) * message.endswith("."), default="")
    return f"You said: {best}" if overlap(last, best) > 1 else "You have not told me."


class GetUserMessage(Node):
    def prep(self, shared):
        return shared["said"], len(shared["answers"])

    def exec(self, inputs):
        said, turn = inputs
        return said[turn] if turn < len(said) else None

    def post(self, shared, prep_res, message):
        if message is None:
            return "bye"
        shared["message"] = message
        return "recall"


class Recall(Node):
    """Look in the archive for the turn that has most in common with the message."""

    def prep(self, shared):
        return shared["message"], shared["archive"]

    def exec(self, inputs):
        message, archive = inputs
        best = max(archive, key=lambda turn: overlap(message, turn[0]), default=None)
        return best if best and overlap(message, best[0]) > 1 else None

    def post(self, shared, prep_res, turn):
        shared["recalled"] = turn
        return "answer"


class Answer(Node):
    """Give the model what is recalled, the window and the message, and no more."""

    def prep(self, shared):
        turns = [shared["recalled"], *shared["window"]] if shared["recalled"] else shared["window"]
        return [text for turn in turns for text in turn] + [shared["message"]]

    def exec(self, messages):
        return call_llm(messages)

    def post(self, shared, messages, reply):
        shared["answers"].append(reply)
        shared["window"].append((shared["message"], reply))
        if len(shared["window"]) > WINDOW:
            return "archive"


class Archive(Node):
    def post(self, shared, prep_res, exec_res):
        shared["archive"].append(shared["window"].pop(0))


class SayGoodbye(Node):
    def post(self, shared, prep_res, exec_res):
        shared["answers"].append("Goodbye.")


def make_flow():
    listen, recall, reply, archive = GetUserMessage(), Recall(), Answer(), Archive()

    listen - "recall" >> recall
    listen - "bye" >> SayGoodbye()
    recall - "answer" >> reply
    reply >> listen
    reply - "archive" >> archive
    archive >> listen

    return Flow(start=listen)


def make_shared(folder):
    return {"said": SAID, "window": [], "archive": [], "answers": []}


def answer(shared):
    return shared["answers"]
