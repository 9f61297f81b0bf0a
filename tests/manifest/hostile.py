"""Documents that no manifest should be, and tables that none should name: endlessly many, the same for a seed."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

SOUND: dict[str, Any] = {
    "name": "t",
    "server": ["sim"],
    "ttl": "10m",
    "workflow": "ltx2",
    "presets": {"look": {"noir": {"_poll": "noir", "cfg": 6}}},
    "defaults": {"negative": "blurry", "size": "sd", "fps": 24, "_animal": "fox"},
    "sweep": [
        {"prompt": ["A ${_animal}", "b"], "_animal": "cat", "look": ["noir"], "seed": {"count": 2, "per": "prompt"}},
        {"rows": [{"prompt": "x", "seed": 1}], "steps": {"from": 1, "to": 3, "step": 1}},
        {"prompt": {"file": "p.txt"}, "zip": {"width": [64, 96], "height": [64, 96]}},
    ],
    "exclude": [{"seed": 1}],
    "sample": {"count": 3},
    "files": "{prompt}/{seed}",
    "order": "grouped",
}
VALUES: list[Any] = [
    None,
    True,
    "",
    "\0",
    "a\nb",
    "x" * 5000,
    -1,
    0,
    1.5,
    2**64,
    10**400,
    float("inf"),
    float("nan"),
    1e-320,
    [],
    {},
    [[]],
    [{}],
    {"a": {}},
    [None],
    "none",
    "sim",
    "http://a:b@c",
    "http://[",
    "../../../etc/passwd",
    "/dev/zero",
    "/",
    ".",
    "p.csv",
    "p.jsonl",
    "${prompt}",
    "${_animal}" * 200,
    "${",
    "{job}/../{job}",
    "CON",
    "con/nul",
    {"count": 10**12},
    {"count": 10**400},
    {"count": 5, "per": "seed"},
    {"from": 0, "to": 1e300, "step": 1e-300},
    {"from": 0, "to": 1, "count": 10**30},
    {"from": -1e308, "to": 1e308, "count": 3},
    {"file": "p.csv", "column": "prompt"},
    {"file": "p.jsonl", "column": "prompt"},
    {"file": "p.csv", "columns": {"prompt": "prompt", "_a": "seed"}},
    {"file": "p.txt", "split": "two"},
    [{"seed": [1, 2], "_a": [1, 2]}, {"cfg": [1]}],
    {"file": "no\0such"},
    {"file": "x" * 5000},
    "\u202e\u2028\x85\ue000\U000f0000",
    "\ud83d\ude00",
]
NAMES = ["prompt", "seed", "_a", "zip", "rows", "quality", "size", "<<", "", "x" * 300, "job", "${a}", "count", "file"]
SNIPPETS = [
    "&a ",
    "*a",
    "!!int ",
    "!!python/object:os ",
    "<<: ",
    "- ",
    "? ",
    ": ",
    "[",
    "]",
    "{",
    "}",
    "|\n ",
    ">-\n ",
    "'",
]
SNIPPETS += [
    '"',
    "%YAML 9.9\n",
    "%TAG ! x\n",
    "---\n",
    "...\n",
    "\t",
    "\0",
    "\ufeff",
    "\r",
    "\x85",
    "#",
    "@",
    "`",
    ".inf",
]
SNIPPETS += ["1e999999999", "0x" + "f" * 500, "9" * 5000, "1e-999999999", "\\ud800", "\n", "  ", "~", "é", "𝄞", "= "]


HEAD = "name: t\nserver: sim\nworkflow: ltx2\ndefaults: {size: sd}\n"
SWEEPS = [
    "{rows: FILE}",
    "{rows: {file: FILE, columns: {prompt: PROMPT, _b: seed}}}",
    "{zip: [{prompt: {file: FILE, column: prompt}, seed: {file: FILE, column: seed}}, {_c: {file: FILE, column: _a}}]}",
    "{prompt: {file: FILE, column: prompt}, seed: {count: 2, per: prompt}}",
    "{prompt: {file: FILE}}",
    "{prompt: {file: FILE, split: ---}}",
    "{prompt: {file: FILE, split: blank}, seed: [1, 2]}",
]
"""What a manifest makes of a table or a list."""
TABLES = ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.txt", "a.CSV", "a.xlsx", "a.md"]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "cp932"]
COLUMNS = ["prompt", "Prompt", "seed", "cfg", "_a", "_b", "size", "width", "odd", "", " ", "prompt,", "x" * 300]
CELLS = ["A cat", "", " ", "1", "-1", "4,5", "1e9", "1.23E+18", "9" * 5000, "#REF!", "${_a}", "${", "NaN", "TRUE", "sd"]
CELLS += [
    '"',
    "'",
    "“A”",
    "a\nb",
    "a\r\nb",
    "\0",
    "\t",
    ";",
    "|",
    "x" * 30_000,
    "\u2028",
    "\x85",
    "\ufeff",
    "é",
    "😀",
    "---",
]
PIECES = [
    "prompt",
    "seed",
    "_a",
    ",",
    ",",
    ";",
    "\t",
    "\n",
    "\n",
    "\r",
    '"',
    '""',
    " ",
    "sep=;\n",
    "#",
    "---",
    "```",
    "|",
]
PIECES += [
    "1",
    "4,5",
    "1e9",
    "A cat",
    "\0",
    "\ufeff",
    "{",
    "}",
    "[",
    "]",
    ":",
    '"prompt"',
    "null",
    "\\ud800",
    "\u2028",
    "“",
]
PIECES += ['{"prompt": "a"}', "[{", "}, {", "9" * 5000, "#REF!", "${_a}", "NaN", "x" * 30_000]


def case(seed: int) -> dict[str, bytes]:
    """Return the `seed`th hostile case: `m.yaml`, and perhaps a table that it names."""
    random = Random(seed)  # noqa: S311 - the same documents every time is the point
    if random.random() < 0.3:
        name = random.choice(TABLES)
        sweep = random.choice(SWEEPS).replace("FILE", name)
        return {"m.yaml": f"{HEAD}sweep: {sweep}\n".encode(), name: _table(random, name)}
    return {"m.yaml": random.choices([make for make, _ in MAKERS], [weight for _, weight in MAKERS])[0](random)}


def _noise(random: Random) -> bytes:
    return random.randbytes(random.randrange(400))


def _soup(random: Random) -> bytes:
    words = [*SNIPPETS, *NAMES, "sweep:", "name:", "a", "1"]
    return "".join(random.choice(words) for _ in range(random.randrange(80))).encode("utf-8", "surrogatepass")


def _scarred(random: Random) -> bytes:
    """Return a sound manifest with bytes flipped, cut and put in."""
    raw = bytearray(yaml.safe_dump(SOUND, sort_keys=False).encode())
    for _ in range(random.randrange(1, 6)):
        at = random.randrange(len(raw))
        match random.randrange(3):
            case 0:
                raw[at] = random.randrange(256)
            case 1:
                del raw[at : at + random.randrange(20)]
            case _:
                raw[at:at] = random.choice(SNIPPETS).encode("utf-8", "surrogatepass")
    return bytes(raw)


def _misused(random: Random) -> bytes:
    """Return a sound manifest with values where they do not belong."""
    tree = json.loads(json.dumps(SOUND))
    for _ in range(random.randrange(1, 4)):
        _replace(tree, random)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=random.random() < 0.5).encode("utf-8", "surrogatepass")


def _replace(tree: Any, random: Random) -> None:
    while True:
        key = random.choice(list(tree)) if isinstance(tree, dict) else random.randrange(len(tree))
        if isinstance(tree[key], dict | list) and tree[key] and random.random() < 0.7:
            tree = tree[key]
            continue
        if isinstance(tree, dict) and random.random() < 0.3:
            tree[random.choice(NAMES)] = random.choice(VALUES)
        else:
            tree[key] = random.choice(VALUES)
        return


def _deep(random: Random) -> bytes:
    return random.choice([b"[", b"{a: ", b"- ", b"? ", b"[{", b"{[", b"&a ", b"!!seq [", b"'", b"|"]) * random.choice(
        [20, 31, 40, 1000, 100_000]
    )


def _bomb(random: Random) -> bytes:
    """Return aliases of aliases, as lists, as mappings, or merged."""
    width, depth = random.randrange(2, 30), random.randrange(2, 29)
    opening, closing = random.choice([("[", "]"), ("{", "}")])
    lines = ["a0: &a0 [x]" if opening == "[" else "a0: &a0 {k: x}"]
    for level in range(1, depth):
        names = [f"*a{level - 1}" for _ in range(width)]
        inner = names if opening == "[" else [f"k{index}: {name}" for index, name in enumerate(names)]
        merged = [f"<<: [{', '.join(names)}]"] if opening == "{" and random.random() < 0.5 else inner
        lines.append(f"a{level}: &a{level} {opening}{', '.join(merged)}{closing}")
    lines.append(f"sweep: *a{depth - 1}")
    return "\n".join(lines).encode()


def _product(random: Random) -> bytes:
    count = random.choice([10**4, 10**6, 10**12])
    axes = "\n".join(f"  _v{index}: {{count: {count}}}" for index in range(random.randrange(1, 400)))
    return f"name: t\nserver: sim\nworkflow: ltx2\nsweep:\n  prompt: a\n{axes}\n".encode()


def _huge(random: Random) -> bytes:
    size = random.choice([100_000, 1_000_000, 2_097_100])
    filler = random.choice(["x", "x ", "- a\n", "${_a}", "😀", "\\", "a: b\n", "k?: ", '"', "#\n"])
    text = filler * (size // len(filler.encode()))
    start = random.choice(
        ["", "sweep: ", 'name: t\nserver: sim\nworkflow: ltx2\nsweep:\n  seed: {count: 9999}\n  prompt: "']
    )
    return (start + text).encode()[: 2 * 2**20]


def _vast(random: Random) -> bytes:
    return random.choice([b"x", b"- a\n", b"\0", b"[" * 7]) * (10 * 2**20)


def _table(random: Random, name: str) -> bytes:
    """Return a table or a list, well made or not, in some encoding."""
    if random.random() < 0.01:
        return _vast_table(random)
    is_json = "json" in name and random.random() < 0.8
    text = _rows(random, name) if is_json else random.choice([_sheet, _pieces])(random)
    if random.random() < 0.3:
        at = random.randrange(len(text) + 1)
        text = text[:at] + random.choice(PIECES) + text[at + random.randrange(5) :]
    encoding = random.choice(ENCODINGS) if random.random() < 0.3 else "utf-8"
    raw = bytearray(text.encode(encoding, "replace"))
    if raw and random.random() < 0.1:
        raw[random.randrange(len(raw))] = random.randrange(256)
    return bytes(raw)


def _pieces(random: Random) -> str:
    return random.choice(["", "prompt,seed\n"]) + "".join(random.choices(PIECES, k=random.randrange(25)))


def _sheet(random: Random) -> str:
    """Return rows of cells, some too short or too long, with some delimiter, quotes and line ends."""
    delimiter, end = random.choice([",", ",", ";", "\t", "|", " "]), random.choice(["\n", "\n", "\r\n", "\r"])
    quoted, ragged = random.random(), random.random() < 0.3
    columns = random.choices(COLUMNS, k=random.randrange(1, 8))
    widths = [len(columns) + (random.randrange(-2, 3) if ragged else 0) for _ in range(random.randrange(12))]
    rows = [columns, *(random.choices(CELLS, k=max(0, width)) for width in widths)]
    lines = [delimiter.join(_quoted(cell) if random.random() < quoted else cell for cell in row) for row in rows]
    return random.choice(["", "", "", "sep=;\r\n", "\ufeff", "\n\n", "```csv\n", "# t\n"]) + end.join(lines)


def _quoted(cell: str) -> str:
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'


def _rows(random: Random, name: str) -> str:
    """Return objects of JSON, a line each or in an array."""
    values = [*CELLS, *VALUES[:11], [], {}, [1], {"a": {}}]
    rows = [
        {random.choice(COLUMNS): random.choice(values) for _ in range(random.randrange(5))}
        for _ in range(random.randrange(8))
    ]
    texts = [json.dumps(row, ensure_ascii=random.random() < 0.5) for row in rows]
    return "\n".join(texts) if name.endswith("l") else f"[{', '.join(texts)}]"


def _vast_table(random: Random) -> bytes:
    """Return up to 16 MiB of columns, rows, cells, quotes or blank lines."""
    wide = ",".join(["prompt", *(f"_v{index}" for index in range(60))])
    head, row, foot = random.choice(
        [
            (f"{wide}\n", "a" + ",1" * 60 + "\n", ""),
            ("prompt,seed\n", "a cat,7\n", ""),
            ("prompt\n", "\n", ""),
            ("", ",_v", "\n"),
            ("prompt\n", '"', ""),
            ("", '{"prompt": "a", "_v": [1]}\n', ""),
            ("[", '{"prompt": "a"},', "]"),
            ('[{"prompt": "a"', ',"":1', "}]"),
            ("", "a\n\n", ""),
            ("", "[", ""),
            ("prompt,seed\n", "a" * 100_000 + ",1\n", ""),
        ]
    )
    size = random.choice([1_000_000, 4_000_000, 16_700_000])
    return (head + row * (size // len(row)) + foot).encode()[: 16 * 2**20]


MAKERS: list[tuple[Callable[[Random], bytes], float]] = [
    (_noise, 10),
    (_soup, 20),
    (_scarred, 25),
    (_misused, 30),
    (_deep, 5),
    (_bomb, 5),
    (_product, 4),
    (_huge, 0.8),
    (_vast, 0.2),
]
