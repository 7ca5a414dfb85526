"""`Limiter` under the load of ``benchmarks.limiter_stress``, three times instead of fifty."""

import pytest

from benchmarks.limiter_stress import CALLS, MOST, PER_MINUTE, Clock, Crowd, through_runs
from llmflow_nb import Limiter
from llmflow_nb.engine.limiter import Ticket


@pytest.fixture(scope="module", params=range(3))
def crowd(request):
    clock = Clock()
    return Crowd(Limiter(MOST, PER_MINUTE, clock=clock), clock).press()


def test_bounds(crowd):
    """64 threads and 1,000 tasks on four loops pass neither bound of the limiter that they share, and reach the one."""
    assert crowd.meter.most <= MOST
    assert crowd.most_per_minute == PER_MINUTE


def test_first_come_first_served(crowd):
    """They are served in the order in which they asked."""
    assert crowd.is_fair


def test_those_who_leave_the_queue(crowd):
    """Those who leave the queue while they wait start nothing; all others are served, and every slot comes back."""
    assert len(crowd.left) > CALLS // 10
    assert not crowd.left & crowd.granted.keys()
    assert len(crowd.granted) == CALLS - len(crowd.left) == crowd.meter.calls
    crowd.clock.now += 60
    tickets = [crowd.limiter.request(Ticket(lambda: None)) for _ in range(MOST + 1)]
    assert [crowd.limiter.seconds_left(ticket) for ticket in tickets] == [0.0] * MOST + [None]
    for ticket in tickets:
        crowd.limiter.give_back(ticket)


@pytest.mark.parametrize("attempt", range(3))
def test_runs(attempt):
    """Runs in threads and on loops stay within the limiter that they share, also while another one is stopped."""
    limiter = Limiter(MOST)
    meter, complete = through_runs(limiter, stop_tasks=True)
    assert complete
    assert meter.most <= MOST
    assert meter.calls >= CALLS
    tickets = [limiter.request(Ticket(lambda: None)) for _ in range(MOST)]
    assert [limiter.seconds_left(ticket) for ticket in tickets] == [0.0] * MOST
