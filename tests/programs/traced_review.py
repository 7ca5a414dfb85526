"""A slogan is written, reviewed and written again until it is approved; a tracer wraps the private methods of all."""

from pocketflow import BatchNode, Flow, Node

SLOGANS = ["Fast trains.", "Trains, on time.", "The coast in forty minutes."]


def call_llm(prompt):
    """Stand in for a model: the next slogan for each one that was turned down."""
    return SLOGANS[prompt.count("not:")]


def traced(cls):
    """Note in ``shared`` when a visit begins and how it ends, as tracing packages do it: by a patch of the class."""
    run = cls._run

    def traced_run(self, shared):
        shared["spans"].append(f"{cls.__name__} begins")
        action = run(self, shared)
        shared["spans"].append(f"{cls.__name__} ends: {action}")
        return action

    cls._run = traced_run
    return cls


@traced
class Write(Node):
    def prep(self, shared):
        return "A slogan for a railway" + "".join(f", not: {slogan}" for slogan in shared["turned_down"])

    def exec(self, prompt):
        return call_llm(prompt)

    def post(self, shared, prompt, slogan):
        shared["slogan"] = slogan


@traced
class Rate(BatchNode):
    def prep(self, shared):
        return [(shared["slogan"], word) for word in ("coast", "minutes")]

    def exec(self, inputs):
        slogan, word = inputs
        return word in slogan

    def post(self, shared, prep_res, found):
        shared["rating"] = sum(found)


class Review(Node):
    def _exec(self, prep_res):
        """Ask a reviewer who is never in doubt."""
        return bool(super()._exec(prep_res))

    def prep(self, shared):
        return shared["rating"]

    def exec(self, rating):
        return rating == 2

    def post(self, shared, rating, is_good):
        if is_good:
            return "Approve"
        shared["turned_down"].append(shared["slogan"])
        return "Disapprove"


def make_flow():
    write, rate, review = Write(max_retries=2), Rate(), Review(max_retries=3, wait=None)
    write >> rate >> review
    review - "Disapprove" >> write
    return Flow(start=write)


def make_shared(folder):
    return {"turned_down": [], "spans": []}


def answer(shared):
    return shared["slogan"], len(shared["spans"]), shared["spans"][-1]
