"""Decode workers: limits, deaths, replacement."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fieldmark.errors import ImageError
from fieldmark.images import formats
from fieldmark.preprocessing import Preprocessing
from fieldmark.serving import worker as protocol
from fieldmark.serving import workers
from fieldmark.serving.limits import Limits
from fieldmark.serving.refusals import Refusal
from fieldmark.serving.serve import loop_factory
from fieldmark.serving.workers import DecodePool

PREPROCESSING = Preprocessing(width=20, height=16)
FILES = Path(__file__).parents[1] / "images" / "files"
KILLS = int(os.environ.get("FIELDMARK_WORKER_KILLS", "100"))  # as A5.6 asks: 17 s on a quiet machine
JPEG = (FILES / "baseline.jpg").read_bytes()
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": loop_factory()}
on_both_loops = pytest.mark.parametrize("loop", LOOPS)


def with_pool(
    test: Callable[[DecodePool], Awaitable[None]], limits: Limits | None = None, workers: int = 2, loop: str = "asyncio"
) -> None:
    async def run() -> None:
        async with DecodePool(PREPROCESSING, limits or Limits(), workers=workers) as pool:
            await test(pool)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


def open_files(process: int | str = "self") -> dict[int, str]:
    """What each descriptor of a process stands for; nothing where the system does not tell."""
    files = {}
    for link in Path(f"/proc/{process}/fd").glob("*"):
        with contextlib.suppress(FileNotFoundError):  # the descriptor with which the folder is read
            files[int(link.name)] = str(link.readlink())
    return files


def large_png(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "PNG", compress_level=1)
    return file.getvalue()


@on_both_loops
def test_pixels_are_those_of_the_decoder(loop: str) -> None:
    async def test(pool: DecodePool) -> None:
        other = Preprocessing(width=9, height=7, fit="pad", color="grayscale")
        for preprocessing in (None, other):
            expected = formats.decode(JPEG, preprocessing or PREPROCESSING).pixels
            np.testing.assert_array_equal(await pool.decode(JPEG, preprocessing), expected)

    with_pool(test, loop=loop)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no memory without a name")
def test_pixels_come_through_shared_memory_where_they_find_room(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = watch_kinds(monkeypatch)

    async def test(pool: DecodePool) -> None:
        small, large = Preprocessing(width=9, height=7), Preprocessing(width=20, height=17)
        first = await pool.decode(JPEG)
        for preprocessing in (small, large, PREPROCESSING):
            expected = formats.decode(JPEG, preprocessing).pixels
            np.testing.assert_array_equal(await pool.decode(JPEG, preprocessing), expected)
        np.testing.assert_array_equal(first, formats.decode(JPEG, PREPROCESSING).pixels)  # nobody wrote over it
        assert kinds[1:] == [protocol.SHARED, protocol.SHARED, protocol.PIXELS, protocol.SHARED]

    with_pool(test, workers=1)


@pytest.mark.parametrize("refusal", [AttributeError, PermissionError])
def test_pixels_come_through_the_socket_where_no_memory_can_be_shared(
    monkeypatch: pytest.MonkeyPatch, refusal: type[Exception]
) -> None:
    def refused(*arguments: object) -> int:
        raise refusal("memfd_create")

    monkeypatch.setattr(os, "memfd_create", refused, raising=False)
    kinds = watch_kinds(monkeypatch)

    async def test(pool: DecodePool) -> None:
        np.testing.assert_array_equal(await pool.decode(JPEG), formats.decode(JPEG, PREPROCESSING).pixels)
        assert kinds[1:] == [protocol.PIXELS]

    with_pool(test, workers=1)


def watch_kinds(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What workers say, from now on."""
    kinds: list[bytes] = []
    receive = workers.Worker._receive

    async def watched(worker: workers.Worker, expected: dict[bytes, int]) -> tuple[bytes, bytes]:
        kind, content = await receive(worker, expected)
        kinds.append(kind)
        return kind, content

    monkeypatch.setattr(workers.Worker, "_receive", watched)
    return kinds


