"""What readers are fed with: valid documents that are damaged, and documents built from nothing."""

import json

from hypothesis import strategies as st

from lorapar_cli.store.tensor_files import layout_fingerprint

_RECORD = {
    "id": "a1",
    "prompt": "What is 2 + 3?",
    "completion": "2 + 3 = 5\n#### 5",
    "reference_answer": "5",
    "label": "system1",
    "votes": {"rules-cues": "system1", "b": None},
    "agreement": 1.0,
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
}
_CHAT = {
    "messages": [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So.", "tool_calls": [{"function": {"arguments": "{}"}}]},
    ]
}
_MANIFEST = {
    "schema": 1,
    "stage": "score",
    "settings": {"r": 8, "model": "embedded", "template": None},
    "given": ["r"],
    "inputs": {"system1": {"path": "../classify/system1.jsonl", "sha256": "ab", "bytes": 3}},
    "outputs": {"importance.safetensors": {"sha256": "cd", "bytes": 5}},
    "counts": {"elements": 3},
    "metrics": {"noise": None},
    "notes": ["one"],
    "base_model": {"id": "embedded", "revision": None},
    "started": "2026-01-01T00:00:00+00:00",
    "ended": "2026-01-01T00:00:01+00:00",
    "versions": {"torch": "2"},
}
_ANSWER = {
    "key": "0123456789abcdef0123456789abcdef",
    "teacher": "a",
    "model": "m",
    "id": "1",
    "vote": "system2",
    "text": "System 2",
    "prompt_tokens": 10,
    "completion_tokens": 2,
    "cost": 0.001,
    "cut_at": 5,
    "final": False,
}
_LINES = (_RECORD, _CHAT, _MANIFEST, _ANSWER)
_DOCUMENTS = [
    *(json.dumps(each) for each in _LINES),
    *("\n".join([json.dumps(each)] * 2) + "\n" for each in _LINES),
    json.dumps([_RECORD, _CHAT]),
    json.dumps({"data": [_RECORD], "version": 1}),
    json.dumps({"question": "1+1?", "answer": "#### 2"}),
    json.dumps({"instruction": "Add.", "input": "1, 2", "output": "3"}),
    json.dumps({"question": "Which?", "choices": ["a", "b", "c"], "answer": 1}),
    json.dumps({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}),
    'question,answer\n1+1?,#### 2\n"a ""b"", c",5\n',
    "prompt\tcompletion\na\tb\n",
    "Which?,a,b,c,d,B\n",
    "",
]
_ENCODED = [text.encode() for text in _DOCUMENTS]
_ENCODED += [
    b"\xef\xbb\xbf" + _ENCODED[0],
    _DOCUMENTS[0].encode("utf-16"),
    b"\x1f\x8b" + _ENCODED[0],
]
_PIECES = [
    *(b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\n", b"\r", b"\x00", b"\xff", b"\t", b" "),
    *(
        b"null",
        b"true",
        b"NaN",
        b"Infinity",
        b"-1",
        b"1e999",
        b"9" * 40,
        b"0.5",
        b'""',
        b"[]",
        b"{}",
    ),
    *(b'"system1"', b'"system9"', b'"id"', b'"prompt"', b'"\\ud800"', b"\\u0000", b"\xed\xa0\x80"),
    *(
        b"\xe2\x80\xa8",
        b"[" * 60,
        b'{"a":' * 60,
        b"'",
        b"#",
        b"---",
        b"&a",
        b"*a",
        b"!!int",
        b"<<: ",
    ),
]


def _damage(parts: tuple[bytes, bytes]) -> bytes:
    """Returns a document with a few edits: four bytes each say where, how much, and what instead."""
    document, edits = parts
    for place in range(0, len(edits) - 3, 4):
        where = int.from_bytes(edits[place : place + 2]) % (len(document) + 1)
        cut = edits[place + 2] % 16 if edits[place + 2] < 240 else len(document)
        piece = _PIECES[edits[place + 3] % len(_PIECES)]
        document = document[:where] + piece + document[where + cut :]
    return document


def _damaged(documents: list[bytes]) -> st.SearchStrategy:
    return st.tuples(st.sampled_from(documents), st.binary(max_size=24)).map(_damage)


files = _damaged(_ENCODED)

_YAML = b"""model: embedded
run_dir: run
seed: 3
classify:
  data: [a.jsonl, b.jsonl]
  teachers: 'rules-cues,rules-shape'
  holdout: 0.2
score: {samples: 20, r: 4, target_modules: [q_proj, v_proj]}
partition: {theta: 0.9, alpha: 1}
train-sft: {epochs: 2, learning_rate: 1e-4}
train_rl:
  rewards: {integer: 0.5}
eval: null
"""
yaml_files = _damaged(
    [
        _YAML,
        b"partition: {theta: 0.5}\n",
        b"a: &a [1, 2]\nb: *a\n",
        b"teachers:\n  mine: {base_url: http://h/v1, model: m, price: {input: 1, output: 2}}\n",
        b"? [complex, key]\n: value\n",
        b"text: |\n  one\n  two\nfolded: >-\n  a\n",
        b"2026-01-01: 0x1F\n0o7: .inf\n1:30: yes\n",
    ]
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
field_names = st.sampled_from(
    [
        *("id", "prompt", "completion", "question", "answer", "messages", "instruction", "input"),
        *("output", "context", "response", "label", "votes", "agreement", "reference_answer"),
        *("choices", "role", "content", "schema", "stage", "settings", "inputs", "outputs", "key"),
        *("teacher", "vote", "text", "tokens", "ended", "counts", "metrics", "base_model"),
    ]
)
rows = st.dictionaries(field_names | st.text(max_size=6), json_values, max_size=8)
broken_text = st.text(alphabet=st.characters(codec="utf-8"), max_size=200)
near_json = st.one_of(
    rows.map(json.dumps),
    st.lists(rows, max_size=3).map(lambda part: "\n".join(map(json.dumps, part))),
    st.tuples(rows.map(json.dumps), st.integers(0, 200), st.text(max_size=3)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
    ),
    broken_text,
)
built_files = st.one_of(
    near_json.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=200),
    near_json.map(lambda text: b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass")),
    near_json.map(lambda text: text.encode("utf-16", "surrogatepass")),
)
built_yaml = st.one_of(
    rows.map(json.dumps), broken_text, st.text(alphabet="a:-[]{}&*!|>\"'#%@ \n\t?,~0.", max_size=60)
).map(lambda text: text.encode("utf-8", "surrogatepass"))

_FRAGMENTS = [
    *(
        "#### ",
        "\\boxed{",
        "}",
        "<answer>",
        "</answer>",
        "<think>",
        "</think>",
        "1,080",
        "18",
        "-3.5",
    ),
    *(
        "1/2",
        "\\frac{3}{4}",
        "$",
        "%",
        "(B)",
        "B",
        "The answer is ",
        "\n",
        " ",
        ", ",
        ".",
        "a",
        "and",
    ),
    *(
        "system 1",
        "System 2",
        '{"label": "system1"}',
        "not ",
        " or ",
        "```json",
        "```",
        "x = ",
        "[0, 1)",
    ),
    *(
        "١",
        "½",
        "−",
        "1e400",
        "9" * 50,
        "{",
        "Question:",
        "</s>",
        "\x00",
        "\ud800",
        "\u2028",
        "0.",
        "e9",
    ),
    *(
        "Solution",
        "two hundred",
        "million ",
        "km",
        "\\text{ m}",
        "10^{3}",
        "√2",
        "π",
        "| ",
        "**",
        "####",
    ),
]
answers = st.binary(max_size=14).map(
    lambda chosen: "".join(_FRAGMENTS[byte % len(_FRAGMENTS)] for byte in chosen)
)
built_answers = broken_text

headers = st.dictionaries(
    st.sampled_from(["__metadata__", "a", "b", "system1/a", "system2/a", "system1/", "x/y"]),
    st.one_of(
        json_values,
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["U8", "F32", "F64", "I64", "BOOL", "F8", "BF16", ""]),
                "shape": st.lists(st.integers(-1, 5) | st.just(2**40), max_size=3),
                "data_offsets": st.lists(st.integers(-1, 40), max_size=3),
            }
        ),
        st.dictionaries(st.sampled_from(["schema", "fingerprint", "formula"]), st.text(max_size=5)),
    ),
    max_size=4,
)


