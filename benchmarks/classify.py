"""How fast `classify` asks an endpoint, against what the endpoint and the bare SDK allow."""

import asyncio
import tempfile
import time
from pathlib import Path

from lorapar_cli.labelling.classify import classify
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.labelling.teachers.label_parser import parse_label
from lorapar_cli.labelling.teachers.label_prompt import SCHEMA
from lorapar_cli.store.run_dir import RunDir
from tests.labelling.classify_parts import running_server, write_questions

CONCURRENCY = 32
LATENCY = 0.2
RECORDS = 1000


def seconds_to_classify(folder: Path, server, data: Path) -> float:
    """Returns seconds per answer, from the first to the last; reading and writing excluded."""
    seen = []

    def progress(event):
        if event.task == "a":
            seen.append((time.perf_counter(), event.done))

    options = ClassifyOptions((str(data),), (server.teacher("a"),), concurrency=CONCURRENCY)
    classify(RunDir(folder), options, progress=progress)
    (first, done_first), (last, done_last) = seen[0], seen[-1]
    return (last - first) / (done_last - done_first)


def seconds_of_bare_loop(server, count: int) -> float:
    """Returns seconds per answer of the SDK alone: workers that send one request after another."""
    import openai

    async def worker(client, numbers):
        for number in numbers:
            await client.chat.completions.create(
                model="model-bare",
                messages=[
                    {"role": "system", "content": "x" * 1500},
                    {"role": "user", "content": f"question {number} " + "y" * 500},
                ],
                max_tokens=1024,
                temperature=0,
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "label", "schema": SCHEMA, "strict": True},
                },
            )

    async def all_workers():
        numbers = iter(range(count))
        async with openai.AsyncOpenAI(api_key="none", base_url=server.url, max_retries=0) as client:
            started = time.perf_counter()
            await asyncio.gather(*(worker(client, numbers) for _ in range(CONCURRENCY)))
            return (time.perf_counter() - started) / count

    return asyncio.run(all_workers())


def throughput(folder: Path, data: Path, attempts: int = 3) -> str:
    """Returns a line on requests per second; other load only slows it down, so the best counts."""
    rates = []
    for attempt in range(attempts):
        with running_server(delay=LATENCY) as server:
            rates.append(1 / seconds_to_classify(folder / f"slow{attempt}", server, data))
    return (
        f"classify, endpoint with {1e3 * LATENCY:.0f} ms, concurrency {CONCURRENCY}: "
        f"{max(rates):.1f} requests a second of {CONCURRENCY / LATENCY:.0f}"
    )


def overhead(folder: Path, data: Path) -> str:
    """Returns a line on the client's time per request against the bare SDK's."""
    with running_server() as server:
        seconds_of_bare_loop(server, 100)
        bare = min(seconds_of_bare_loop(server, RECORDS) for _ in range(2))
        ours = min(seconds_to_classify(folder / f"fast{turn}", server, data) for turn in range(2))
    return (
        f"classify, client time per request: {1e3 * ours:.2f} ms, bare SDK {1e3 * bare:.2f} ms, "
        f"{ours / bare:.2f} times"
    )


def seconds_to_parse(size: int) -> float:
    """Returns the seconds that the label parser takes for its hardest texts of a length."""
    texts = ('"' * size, "system " * size, "not a " * size, "<think>" * size)
    started = time.perf_counter()
    for text in texts:
        parse_label(f'{{"label": "System1"}} or {text} x {{"label": "System2"}}')
        parse_label(f"System 1 {text} System 2")
    return time.perf_counter() - started


def parser() -> str:
    """Returns a line on how the parser's time grows with the length of an answer."""
    short, long = seconds_to_parse(20_000), seconds_to_parse(80_000)
    return (
        f"label parser, answers of 20,000 and 80,000 words: {short:.2f} s and {long:.2f} s, "
        f"{long / short:.1f} times for 4 times the length"
    )


def main() -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory() as folder:
        data = write_questions(Path(folder) / "data.jsonl", RECORDS)
        print(throughput(Path(folder), data))
        print(overhead(Path(folder), data))
    print(parser())