def test_a_worker_that_names_memory_without_room_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async def named(*arguments: object) -> tuple[bytes, bytes]:
        return protocol.SHARED, b""

    async def test(pool: DecodePool) -> None:
        await pool.decode(JPEG)  # it is ready: that is received, too
        with monkeypatch.context() as patch:
            patch.setattr(workers.Worker, "_receive", named)
            with pytest.raises(Refusal) as caught:
                await pool.decode(JPEG, Preprocessing(width=100, height=100))
        assert caught.value.code == "worker_lost"
        assert (await pool.decode(JPEG)).shape == PREPROCESSING.shape

    with_pool(test, workers=1)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no memory without a name")
@pytest.mark.parametrize("refusal", [AttributeError, PermissionError])
def test_memory_that_cannot_be_sealed_is_not_shared(monkeypatch: pytest.MonkeyPatch, refusal: type[Exception]) -> None:
    def refused(*arguments: object) -> int:
        raise refusal("F_ADD_SEALS")

    import fcntl

    monkeypatch.setattr(fcntl, "fcntl", refused)
    before = open_files()
    with workers._shared_memory(100) as (shared, descriptors):
        assert (shared, descriptors) == (None, ())
    assert open_files() == before


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no memory without a name")
def test_a_worker_cannot_cut_off_the_memory_that_the_server_reads() -> None:
    with workers._shared_memory(100) as (shared, (descriptor,)):
        assert shared is not None
        assert len(shared) == 100
        for count in (0, 4096):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, count)


def test_a_problem_of_a_file_is_told() -> None:
    async def test(pool: DecodePool) -> None:
        with pytest.raises(ImageError, match="no known image") as caught:
            await pool.decode(b"no image at all")
        assert caught.value.code == "not_an_image"
        with pytest.raises(ImageError) as caught:
            await pool.decode(b"")
        assert caught.value.code == "empty_file"

    with_pool(test)


def test_a_worker_that_talks_nonsense_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nonsense(*arguments: object) -> tuple[bytes, bytes]:
        return protocol.PROBLEM, b"{}"

    async def test(pool: DecodePool) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(workers.Worker, "ask", nonsense)
            with pytest.raises(Refusal) as caught:
                await pool.decode(JPEG)
        assert caught.value.code == "worker_lost"
        assert (await pool.decode(JPEG)).shape == PREPROCESSING.shape
        assert pool.started == 2

    with_pool(test, workers=1)


