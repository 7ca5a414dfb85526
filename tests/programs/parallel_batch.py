"""All pages of a guide are proofread at once, at most two calls at a time, and written back corrected."""

import asyncio
from collections import Counter

from pocketflow import AsyncFlow, AsyncNode, AsyncParallelBatchNode, Node

PAGES = {
    "1.txt": "The harbour is beautifull in the evening.",
    "2.txt": "Visit the libary, and the old mill.",
    "3.txt": "No dogs are alowed on the beach; teh rule is old.",
    "4.txt": "(this page is empty)",
    "5.txt": "Boats go definately at noon.",
}
SPELLING = {
    "beautifull": "beautiful",
    "libary": "library",
    "alowed": "allowed",
    "teh": "the",
    "definately": "definitely",
}


async def call_llm(page, times_asked):
    """Stand in for a model, which this is not: mend known slips; busy when first asked for a page with a semicolon."""
    await asyncio.sleep(0)
    if ";" in page and times_asked == 1:
        raise ConnectionError("too many requests")
    if "empty" in page:
        raise ValueError("there is nothing to read")
    for wrong, right in SPELLING.items():
        page = page.replace(wrong, right)
    return page


class ReadPages(AsyncNode):
    async def prep_async(self, shared):
        return shared["folder"]

    async def exec_async(self, folder):
        return await asyncio.to_thread(
            lambda: {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))}
        )

    async def post_async(self, shared, folder, pages):
        shared["pages"] = pages


class Proofread(AsyncParallelBatchNode):
    def __init__(self, max_retries=1, wait=0):
        super().__init__(max_retries=max_retries, wait=wait)
        self.at_once = asyncio.Semaphore(2)
        self.asked = Counter()

    async def prep_async(self, shared):
        return list(shared["pages"].values())

    async def exec_async(self, page):
        async with self.at_once:
            self.asked[page] += 1
            return await call_llm(page, self.asked[page])

    async def exec_fallback_async(self, page, exc):
        return page

    async def post_async(self, shared, pages, corrected):
        shared["corrected"] = dict(zip(shared["pages"], corrected, strict=True))
        return "write"


class WritePages(Node):
    def prep(self, shared):
        return shared["folder"], shared["corrected"]

    def exec(self, inputs):
        folder, pages = inputs
        for name, page in pages.items():
            (folder / name).write_text(page, encoding="utf-8")
        return len(pages)

    def post(self, shared, prep_res, count):
        shared["written"] = count


def make_flow():
    read, proofread, write = ReadPages(), Proofread(max_retries=3), WritePages()
    read >> proofread
    proofread - "write" >> write
    return AsyncFlow(start=read)


def make_shared(folder):
    for name, page in PAGES.items():
        (folder / name).write_text(page, encoding="utf-8")
    return {"folder": folder}


def answer(shared):
    return [(shared["folder"] / name).read_text(encoding="utf-8") for name in shared["corrected"]]
