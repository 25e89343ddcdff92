"""Is a backend that two threads use at once refused by name, and are two backends independent?"""

import contextlib
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random

import oracle
import pytest
from batches import DECODE, EXTEND, VERIFY, Requests, captured, token_table
from torch.utils._python_dispatch import TorchDispatchMode

import nsa_core as nsa

CONFIG = nsa.NSAConfig(page_size=16, index_topk=48, num_draft_tokens=3)
BATCHES = (Requests((100, 30), (1, 0), (3, 1)), Requests((33, 120), (2, 1), (1, 3)))
PATIENCE = 30  # seconds until a test gives up on a thread


class Pause(TorchDispatchMode):
    """Stops the thread it is entered in before its first operation, until it is let go."""

    def __init__(self):
        super().__init__()
        self.stopped, self.go_on = threading.Event(), threading.Event()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.stopped.set()
        assert self.go_on.wait(PATIENCE)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def busy_backend():
    """A backend inside a replay of another thread."""
    backend, pause = captured(CONFIG, token_table(3, 130, 16), 2, "copy", 2, EXTEND, DECODE), Pause()
    batch = BATCHES[0].batch(DECODE)

    def replay():
        with pause:
            backend.replay(batch, DECODE)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(replay)
        assert pause.stopped.wait(PATIENCE)
        yield backend
        pause.go_on.set()
        done.result(PATIENCE)
    assert_holds(backend, BATCHES[0])
    backend.replay(BATCHES[1].batch(DECODE), DECODE)
    assert_holds(backend, BATCHES[1])


def assert_holds(backend, requests):
    batch = requests.batch(DECODE)
    for step in range(len(backend)):
        cells = oracle.snapshot(backend.sets(2, DECODE)[step])
        wanted = oracle.expected(CONFIG, backend.req_to_token, batch, DECODE, cells)
        oracle.assert_live_cells(cells, wanted, oracle.live_mask(CONFIG, batch, DECODE, wanted))


WRITERS = {
    "a replay of the same set": lambda backend: backend.replay(BATCHES[1].batch(DECODE), DECODE),
    "a replay of another set": lambda backend: backend.replay(BATCHES[1].batch(EXTEND), EXTEND),
    "a capture": lambda backend: backend.capture(5, VERIFY),
    "a capture that exists": lambda backend: backend.capture(2, DECODE),
    "an adoption": lambda backend: backend.adopt(3, DECODE, backend.sets(2, DECODE)),
}


@pytest.mark.parametrize("write", list(WRITERS.values()), ids=list(WRITERS))
def test_a_second_writer_is_refused_and_the_first_finishes(busy_backend, write):
    with pytest.raises(RuntimeError, match="in use by another thread.*a backend of its own"):
        write(busy_backend)


def test_reading_what_was_captured_needs_no_turn(busy_backend):
    assert busy_backend[0] is busy_backend.sets(2, DECODE)[0] and len(busy_backend) == 2


def test_a_refused_batch_leaves_the_backend_free():
    backend = captured(CONFIG, token_table(3, 130, 16), 2, "copy", 2, DECODE)
    for mode, error in ((VERIFY, KeyError), (EXTEND, KeyError), (DECODE, ValueError)):
        with pytest.raises(error):
            backend.replay(Requests((999, 1), (0, 0), (1, 1)).batch(mode), mode)
    backend.replay(BATCHES[0].batch(DECODE), DECODE)
    assert_holds(backend, BATCHES[0])


def test_backends_of_their_own_replay_side_by_side():
    table = token_table(3, 130, 16)

    def replay_often(requests):
        backend = captured(CONFIG, table, 2, "copy", 2, DECODE)
        for _ in range(100):
            backend.replay(requests.batch(DECODE), DECODE)
            assert_holds(backend, requests)
        return True

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(replay_often, BATCHES, timeout=PATIENCE)) == [True, True]


def test_whoever_gets_through_leaves_a_whole_batch():
    backend = captured(CONFIG, token_table(3, 130, 16), 2, "copy", 2, DECODE)
    outcomes = {"done": 0, "refused": 0}

    def replay_often(requests):
        for _ in range(200):
            try:
                backend.replay(requests.batch(DECODE), DECODE)
                outcomes["done"] += 1
            except RuntimeError as refusal:
                assert "in use" in str(refusal)
                outcomes["refused"] += 1

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(replay_often, BATCHES, timeout=PATIENCE))
    assert outcomes["done"] > 0 and backend.torn == ()
    held = oracle.snapshot(backend[0])["cache_seqlens_int32"].tolist()
    assert_holds(backend, next(requests for requests in BATCHES if list(requests.lengths) == held))


class Interrupt(BaseException):
    pass


def test_an_interrupt_at_any_moment_leaves_the_backend_free():
    backend = captured(CONFIG, token_table(3, 130, 16), 2, "copy", 2, DECODE)
    batches, random, interrupts = [requests.batch(DECODE) for requests in BATCHES], Random(0), 0

    def interrupt(*_):
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(2000):
            with contextlib.suppress(Interrupt):
                while True:  # again, where a callback of the garbage collector swallowed the interrupt
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 5e-4))
                    for _ in range(50):
                        backend.replay(batches[0], DECODE)
            interrupts += 1
            backend.replay(batches[1], DECODE)
            assert backend.torn == ()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts == 2000
    assert_holds(backend, BATCHES[1])
