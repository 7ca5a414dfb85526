"""An agent that reads in a small library until it can answer: decide, search, decide, ..., answer."""

import json
import re

from pocketflow import Flow, Node

LIBRARY = {
    "Lindow Bridge": "Lindow Bridge crosses the Wend. It was designed by Ada Marsh and opened in 1871.",
    "Tarn Hill": "Tarn Hill is a village of 300 people, known for its cheese.",
    "Ada Marsh": "Ada Marsh was an engineer, born at Tarn Hill in 1834.",
}


def search_library(query):
    """Return the title and the text of the page whose title has most of the query's words."""
    title = max(LIBRARY, key=lambda title: len(set(query.split()) & set(title.split())))
    return title, LIBRARY[title]


def call_llm(prompt):
    """Stand in for a model, which this is not: ask for the first name without a note, until there are two years."""
    years = sorted(set(re.findall(r"\b1\d{3}\b", prompt)))
    if "Answer the question" in prompt:
        return f"{int(years[-1]) - int(years[0])} years old."
    names = re.findall(r"[A-Z]\w+ [A-Z]\w+", prompt)
    unread = [name for name in names if f"- {name}:" not in prompt]
    if len(years) < 2 and unread:
        return json.dumps({"action": "search", "query": unread[0], "reason": "I have not read of it yet."})
    return json.dumps({"action": "answer", "reason": "Both years are in the notes."})


class DecideAction(Node):
    def prep(self, shared):
        notes = "\n".join(f"- {title}: {text}" for title, text in shared["notes"])
        return shared["question"], notes

    def exec(self, inputs):
        question, notes = inputs
        decision = json.loads(call_llm(f"Question: {question}\nNotes:\n{notes}\nSearch on, or answer? Reply in JSON."))
        assert decision["action"] in ("search", "answer"), "no such action"
        return decision

    def post(self, shared, prep_res, decision):
        shared["decisions"].append(decision["action"])
        if decision["action"] == "search":
            shared["query"] = decision["query"]
        return decision["action"]


class SearchLibrary(Node):
    def prep(self, shared):
        return shared["query"]

    def exec(self, query):
        return search_library(query)

    def post(self, shared, query, page):
        shared["notes"].append(page)
        return "decide"


class AnswerQuestion(Node):
    def prep(self, shared):
        return shared["question"], shared["notes"]

    def exec(self, inputs):
        question, notes = inputs
        return call_llm(f"Answer the question {question!r} from these notes: {notes}")

    def post(self, shared, prep_res, exec_res):
        shared["answer"] = exec_res
        return "done"


def make_flow():
    decide = DecideAction(max_retries=2)
    search = SearchLibrary()
    answer_question = AnswerQuestion()

    decide - "search" >> search
    decide - "answer" >> answer_question
    search - "decide" >> decide

    return Flow(start=decide)


def make_shared(folder):
    return {"question": "How old was the engineer of Lindow Bridge when it opened?", "notes": [], "decisions": []}


def answer(shared):
    return shared["answer"], [title for title, _ in shared["notes"]]
