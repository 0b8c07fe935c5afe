"""How fast classify asks, against what the endpoint and the bare SDK allow."""

import asyncio
import time

import pytest

from lorapar_cli.labelling.classify import classify
from lorapar_cli.labelling.teachers.dispatch import RequestPolicy
from lorapar_cli.labelling.teachers.label_prompt import SCHEMA
from lorapar_cli.store.run_dir import RunDir
from tests.labelling.classify_parts import running_server, write_questions

CONCURRENCY = 32


def seconds_to_classify(folder, server, data):
    """From the first question to the last answer, reading and writing of the data left out."""
    seen = []

    def progress(event):
        if event.task == "a":
            seen.append((time.perf_counter(), event.done))

    classify(
        RunDir(folder),
        data=str(data),
        teachers=[server.teacher("a")],
        policy=RequestPolicy(concurrency=CONCURRENCY),
        progress=progress,
    )
    (first, done_first), (last, done_last) = seen[0], seen[-1]
    return (last - first) / (done_last - done_first)


def seconds_of_bare_loop(server, count):
    """The SDK alone: as many workers that send the same kind of request one after the other."""
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
        client = openai.AsyncOpenAI(api_key="none", base_url=server.url, max_retries=0)
        numbers = iter(range(count))
        started = time.perf_counter()
        await asyncio.gather(*(worker(client, numbers) for _ in range(CONCURRENCY)))
        return (time.perf_counter() - started) / count

    return asyncio.run(all_workers())


def test_throughput_is_what_the_endpoint_allows(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 1000)
    wanted = 0.9 * CONCURRENCY / 0.2
    # What else the machine does can only slow it down: the best of a few tries counts.
    for attempt in range(4):
        with running_server(delay=0.2) as server:
            rate = 1 / seconds_to_classify(tmp_path / f"run{attempt}", server, data)
        print(f"{rate:.1f} requests a second of {CONCURRENCY / 0.2:.0f}")
        if rate >= wanted:
            return
    pytest.fail(f"{rate:.1f} requests a second, {wanted:.0f} wanted")


def test_overhead_over_the_bare_sdk(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 1000)
    with running_server() as server:
        seconds_of_bare_loop(server, 100)
        bare = min(seconds_of_bare_loop(server, 1000) for _ in range(2))
        ours = min(seconds_to_classify(tmp_path / f"run{turn}", server, data) for turn in range(2))
    print(f"{1e3 * ours:.2f} ms a request, bare loop {1e3 * bare:.2f} ms, {ours / bare:.2f} times")
    assert ours <= 1.5 * bare
