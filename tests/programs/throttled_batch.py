"""Letters are translated all at once, but no more than two at a time: the batch node throttles itself."""

import asyncio

from pocketflow import AsyncFlow, AsyncParallelBatchNode, Node

WORDS = {"Moin": "Hello", "Kutter": "cutter", "Netz": "net", "Fisch": "fish", "Ebbe": "ebb tide"}


async def call_llm(word):
    """Stand in for a model, which knows no word that is not German."""
    await asyncio.sleep(0)
    return WORDS[word]


class ReadLetter(Node):
    def prep(self, shared):
        return shared["letter"]

    def exec(self, letter):
        return letter.split()

    def post(self, shared, letter, words):
        shared["words"] = words


class Translate(AsyncParallelBatchNode):
    at_once = 2

    async def _exec(self, items):
        semaphore = asyncio.Semaphore(self.at_once)

        async def one(item):
            async with semaphore:
                return await super(AsyncParallelBatchNode, self)._exec(item)

        return await asyncio.gather(*(one(item) for item in items))

    async def prep_async(self, shared):
        return shared["words"]

    async def exec_async(self, word):
        return await call_llm(word)

    async def post_async(self, shared, words, translated):
        shared["translated"] = list(translated)
        return "done"


def make_flow():
    read = ReadLetter()
    read >> Translate(max_retries=2)
    return AsyncFlow(start=read)


def make_shared(folder):
    return {"letter": "Moin Kutter Netz Fisch Ebbe"}


def answer(shared):
    return " ".join(shared["translated"])