def test_a_worker_whose_words_cannot_be_read_is_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Deeply nested JSON is no ValueError but a RecursionError; whatever it is, nobody may wait for that worker."""

    async def nested(*arguments: object) -> tuple[bytes, bytes]:
        return protocol.PROBLEM, b"[" * workers.MAX_PROBLEM_BYTES

    async def test(pool: DecodePool) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(workers.Worker, "ask", nested)
            with pytest.raises(Refusal) as caught:
                await pool.decode(JPEG)
        assert caught.value.code == "worker_lost"
        assert isinstance(caught.value.__cause__, RecursionError)
        assert "RecursionError" in caplog.text  # were it a mistake of ours, somebody would have to hear of it
        assert (await asyncio.wait_for(pool.decode(JPEG), 30)).shape == PREPROCESSING.shape

    with_pool(test, workers=1)


@pytest.mark.parametrize("reply", [b"", b"[]", b"\xff", b'{"code": [], "detail": "x"}', b'{"code": "corrupt"}'])
def test_a_problem_that_is_none(reply: bytes) -> None:
    with pytest.raises(ValueError, match=r"told no problem|Expecting value|decode"):
        workers._problem(reply)


def test_the_limit_of_pixels() -> None:
    async def test(pool: DecodePool) -> None:
        with pytest.raises(ImageError) as caught:
            await pool.decode(large_png(101))
        assert caught.value.code == "too_many_pixels"
        assert (await pool.decode(large_png(100))).shape == PREPROCESSING.shape

    with_pool(test, dataclasses.replace(Limits(), pixels=10_000))


def test_too_much_memory_is_a_problem_of_the_file_and_the_worker_lives_on() -> None:
    async def test(pool: DecodePool) -> None:
        with pytest.raises(ImageError) as caught:
            await pool.decode(large_png(6000))
        assert caught.value.code == "too_many_pixels"
        await pool.decode(JPEG)
        assert pool.started == 1

    with_pool(test, dataclasses.replace(Limits(), decode_memory_bytes=200 * 2**20), workers=1)


@on_both_loops
def test_too_much_time_costs_the_worker(loop: str) -> None:
    async def test(pool: DecodePool) -> None:
        await pool.decode(JPEG)
        with pytest.raises(ImageError) as caught:
            await pool.decode(large_png(6000))
        assert caught.value.code == "too_slow"
        await pool.decode(JPEG)
        assert pool.started == 2

    with_pool(test, dataclasses.replace(Limits(), decode_seconds=0.1), workers=1, loop=loop)


def test_a_worker_has_no_secret_and_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIELDMARK_TOKEN", "secret")

    async def test(pool: DecodePool) -> None:
        await pool.decode(JPEG)
        for process in pool.processes:
            assert b"secret" not in Path(f"/proc/{process}/environ").read_bytes()
            limits = Path(f"/proc/{process}/limits").read_text()
            assert [line.split()[3:5] for line in limits.splitlines() if "Max file size" in line] == [["0", "0"]]

    if Path("/proc/self/environ").exists():
        with_pool(test)


@on_both_loops
def test_workers_killed_at_work_cost_their_own_request_only(loop: str) -> None:
    """A5.6: SIGKILL again and again; every other request gets its pixels, and the pool is whole again in 2 seconds."""
    chance = random.Random(6)
    expected = formats.decode(JPEG, PREPROCESSING).pixels
    kills = KILLS // len(LOOPS)

    async def test(pool: DecodePool) -> None:
        right = lost = 0

        async def ask() -> None:
            nonlocal right, lost
            try:
                np.testing.assert_array_equal(await pool.decode(JPEG), expected)
                right += 1
            except Refusal as refusal:
                lost += refusal.code == "worker_lost"

        killed = 0
        while killed < kills:
            asked = [asyncio.create_task(ask()) for _ in range(8)]
            await asyncio.sleep(chance.random() * 0.01)
            with contextlib.suppress(IndexError, ProcessLookupError):  # there may be none, or one that has just died
                os.kill(chance.choice(pool.processes), signal.SIGKILL)
                killed += 1
            await asyncio.gather(*asked)
        assert lost <= kills
        assert right + lost >= 8 * kills
        begun = time.monotonic()
        while len(pool.processes) < pool.size:
            await asyncio.sleep(0.01)
        print(f"{lost} of {right + lost} lost; whole after {time.monotonic() - begun:.2f} s")
        assert time.monotonic() - begun < 10  # 2 on a machine that has nothing else to do

    with_pool(test, loop=loop)


@on_both_loops
def test_an_idle_worker_that_dies_costs_nothing(loop: str) -> None:
    async def test(pool: DecodePool) -> None:
        before = await pool.decode(JPEG)
        (process,) = pool.processes
        os.kill(process, signal.SIGKILL)
        while process in pool.processes:
            await asyncio.sleep(0.001)
        assert (await pool.decode(JPEG) == before).all()
        assert process not in pool.processes

    with_pool(test, workers=1, loop=loop)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="nothing tells which files are open")
@on_both_loops
def test_workers_that_died_leave_nothing_open(monkeypatch: pytest.MonkeyPatch, loop: str) -> None:
    """Neither the memory nor the socket, even where an upload is on its way and a child of the worker lives on."""
    start, of_children = asyncio.create_subprocess_exec, []

    async def with_a_child(*command: str, **options: Any) -> asyncio.subprocess.Process:
        of_children.append(os.dup(options["stdin"]))
        return await start(*command, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", with_a_child)

    def ours() -> list[str]:
        return sorted(file for file in open_files().values() if "socket" in file or "memfd" in file)

    async def test(pool: DecodePool) -> None:
        await pool.decode(JPEG)
        before, memory = len(ours()) - len(of_children), Path("/proc/self/maps").read_text().count("memfd:pixels")
        for _ in range(3):
            (process,) = pool.processes
            os.kill(process, signal.SIGSTOP)  # it reads nothing: what the socket does not hold waits in the server
            asked = asyncio.create_task(pool.decode(JPEG + bytes(10_000_000)))
            await asyncio.sleep(0.1)
            os.kill(process, signal.SIGKILL)
            with pytest.raises(Refusal):
                await asked
            await pool.decode(JPEG)
        assert len(ours()) - len(of_children) == before
        assert Path("/proc/self/maps").read_text().count("memfd:pixels") == memory

    async def test_and_end_children(pool: DecodePool) -> None:
        try:
            await test(pool)
        finally:
            for descriptor in of_children:
                os.close(descriptor)

    with_pool(test_and_end_children, workers=1, loop=loop)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="nothing tells which files are open")
@on_both_loops
def test_a_worker_has_no_file_of_the_server(loop: str) -> None:
    async def test(pool: DecodePool) -> None:
        await pool.decode(JPEG)
        for process in pool.processes:
            files = open_files(process)
            assert "socket" in files.pop(0)
            assert {files.pop(1), files.pop(2)} == {os.devnull}
            assert all("memfd:pixels" in file for file in files.values()), files

    with_pool(test, loop=loop)


@on_both_loops
def test_who_leaves_does_not_take_the_worker_along(loop: str) -> None:
    async def test(pool: DecodePool) -> None:
        for _ in range(5):
            asked = asyncio.create_task(pool.decode(JPEG))
            await asyncio.sleep(0.001)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        np.testing.assert_array_equal(await pool.decode(JPEG), formats.decode(JPEG, PREPROCESSING).pixels)
        assert pool.started == 1

    with_pool(test, workers=1, loop=loop)


MACOS = """
RLIMIT_AS, RLIMIT_FSIZE, RLIMIT_CORE, RLIM_INFINITY = 5, 1, 4, -1
def getrlimit(limit): return (-1, -1)
def setrlimit(limit, pair):
    if limit == RLIMIT_AS: raise ValueError("current limit exceeds maximum limit")
