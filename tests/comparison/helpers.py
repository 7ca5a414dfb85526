"""A flow with a prompt to compare, and a list of its calls on which no result depends."""

from llmflow_nb import BatchNode, Flow


class Calls(list):
    """The calls that hooks have made. A list that counts for no key."""

    def __fingerprint__(self):
        return "calls"

    def take(self):
        """Return the calls since the last time."""
        found = self[:]
        self.clear()
        return found


CALLS = Calls()


class Clean(BatchNode):
    """Upstream of the prompt."""

    def prep(self, shared):
        return shared["texts"]

    def exec(self, text):
        CALLS.append(("Clean", text))
        return text.strip()

    def post(self, shared, texts, results):
        shared["clean"] = results


class Label(BatchNode):
    """Answers as its prompt says: one of the methods of a text."""

    prompt = "upper"

    def prep(self, shared):
        return shared["clean"]

    def exec(self, text):
        CALLS.append(("Label", self.prompt, text))
        if self.prompt == "fail" and text == "bee":
            raise ValueError("no bees")
        return getattr(text, "upper" if self.prompt == "fail" else self.prompt)()

    def post(self, shared, texts, results):
        shared["labels"] = results


TEXTS = [" ant", "bee", "Cat "]


def flow_of(label=None, **options):
    """Return the flow ``Clean >> Label``, of the name "labels"."""
    clean = Clean()
    clean >> (label or Label(**options))
    CALLS.clear()
    return Flow(start=clean, name="labels")


def is_upper(item, result):
    """Score a result."""
    return result == item.upper()
