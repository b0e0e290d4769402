"""Workers: images of strangers are decoded in processes with limits, so that a file may cost its decoder at most.

    async with DecodePool(preprocessing, limits) as pool:
        pixels = await pool.decode(content)

A file that takes too long has its worker killed; a worker that dies fails the file it was at and no other. Either is
replaced at once. What goes through the socket is described in `worker`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import math
import mmap
import os
import socket
import sys
from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np

from fieldmark.errors import ImageError
from fieldmark.images.problems import PROBLEMS
from fieldmark.preprocessing import Pixels, Preprocessing
from fieldmark.serving import worker as protocol
from fieldmark.serving.limits import Limits
from fieldmark.serving.refusals import Refusal

PIECE_BYTES = 1_000_000  # of a file on its way to a worker
MAX_READY_BYTES = 1_000  # of a worker's words about itself
MAX_PROBLEM_BYTES = 100_000  # of a worker's words about a file
START_SECONDS = 30  # a worker that is not ready by then is tried again
RESTART_SECONDS = 0.2  # between the end of a worker and the start of the next, so that a fault is no busy loop
LOG = logging.getLogger(__name__)
LOST = (OSError, EOFError, ValueError)  # what talking to a worker raises once it is lost, or talks nonsense
# What a worker is given of the server's environment: neither its token nor anything else that is secret.
ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
EXTRA = {
    "OPENBLAS_NUM_THREADS": "1",  # each of its threads would take address space
    # Of Pillow's blocks (16 MiB at most), how many are kept for the next image: taken anew from the system they cost
    # 180 page faults for 300 px, a fifth of the time
    "PILLOW_BLOCKS_MAX": "4",
}


class DecodePool:
    """Worker processes, one a core, and who waits for them; owns them: use it in an `async with` block.

    `on_unlimited` is given the keys of `worker.LIMITS` that this system cannot set, once, where there are any.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        limits: Limits,
        *,
        workers: int | None = None,
        on_unlimited: Callable[[tuple[str, ...]], object] = lambda names: None,
    ) -> None:
        self.preprocessing = preprocessing
        self.limits = limits
        self.size = workers or os.cpu_count() or 1
        self.started = 0  # workers so far; those above `size` replaced others
        self._on_unlimited = on_unlimited
        self._unlimited: tuple[str, ...] = ()
        self._told = ""
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()
        self._alive: set[Worker] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._jobs: set[asyncio.Task[Pixels]] = set()

    async def __aenter__(self) -> DecodePool:
        self._keepers = [asyncio.create_task(self._keep_one()) for _ in range(self.size)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = (*self._keepers, *self._jobs)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def processes(self) -> list[int]:
        """The process ids of the workers that are ready or at work."""
        return [worker.process.pid for worker in self._alive]

    async def decode(self, content: bytes | bytearray, preprocessing: Preprocessing | None = None) -> Pixels:
        """The pixels uint8 (height, width, channels) of a file, as `formats.decode` makes them.

        `preprocessing` is the pool's unless it is given. Raises ImageError where the file has a problem (one of them:
        `too_slow`), and Refusal (503, worker_lost) where its worker died.
        """
        worker = await self._next_idle()
        job = asyncio.create_task(self._decode(worker, content, preprocessing or self.preprocessing))
        self._jobs.add(job)
        job.add_done_callback(self._finished)
        # Whoever asked may leave; the worker is at it all the same, and what it sends must be read
        return await asyncio.shield(job)

    def _finished(self, job: asyncio.Task[Pixels]) -> None:
        self._jobs.discard(job)
        if not job.cancelled():
            job.exception()  # seen, should nobody wait for it any more

    async def _next_idle(self) -> Worker:
        while True:
            worker = await self._idle.get()
            if worker in self._alive:
                return worker

    async def _decode(self, worker: Worker, content: bytes | bytearray, preprocessing: Preprocessing) -> Pixels:
        seconds = self.limits.decode_seconds
        try:
            async with asyncio.timeout(seconds):
                kind, reply = await worker.ask(content, preprocessing)
                problem = _problem(reply) if kind == protocol.PROBLEM else None
        except TimeoutError:
            self._alive.discard(worker)
            worker.kill()
            raise ImageError("too_slow", f"decoding took longer than {seconds:g} seconds") from None
        except Exception as error:  # it is lost, or talks nonsense: its next words are not believed either
            self._alive.discard(worker)
            worker.kill()
            if not isinstance(error, LOST):
                self._tell(f"a process that decodes images was given up: {error!r}")
            raise Refusal(
                503, "worker_lost", "the process that decoded this image was lost", hint="send the request again"
            ) from error
        self._idle.put_nowait(worker)
        if problem is not None:
            raise problem
        return np.frombuffer(reply, np.uint8).reshape(preprocessing.shape)

    async def _keep_one(self) -> None:
        """Keep one worker alive, whatever happens to it."""
        while True:
            self.started += 1
            try:
                await self._live(await Worker.start(self.limits, math.prod(self.preprocessing.shape)))
            except Exception as error:  # it never was ready; the next one may be
                self._tell(f"a process that decodes images was lost or could not be started: {error!r}")
            await asyncio.sleep(RESTART_SECONDS)

    def _tell(self, message: str) -> None:
        if message != self._told:  # the next try is a fraction of a second away
            self._told = message
            LOG.warning(message)

    async def _live(self, worker: Worker) -> None:
        """Have a worker for as long as it lives."""
        try:
            async with asyncio.timeout(START_SECONDS):
                unlimited = await worker.ready()
            if unlimited and not self._unlimited:
                self._unlimited = unlimited
                self._on_unlimited(unlimited)
            self._told = ""
            self._alive.add(worker)
            self._idle.put_nowait(worker)
            await worker.process.wait()
        finally:
            self._alive.discard(worker)
            await worker.end()


class Worker:
    """One process, the socket to it, and the memory into which it writes pixels."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        shared: mmap.mmap | None,
    ) -> None:
        self.process = process
        self._reader, self._writer = connection
        self._shared = shared

    @classmethod
    async def start(cls, limits: Limits, pixels: int) -> Worker:
        """Start the process, which is not `ready` yet, with shared memory for so many bytes of pixels."""
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as if_it_fails, _shared_memory(pixels) as (shared, descriptors):
            if_it_fails.callback(ours.close)
            if shared is not None:
                if_it_fails.callback(shared.close)
            connection = await asyncio.open_connection(sock=ours)
            if_it_fails.callback(connection[1].transport.abort)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # modules of the folder in which the server was started are none of ours
                "-m",
                protocol.__name__,
                str(limits.decode_memory_bytes),
                str(limits.pixels),
                *map(str, descriptors),
                pass_fds=descriptors,
                stdin=theirs.fileno(),
                stdout=asyncio.subprocess.DEVNULL,
                env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ} | EXTRA,
                start_new_session=True,  # Ctrl-C is the server's
            )
            if_it_fails.pop_all()
        return cls(process, connection, shared)

    def kill(self) -> None:
        """End the process, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def end(self) -> None:
        """End the process, and with it the connection and the memory."""
        self.kill()
        try:
            await self.process.wait()
        finally:
            self._writer.transport.abort()  # close would wait until what was not sent has been
            if self._shared is not None:
                self._shared.close()

    async def ready(self) -> tuple[str, ...]:
        """Wait until the process can decode; return the keys of `worker.LIMITS` that do not hold for it."""
        _, content = await self._receive({protocol.READY: MAX_READY_BYTES})
        names = json.loads(content)
        return tuple(name for name in protocol.LIMITS if name in names)

    async def ask(self, content: bytes | bytearray, preprocessing: Preprocessing) -> tuple[bytes, bytes]:
        """Send a file; return the kind of the reply and its content.

        Raises OSError or EOFError where the process is lost, ValueError where it talks nonsense.
        """
        head = _wanted(preprocessing) + protocol.header(protocol.CONTENT, len(content))
        with memoryview(content) as view:
            # Most files are one piece: each more wakes the process once more. Larger ones are sent bit by bit, as what
            # the transport keeps waiting is a copy.
            self._writer.write(head + view[:PIECE_BYTES])
            for first in range(PIECE_BYTES, len(view), PIECE_BYTES):
                await self._writer.drain()
                self._writer.write(view[first : first + PIECE_BYTES])
            await self._writer.drain()
        count = math.prod(preprocessing.shape)
        expected = {protocol.PIXELS: count, protocol.SHARED: 0, protocol.PROBLEM: MAX_PROBLEM_BYTES}
        kind, reply = await self._receive(expected)
        if kind != protocol.SHARED:
            return kind, reply
        if self._shared is None or count > len(self._shared):
            raise ValueError("pixels where there is no room for them")
        return protocol.PIXELS, self._shared[:count]  # a copy: the worker will write there again

    async def _receive(self, expected: dict[bytes, int]) -> tuple[bytes, bytes]:
        """One message of an expected kind, at most so long: a worker that was taken over is not believed."""
        kind, length = protocol.HEADER.unpack(await self._reader.readexactly(protocol.HEADER.size))
        if length > expected.get(kind, -1) or (kind == protocol.PIXELS and length != expected[kind]):
            raise ValueError(f"{kind!r} and {length} bytes from a worker")
        return kind, await self._reader.readexactly(length)


@contextlib.contextmanager
def _shared_memory(count: int) -> Iterator[tuple[mmap.mmap | None, tuple[int, ...]]]:
    """Memory without a name, where the system has such, and the descriptor of it that a child is given in the block.

    Through the socket pixels are copied twice, and reach the server in pieces that wake it each: 5 % of what answering
    an image of 224 px costs.
    """
    try:
        shared, descriptor = _sealed_memory(count)
    except (ImportError, AttributeError, OSError):  # Linux alone has it, and may refuse it: the socket serves, too
        yield None, ()
        return
    try:
        yield shared, (descriptor,)
    finally:
        os.close(descriptor)


def _sealed_memory(count: int) -> tuple[mmap.mmap, int]:
    import fcntl  # which Windows has not

    descriptor = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, count)
        # A worker that was taken over could end the server by cutting off what the server reads
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return mmap.mmap(descriptor, count), descriptor
    except BaseException:  # such as AttributeError, of a Python that was built without seals
        os.close(descriptor)
        raise


@functools.lru_cache
def _wanted(preprocessing: Preprocessing) -> bytes:
    return protocol.frame(protocol.PREPROCESSING, json.dumps(preprocessing.to_json()).encode())


def _problem(reply: bytes) -> ImageError:
    """What a worker says of a file. Raises ValueError where it is no such thing: see `Worker._receive`."""
    found = json.loads(reply)
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in ("code", "detail")):
        raise ValueError("a worker told no problem")
    return ImageError(found["code"] if found["code"] in PROBLEMS else "corrupt", found["detail"])