"""


def test_a_system_that_cannot_limit_memory_decodes_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module `resource` as it is on macOS, under the workers' feet."""
    (tmp_path / "resource.py").write_text(MACOS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    told: list[tuple[str, ...]] = []

    async def test() -> None:
        async with DecodePool(PREPROCESSING, Limits(), workers=2, on_unlimited=told.append) as pool:
            while len(pool.processes) < 2:
                await asyncio.sleep(0.01)
            np.testing.assert_array_equal(await pool.decode(JPEG), formats.decode(JPEG, PREPROCESSING).pixels)

    asyncio.run(asyncio.wait_for(test(), 30))
    assert told == [("memory",)]


def test_a_system_without_limits_breaks_nothing() -> None:
    """As on Windows, which has no module `resource`."""
    code = (
        "import sys; sys.modules['resource'] = None\n"
        "from fieldmark.serving import connections, serve, worker\n"
        "from fieldmark.serving.limits import Limits\n"
        "connections.allow_open_files(Limits())\n"
        "print(*worker.limit_process(1), sep=', ')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.stdout) == ("", "memory, files written, core dumps\n")


def test_a_limit_that_is_lower_already_is_kept() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "from fieldmark.serving import worker\n"
        "print(worker.limit_process(2**31), resource.getrlimit(resource.RLIMIT_AS)[1] <= 2**30)"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.stderr, done.stdout) == ("", "[] True\n")


@on_both_loops
def test_a_worker_that_cannot_be_started_is_tried_again_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, loop: str
) -> None:
    start, tried = asyncio.create_subprocess_exec, []

    async def fails_twice(*command: str, **options: Any) -> asyncio.subprocess.Process:
        tried.append(len(open_files()))
        if len(tried) % 3:
            raise OSError("too many processes")
        return await start(*command, **options)

    async def test(pool: DecodePool) -> None:
        for outage in (1, 2):
            assert (await asyncio.wait_for(pool.decode(JPEG), 30)).shape == PREPROCESSING.shape
            assert len(tried) == 3 * outage
            assert len(told()) == outage
            (process,) = pool.processes
            os.kill(process, signal.SIGKILL)
            while process in pool.processes:
                await asyncio.sleep(0.001)
        assert tried[0] == tried[2]  # no file is left open

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if "too many processes" in record.getMessage()]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", fails_twice)
    with_pool(test, workers=1, loop=loop)


@on_both_loops
def test_no_process_is_left(loop: str) -> None:
    processes: list[int] = []

    async def test(pool: DecodePool) -> None:
        await pool.decode(JPEG)
        processes.extend(pool.processes)

    with_pool(test, loop=loop)
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
