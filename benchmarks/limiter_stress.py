"""Press on one `Limiter` from 64 threads and 1,000 tasks at a time: ``python -m benchmarks.limiter_stress``.

Each try does it twice: once through runs, for ``max_concurrency`` and a run that is stopped in the middle; once with
tickets, for ``per_minute`` as well and the order in which they are served, by a clock that those who wait turn.
"""

import asyncio
import itertools
import threading
import time
from typing import Any

from llmflow_nb import BatchNode, Limiter
from llmflow_nb.engine.limiter import WINDOW, Ticket

__all__ = ["CALLS", "MOST", "PER_MINUTE", "Clock", "Crowd", "Meter", "through_runs"]

TRIES, THREADS, TASKS, LOOPS = 50, 64, 1000, 4
MOST, PER_MINUTE = 8, 100
EACH = 4  # calls of each thread
CALLS = THREADS * EACH + TASKS
TICK = 2.0**-9  # exact in binary, so that times can be compared


class Meter:
    """How many calls are in flight, and the most there were."""

    def __init__(self) -> None:
        self.lock, self.now, self.most, self.calls = threading.Lock(), 0, 0, 0

    def __enter__(self) -> None:
        with self.lock:
            self.now, self.calls = self.now + 1, self.calls + 1
            self.most = max(self.most, self.now)

    def __exit__(self, *exc: object) -> None:
        with self.lock:
            self.now -= 1


class Clock:
    """Stands still but for a tick at each look, until somebody turns it; ``said`` is what this thread last read."""

    def __init__(self) -> None:
        self.now, self.lock, self.of_thread = 0.0, threading.Lock(), threading.local()

    def __call__(self) -> float:
        with self.lock:
            self.now += TICK
            self.of_thread.said = self.now
            return self.now

    @property
    def said(self) -> float:
        return self.of_thread.said  # type: ignore[no-any-return]

    def turn(self, seconds: float) -> None:
        with self.lock:
            self.now = max(self.now, self.said + seconds)


class Crowd:
    """Threads and tasks that share a limiter by its tickets. Every seventh leaves the queue while it waits."""

    def __init__(self, limiter: Limiter, clock: Clock) -> None:
        self.limiter, self.clock, self.meter = limiter, clock, Meter()
        self.queued: list[Ticket] = []  # in the order in which they asked
        self.granted: dict[Ticket, float] = {}  # and when they were served
        self.left: set[Ticket] = set()
        self.order, self.numbers = threading.Lock(), itertools.count()

    def ask(self, wake: Any) -> tuple[Ticket, bool]:
        ticket = Ticket(wake)
        with self.order:
            self.limiter.request(ticket)
            self.queued.append(ticket)
            return ticket, next(self.numbers) % 7 == 6

    def is_served(self, ticket: Ticket, leaves: bool) -> bool:
        """Whether the ticket is granted; else it has left the queue, or is to be asked for again after its wake."""
        while (seconds := self.limiter.seconds_left(ticket)) != 0:
            if leaves:
                self.left.add(ticket)
                self.limiter.give_back(ticket)
            if leaves or seconds is None:
                return False
            self.clock.turn(seconds - 0.5 if seconds > 1 else TICK)  # the end of a minute is asked for too early
        self.granted[ticket] = self.clock.said
        return True

    def thread(self) -> None:
        for _ in range(EACH):
            woken = threading.Event()
            ticket, leaves = self.ask(woken.set)
            while not (served := self.is_served(ticket, leaves)) and not leaves:
                woken.wait()
                woken.clear()
            if served:
                with self.meter:
                    time.sleep(0)
                self.limiter.give_back(ticket)

    async def task(self) -> None:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        ticket, leaves = self.ask(lambda: loop.call_soon_threadsafe(woken.set))
        while not (served := self.is_served(ticket, leaves)) and not leaves:
            await woken.wait()
            woken.clear()
        if served:
            with self.meter:
                await asyncio.sleep(0)
            self.limiter.give_back(ticket)

    def loop(self) -> None:
        async def main() -> None:
            await asyncio.gather(*(self.task() for _ in range(TASKS // LOOPS)))

        asyncio.run(main())

    def press(self) -> "Crowd":
        together([self.thread] * THREADS + [self.loop] * LOOPS)
        return self

    @property
    def starts(self) -> list[float]:
        return sorted(self.granted.values())

    @property
    def most_per_minute(self) -> int:
        """The most starts in any window of 60 seconds."""
        starts, first, most = self.starts, 0, 0
        for last, now in enumerate(starts):
            while starts[first] <= now - WINDOW:
                first += 1
            most = max(most, last - first + 1)
        return most

    @property
    def is_fair(self) -> bool:
        """Whether those who stayed were served in the order in which they asked."""
        served = sorted(self.granted, key=self.granted.__getitem__)
        return served == [ticket for ticket in self.queued if ticket not in self.left]


def together(work: list[Any]) -> None:
    threads = [threading.Thread(target=each, daemon=True) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "somebody waits for ever"


def through_runs(limiter: Limiter, *, stop_tasks: bool) -> tuple[Meter, bool]:
    """Two runs of 32 threads, two loops of 500 tasks, and a run that is stopped; whether the others were complete.

    Args:
        limiter: What they share.
        stop_tasks: Whether the run that is stopped has calls as tasks, or in threads.
    """
    meter = Meter()

    class Blocking(BatchNode):
        def prep(self, shared: Any) -> Any:
            return range(shared["n"])

        def exec(self, item: int) -> int:
            with meter:
                time.sleep(0)
            return item

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["results"] = exec_res

    class Awaiting(Blocking):
        async def exec(self, item: int) -> int:
            with meter:
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    await asyncio.sleep(0.005)  # it closes its connection, and uses the model until then
                    raise
            return item

    runs = [{"n": THREADS * EACH // 2}, {"n": THREADS * EACH // 2}, {"n": TASKS // 2}, {"n": TASKS // 2}]
    stopped = (Awaiting if stop_tasks else Blocking)(max_concurrency=32, limiter=limiter).submit({"n": TASKS})
    handles = [Blocking(max_concurrency=32, limiter=limiter).submit(each, progress=False) for each in runs[:2]]

    def on_a_loop(shared: Any) -> None:
        asyncio.run(Awaiting(max_concurrency=None, limiter=limiter).run_async(shared, progress=False))

    together([lambda each=each: on_a_loop(each) for each in runs[2:]] + [stopped.stop])
    ended = all(handle.wait(20) for handle in [*handles, stopped])
    return meter, ended and all(each["results"] == list(range(each["n"])) for each in runs)


def main() -> None:
    exceeded = unfair = incomplete = calls = 0
    for attempt in range(TRIES):
        meter, complete = through_runs(Limiter(MOST), stop_tasks=attempt % 2 == 0)
        clock = Clock()
        crowd = Crowd(Limiter(MOST, PER_MINUTE, clock=clock), clock).press()
        exceeded += max(meter.most, crowd.meter.most) > MOST or crowd.most_per_minute > PER_MINUTE
        unfair += not crowd.is_fair
        incomplete += not complete or len(crowd.granted) + len(crowd.left) != CALLS
        calls += meter.calls + len(crowd.granted)
    print(
        f"{TRIES} tries of {THREADS} threads and {TASKS:,} tasks, {calls:,} calls through one limiter: "
        f"{exceeded} exceeded a bound, {unfair} not first come first served, {incomplete} incomplete"
    )


if __name__ == "__main__":
    main()