def as_safetensors(parts: tuple[dict, bytes, int]) -> bytes:
    """Returns a file of a header and a body whose length field may lie."""
    header, body, lie = parts
    text = json.dumps(header).encode()
    return max(0, len(text) + lie).to_bytes(8, "little") + text + body


built_tensors = st.one_of(
    st.tuples(
        headers, st.binary(max_size=48), st.sampled_from([0, 0, 0, -1, 1, 10**6, 10**12])
    ).map(as_safetensors),
    st.binary(max_size=100),
)


def _tensor_file(dtype: str, width: int, names: tuple[str, ...], metadata: dict[str, str]) -> bytes:
    header: dict[str, object] = {"__metadata__": metadata}
    for number, name in enumerate(names):
        offsets = [6 * width * number, 6 * width * (number + 1)]
        header[name] = {"dtype": dtype, "shape": [2, 3], "data_offsets": offsets}
    return as_safetensors((header, bytes(range(6 * width)) * len(names), 0))


_MATRIX = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
_FINGERPRINT = {"schema": "1", "fingerprint": layout_fingerprint({_MATRIX: (2, 3)})}
tensor_files = _damaged(
    [
        _tensor_file("U8", 1, (_MATRIX,), _FINGERPRINT),
        _tensor_file("U8", 1, (_MATRIX,), _FINGERPRINT | {"theta": "0.9"}),
        _tensor_file("F32", 4, (f"system1/{_MATRIX}", f"system2/{_MATRIX}"), _FINGERPRINT),
        _tensor_file("F64", 8, (f"system1/{_MATRIX}", f"system2/{_MATRIX}"), _FINGERPRINT),
        _tensor_file("F32", 4, (f"system1/{_MATRIX}",), {}),
    ]
)
