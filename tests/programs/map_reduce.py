"""Map and reduce: each letter to the council is sorted by its subject, then the subjects are counted."""

from collections import Counter

from pocketflow import BatchNode, Flow, Node

LETTERS = {
    "abbot.txt": "The street lamp before my house has been dark since May.",
    "baker.txt": "There is a hole in our road that swallows bicycles.",
    "cole.txt": "%&$ 7f 00 ??",
    "dunn.txt": "The bins in Mill Lane were not emptied, again.",
    "evans.txt": "Who mends the road at the church? My wheel is bent.",
}
SUBJECTS = {"lighting": "lamp dark light", "roads": "road street hole", "waste": "bins rubbish emptied"}


def call_llm(letter):
    """Stand in for a model, which this is not: name the subject with most of its words in the letter."""
    found = Counter({subject: sum(word in letter for word in words.split()) for subject, words in SUBJECTS.items()})
    subject, hits = found.most_common(1)[0]
    if not hits:
        raise ValueError("this is not a letter that I can read")
    return subject


class ReadLetters(Node):
    def prep(self, shared):
        return shared["folder"]

    def exec(self, folder):
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))}

    def post(self, shared, folder, letters):
        shared["letters"] = letters


class SortLetters(BatchNode):
    """Map: a subject for each letter."""

    def prep(self, shared):
        return list(shared["letters"].items())

    def exec(self, named_letter):
        name, letter = named_letter
        return name, call_llm(letter)

    def exec_fallback(self, named_letter, exc):
        name, _ = named_letter
        return name, "for a clerk to read"

    def post(self, shared, prep_res, subjects):
        shared["subjects"] = dict(subjects)


class CountSubjects(Node):
    """Reduce: how many letters there are of each subject."""

    def prep(self, shared):
        return shared["subjects"]

    def exec(self, subjects):
        return Counter(subjects.values())

    def post(self, shared, prep_res, counts):
        shared["report"] = [f"{subject}: {n}" for subject, n in counts.most_common()]


def make_flow():
    read = ReadLetters()
    read >> SortLetters(max_retries=2) >> CountSubjects()
    return Flow(start=read)


def make_shared(folder):
    for name, letter in LETTERS.items():
        (folder / name).write_text(letter, encoding="utf-8")
    return {"folder": folder}


def answer(shared):
    return shared["report"]
