"""Self-consistency: the same question is asked many times, and the answer that comes most often is taken."""

import random
from collections import Counter

from pocketflow import BatchNode, Flow, Node

QUESTION = "A snail in a well of 10 m climbs 3 m by day and slips 2 m by night. On which day is it out?"


def call_llm(prompt, dice):
    """Stand in for a model, which this is not: right more often than not, sometimes too simple, sometimes no number."""
    return dice.choices(["Answer: 8", "Answer: 10", "Hm, snails."], weights=[5, 3, 2])[0]


class AskManyTimes(BatchNode):
    """The very same item, again and again: what makes the answers differ is the temperature, here the dice."""

    def __init__(self, max_retries=1, wait=0):
        super().__init__(max_retries=max_retries, wait=wait)
        self.dice = random.Random(10)

    def prep(self, shared):
        return [shared["question"]] * shared["times"]

    def exec(self, question):
        label, number = call_llm(f"{question} Reply with 'Answer: ' and a number.", self.dice).split(": ")
        assert label == "Answer", "no answer in it"
        return int(number)

    def exec_fallback(self, question, exc):
        return None

    def post(self, shared, prep_res, votes):
        shared["votes"] = votes


class CountVotes(Node):
    def prep(self, shared):
        return [vote for vote in shared["votes"] if vote is not None]

    def exec(self, votes):
        return Counter(votes).most_common()

    def post(self, shared, prep_res, ranking):
        shared["ranking"] = ranking
        return "decided" if len(ranking) == 1 or ranking[0][1] > ranking[1][1] else "tie"


class Announce(Node):
    def prep(self, shared):
        return shared["ranking"][0]

    def post(self, shared, winner, exec_res):
        shared["answer"] = winner[0]


class AskMore(Node):
    def post(self, shared, prep_res, exec_res):
        shared["times"] += 1


def make_flow():
    ask, count, announce, more = AskManyTimes(max_retries=2), CountVotes(), Announce(), AskMore()
    ask >> count
    count - "decided" >> announce
    count - "tie" >> more
    more >> ask
    return Flow(start=ask)


def make_shared(folder):
    return {"question": QUESTION, "times": 9}


def answer(shared):
    return shared["answer"], shared["ranking"]
