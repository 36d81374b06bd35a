"""A TCP proxy that delays every byte by the same time each way: a distant site.

python -m benchmark.proxy LISTEN_PORT SERVER_PORT DELAY_MS [LISTEN_ADDRESS [COUNT]]

The file COUNT grows by a byte with each HTTP request.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

_MARK = b" HTTP/1.1\r\n"  # ends the first line of a request; an answer's begins so


async def _carry(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    delay: float,
    seen: Callable[[bytes], None] = lambda _: None,
) -> None:
    """Bytes arrive `delay` seconds later, in order; how many are on their way is not limited."""
    loop = asyncio.get_running_loop()
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await on_the_way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    delivering = asyncio.create_task(deliver())
    try:
        while data := await reader.read(1 << 18):
            seen(data)
            on_the_way.put_nowait((loop.time() + delay, data))
        on_the_way.put_nowait((loop.time() + delay, b""))
        await delivering
    except OSError:
        delivering.cancel()  # one side went away: so does the other


class _Counter:
    """Counts the requests of one connection, whose bytes come in pieces."""

    def __init__(self, count: Path) -> None:
        self._count = count
        self._rest = b""

    def __call__(self, data: bytes) -> None:
        found = (self._rest + data).count(_MARK)
        self._rest = (self._rest + data)[-len(_MARK) + 1 :]
        if found:
            with self._count.open("ab") as file:
                file.write(b"." * found)


async def serve(
    port: int,
    server_port: int,
    delay_ms: float,
    address: str = "127.0.0.1",
    count: str | None = None,
) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server_port)
        delay = delay_ms / 2000
        seen = [_Counter(Path(count))] if count else []
        there = _carry(reader, far_writer, delay, *seen)
        await asyncio.gather(there, _carry(far_reader, writer, delay))
        for side in (writer, far_writer):
            side.close()

    server = await asyncio.start_server(accept, address, port, limit=1 << 20)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:]))
