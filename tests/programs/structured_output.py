"""An order in plain words becomes data: YAML in a fenced answer, checked, and asked for again while it is malformed."""

import re

import yaml
from pocketflow import Flow, Node

LETTER = """Dear Mrs Quill, please send 12 pencils and 3 rulers to our school.
We also need 40 notebooks. The bill goes to Harrow Lane School, as always.
"""


def call_llm(prompt, attempt):
    """Stand in for a model, which this is not: forget the fence, then spell the first number out, then do it right."""
    wanted = re.findall(r"(\d+) (\w+)", prompt)
    if attempt == 0:
        return f"Sure! They want {', '.join(name for _, name in wanted)}."
    items = [f"  - name: {name}\n    count: {count}" for count, name in wanted]
    if attempt == 1:
        items[0] = items[0].replace("12", "a dozen")
    customer = re.search(r"bill goes to ([\w ]+)", prompt).group(1)
    return "Here it is:\n```yaml\ncustomer: {}\nitems:\n{}\n```\nAnything else?".format(customer, "\n".join(items))


class ParseOrder(Node):
    def prep(self, shared):
        return shared["path"].read_text(encoding="utf-8")

    def exec(self, letter):
        reply = call_llm(f"{letter}\nReply in YAML with customer and items (name, count).", attempt=self.cur_retry)
        block = reply.split("```yaml")[1].split("```")[0]
        order = yaml.safe_load(block)
        assert isinstance(order, dict), "an order is a mapping"
        assert order.keys() == {"customer", "items"}, "customer and items, no more and no less"
        for item in order["items"]:
            assert isinstance(item["count"], int), f"the count of {item['name']} is no number"
        return order

    def post(self, shared, letter, order):
        shared["order"] = order


class PriceOrder(Node):
    def prep(self, shared):
        return shared["order"]["items"], shared["prices"]

    def exec(self, inputs):
        items, prices = inputs
        return sum(item["count"] * prices[item["name"]] for item in items)

    def post(self, shared, prep_res, total):
        shared["total"] = total
        return "done"


def make_flow():
    parse, price = ParseOrder(max_retries=3, wait=0), PriceOrder()
    parse >> price
    return Flow(start=parse)


def make_shared(folder):
    path = folder / "letter.txt"
    path.write_text(LETTER, encoding="utf-8")
    return {"path": path, "prices": {"pencils": 20, "rulers": 55, "notebooks": 110}}


def answer(shared):
    return shared["order"]["customer"], shared["total"]
