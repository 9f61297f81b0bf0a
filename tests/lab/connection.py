"""Connections joined in memory. What the two ends see follows TCP.

Order is kept per direction; an end that is closed shows its peer an EOF, an aborted or a dead one a reset; writing to
an end that is gone brings a reset back; bytes held up come later, not never, unless the silence has no end. A writer
is paused when the reader or the line is slow.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, TypeAlias

from tests.lab.link import How
from tests.lab.process import owner_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextvars import Context

    from tests.lab.link import Link, StreamFault
    from tests.lab.schedule import Schedule

_PIECE = 64 * 1024
_LOW = 64 * 1024  # bytes on the way that the kernel takes before a writer's buffer grows
_HIGH = 128 * 1024
_SLOW_PIECE, _WINDOW = 8 * 1024, 16 * 1024
"""Where a line has a limit: its connections take turns piece by piece, and each has so much on the way. What nobody
reads any more takes no room on the line."""
_TICK = 1e-6  # two segments of one direction never arrive at once


class Mark(Enum):
    """What may travel besides bytes."""

    EOF = "eof"
    RESET = "reset"


Segment: TypeAlias = bytes | Mark


class End(asyncio.Transport):
    """One end of a connection; all its callbacks run in `context`, and so in the process it belongs to."""

    peer: End

    def __init__(self, loop: Schedule, link: Link, context: Context, *, to_server: bool) -> None:
        super().__init__({"peername": "", "sockname": ""})
        self.context = context
        self.owner = owner_in(context, loop.world)
        self._loop = loop
        self._link = link
        self._to_server = to_server
        self._protocol: asyncio.Protocol
        self._closing = False
        self._lost = False
        self._ended = False
        self._reading = True
        self._paused = False
        self._inbox: deque[Segment] = deque()
        self._burst = 0
        self._on_the_way = 0
        self._outbox: deque[Segment] = deque()
        """What waits for its turn on a line with a limit."""
        self._queued = 0
        self._last = 0.0
        self.owner.connections[self] = None

    def open(self, make: Callable[[], asyncio.BaseProtocol]) -> None:
        """Give this end its protocol, and tell it."""
        if not self._lost:
            self.set_protocol(make())
            self._protocol.connection_made(self)

    def sever(self) -> None:
        """Reset the connection without telling this side, whose process is dead."""
        self._closing = self._lost = True
        self._forget()
        self._outbox.clear()
        self._send(Mark.RESET)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`; nothing happens if this end is closing or its process died."""
        what = _request(data)
        if self._closing or not data or not self._loop.passes(f"send{what}"):
            return
        self._carry(bytes(data))
        self._loop.passes(f"sent{what}")

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send all of it in one go."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Send nothing more."""
        if not self._ended and not self._lost:
            self._ended = True
            self._end(Mark.EOF)

    def can_write_eof(self) -> bool:
        """Tell that `write_eof` works."""
        return True

    def close(self) -> None:
        """Close this end; what was written still arrives."""
        if not self._closing:
            self.write_eof()
            self._closing = True
            self._loop.call_soon(self._lose, None, context=self.context)

    def abort(self) -> None:
        """Close this end; the peer sees a reset."""
        if not self._lost:
            self._outbox.clear()
            self._send(Mark.RESET)
            self._closing = True
            self._loop.call_soon(self._lose, None, context=self.context)

    def is_closing(self) -> bool:
        """Tell whether this end is closed or about to be."""
        return self._closing

    def is_reading(self) -> bool:
        """Tell whether bytes are handed to the protocol."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Let what arrives wait."""
        self._reading = False

    def resume_reading(self) -> None:
        """Hand over what waited and what comes."""
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._read, context=self.context)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait in this process: those beyond what the kernel took."""
        return max(0, self._on_the_way + self._queued - _LOW)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return (low, high): fixed."""
        return 0, _HIGH - _LOW

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: the limits are fixed."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Switch to another protocol, which must take bytes."""
        if not isinstance(protocol, asyncio.Protocol):
            raise TypeError("a stream needs an asyncio.Protocol")
        self._protocol = protocol

    def get_protocol(self) -> asyncio.Protocol:
        """Return the protocol."""
        return self._protocol

    def _carry(self, data: bytes) -> None:
        """Send `data`, unless a fault strikes in the middle of it."""
        self.peer._burst = 0
        fault = self._link.strike(self._burst, len(data), to_server=self._to_server)
        whole = len(data) if fault is None else max(0, fault.after - self._burst)
        self._burst += len(data)
        self._send_pieces(data[:whole])
        if fault is not None:
            self._break(fault)
            self._send_pieces(data[whole:])

    def _break(self, fault: StreamFault) -> None:
        self._loop.trace.note(self.owner.name, "fault", fault.how)
        if fault.how is How.STALL:
            self._last = max(self._last, self._loop.now) + fault.seconds
            return
        self._end(Mark.RESET if fault.how is How.RESET else Mark.EOF)
        self._closing = True
        self._loop.call_soon(self._lose, _reset(), context=self.context)

    def _send_pieces(self, data: bytes) -> None:
        limited = self._link.rate is not None
        size = _SLOW_PIECE if limited else _PIECE
        pieces = [data[start : start + size] for start in range(0, 0 if self._closing else len(data), size)]
        if limited and len(pieces) > 1:
            pieces[-2:] = [pieces[-2] + pieces[-1]]  # a small one would not wait for its turn
        for piece in pieces if not limited else ():
            self._send(piece)
        if limited:
            self._outbox.extend(pieces)
            self._queued += sum(map(len, pieces))
            self._take_turns()
        if self._on_the_way + self._queued > _HIGH and not self._paused and not self._closing:
            self._paused = True
            self._protocol.pause_writing()

    def _take_turns(self) -> None:
        """Send what waits, as far as there is room on the way."""
        while self._outbox and (self._on_the_way < _WINDOW or isinstance(self._outbox[0], Mark)):
            segment = self._outbox.popleft()
            self._queued -= len(segment) if isinstance(segment, bytes) else 0
            self._send(segment)

    def _end(self, mark: Mark) -> None:
        """Send the end behind all that waits."""
        if self._outbox:
            self._outbox.append(mark)
        else:
            self._send(mark)

    def _send(self, segment: Segment) -> None:
        size = len(segment) if isinstance(segment, bytes) else 0
        arrives = self._link.arrival(self._loop.now, size, to_server=self._to_server)
        self._last = max(arrives, self._last + _TICK)
        self._on_the_way += size
        self._loop.trace.note(self.owner.name, size or segment, self._last)
        if self._last < inf:
            self._loop.at(self._last, self.peer._arrive, segment, context=self.peer.context)

    def _arrive(self, segment: Segment) -> None:
        if self._lost or (self._closing and isinstance(segment, bytes)):
            if isinstance(segment, bytes):
                self._send(Mark.RESET)
            return
        if segment is Mark.RESET:
            self._closing = True
            self._lose(_reset())
            return
        self._inbox.append(segment)
        self._read()

    def _read(self) -> None:
        """Hand the protocol what has arrived, as long as it reads."""
        while self._inbox and self._reading and not self._closing:
            segment = self._inbox.popleft()
            if isinstance(segment, bytes):
                self.peer._taken(len(segment))
                self._protocol.data_received(segment)
            elif not self._protocol.eof_received():
                self.close()

    def _taken(self, size: int) -> None:
        self._on_the_way -= size
        self._take_turns()
        if self._paused and self._on_the_way + self._queued <= _LOW:
            self._paused = False
            self._loop.call_soon(self._go_on, context=self.context)

    def _go_on(self) -> None:
        if not self._lost and not self._paused:
            self._protocol.resume_writing()

    def _lose(self, trouble: OSError | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._forget()
        self._protocol.connection_lost(trouble)

    def _forget(self) -> None:
        self.owner.connections.pop(self, None)


def _request(data: bytes | bytearray | memoryview) -> str:
    """Return ` POST /prompt` for the first bytes of such a request, else nothing."""
    method, _, rest = bytes(data[:40]).partition(b" ")
    if method not in (b"GET", b"POST"):
        return ""
    path = rest.partition(b" ")[0].partition(b"?")[0]
    return f" {method.decode()} {path.decode('ascii', 'replace')}"


def _reset() -> OSError:
    return ConnectionResetError(errno.ECONNRESET, "connection reset by peer")
