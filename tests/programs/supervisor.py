"""A supervisor reads what an agent drafts, and sends nonsense back with a remark; the agent is a flow of its own."""

import re

from pocketflow import Flow, Node

TIMETABLE = "The ferry to Sorrel sails on 6 days a week in summer. In winter it sails on 2 days a week."


def call_llm(prompt):
    """Stand in for a model, which this is not: chat, then guess, and read the notes only where there are any."""
    if "Notes: none" not in prompt:
        season = re.search("winter|summer", prompt).group()
        sentence = next(s for s in re.split(r"(?<=\.) ", prompt.partition("Notes: ")[2]) if season in s)
        return f"On {re.search('[0-9]+', sentence).group()} days a week."
    return "On 7 days a week." if "number" in prompt else "Ferries, as we all know, love the sea."


def judge(draft, notes):
    """Return what is wrong with a draft; "" if nothing is."""
    number = re.search("[0-9]+", draft)
    if number is None:
        return "A number was asked for."
    return "" if number.group() in notes else f"Where is that {number.group()} from? Read the timetable."


class Decide(Node):
    def prep(self, shared):
        return "timetable" in " ".join(shared["remarks"]) and not shared["notes"]

    def post(self, shared, must_read, exec_res):
        return "read" if must_read else "write"


class ReadTimetable(Node):
    def exec(self, prep_res):
        return TIMETABLE

    def post(self, shared, prep_res, exec_res):
        shared["notes"] = exec_res
        return "decide"


class WriteDraft(Node):
    def prep(self, shared):
        remarks = " ".join(shared["remarks"]) or "none"
        return f"{shared['question']} Remarks: {remarks} Notes: {shared['notes'] or 'none'}"

    def exec(self, prompt):
        return call_llm(prompt)

    def post(self, shared, prep_res, exec_res):
        shared["drafts"].append(exec_res)
        return "drafted"


class Supervisor(Node):
    def prep(self, shared):
        return shared["drafts"][-1], shared["notes"]

    def exec(self, inputs):
        return judge(*inputs)

    def post(self, shared, prep_res, remark):
        if not remark:
            return "accept"
        shared["remarks"].append(remark)
        return "reject"


class Publish(Node):
    def post(self, shared, prep_res, exec_res):
        shared["answer"] = shared["drafts"][-1]


def make_agent():
    decide, read, write = Decide(), ReadTimetable(), WriteDraft()
    decide - "read" >> read
    decide - "write" >> write
    read - "decide" >> decide
    return Flow(start=decide)


def make_flow():
    agent, supervisor = make_agent(), Supervisor()
    agent - "drafted" >> supervisor
    supervisor - "reject" >> agent
    supervisor - "accept" >> Publish()
    return Flow(start=agent)


def make_shared(folder):
    question = "On how many days a week does the ferry to Sorrel sail in winter?"
    return {"question": question, "notes": "", "drafts": [], "remarks": []}


def answer(shared):
    return shared["answer"], shared["drafts"]
