"""Tables and prompt files as spreadsheets, editors and chat programs write them: read, or refused with the cure."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
from manifests import HEAD, batch, diagnostics, jobs

from batchrunner.errors import ManifestError
from batchrunner.manifest import load

if TYPE_CHECKING:
    from pathlib import Path

SHORT = "defaults: {width: 256, height: 160, length: 25, steps: 8}\norder: listed\n"


class Example(NamedTuple):
    """A file, the sweep that names it, the columns to look at, and the jobs (`|` stands between two)."""

    message: str
    file: str
    text: str
    makes: str
    sweep: str = "{rows: FILE}"
    columns: str = "prompt seed"


READ = [
    Example(
        "semicolons",
        "a.csv",
        "prompt;seed\nA cat on a roof, at dusk;1\nA dog;2\n",
        "A cat on a roof, at dusk 1|A dog 2",
    ),
    Example("tabs in a csv", "a.csv", "prompt\tseed\nA cat, at dusk\t1\n", "A cat, at dusk 1"),
    Example("a tsv", "a.tsv", "prompt\tseed\nA cat; a dog, a fox\t1\n", "A cat; a dog, a fox 1"),
    Example("a tsv of one column", "a.tsv", "prompt\nA cat, a dog\n", "A cat, a dog", columns="prompt"),
    Example("upper-case names", "a.CSV", "prompt,seed\nA cat,1\n", "A cat 1"),
    Example("Excel's line with the delimiter", "a.csv", "sep=;\r\nprompt;seed\r\nA cat;1\r\n", "A cat 1"),
    Example("a byte order mark before it", "a.csv", '\ufeff"sep=\t"\nprompt\tseed\nA cat\t1\n', "A cat 1"),
    Example("a byte order mark and CRLF", "a.csv", "\ufeffprompt,seed\r\nA cat,1\r\n", "A cat 1"),
    Example("line ends of an old Mac", "a.csv", "prompt,seed\rA cat,1\rA dog,2\r", "A cat 1|A dog 2"),
    Example("a last line without its end", "a.csv", "prompt,seed\nA cat,1", "A cat 1"),
    Example("headers in any case", "a.csv", "Prompt,SEED\nA cat,1\n", "A cat 1"),
    Example("blanks around cells", "a.csv", " prompt , seed\n  A cat , 1 \n\u00a0A dog,\t2\n", "A cat 1|A dog 2"),
    Example("blanks before quotes", "a.csv", 'prompt, seed\n "A cat, at dusk", 1\n', "A cat, at dusk 1"),
    Example("quotes in quotes", "a.csv", 'prompt,seed\n"A sign says ""OPEN""",1\n', 'A sign says "OPEN" 1'),
    Example("curly quotes in a text", "a.csv", "prompt,seed\nA sign says “OPEN”,1\n", "A sign says “OPEN” 1"),
    Example("an apostrophe and an inch", "a.csv", "prompt,seed\nIt's 5\" wide,1\n", "It's 5\" wide 1"),
    Example("trailing columns", "a.csv", "prompt,seed,,\nA cat,1,,\nA dog,2,,\n", "A cat 1|A dog 2"),
    Example("trailing cells below no header", "a.csv", "prompt,seed\nA cat,1,,\n", "A cat 1"),
    Example("trailing rows", "a.csv", "prompt,seed\nA cat,1\n,\n,\n\n", "A cat 1"),
    Example("an empty column between", "a.csv", "prompt,,seed\nA cat,,1\n", "A cat 1"),
    Example(
        "leading zeros and whole numbers with a fraction",
        "a.csv",
        "prompt,seed\nA cat,007\nA dog,2.0\n",
        "A cat 7|A dog 2",
    ),
    Example("texts that look like nothing", "a.csv", "prompt,seed\nnull,1\n~,2\nTRUE,3\n", "null 1|~ 2|TRUE 3"),
    Example("a long seed in full", "a.csv", "prompt,seed\na,18446744073709551615\n", "a 18446744073709551615"),
    Example(
        "small numbers as spreadsheets write them",
        "a.csv",
        "prompt;denoise\na;5E-01\n",
        "a 0.5",
        columns="prompt denoise",
    ),
    Example(
        "an array of objects",
        "a.json",
        '[\n  {"prompt": "A cat, \\"b\\"", "seed": 1},\n  {"Prompt": "A dog", "seed": 2, "cfg": null},\n]\n',
        'A cat, "b" 1 4.0|A dog 2 4.0',
        sweep="{rows: FILE, quality: fast}",
        columns="prompt seed cfg",
    ),
    Example(
        "a column of an array",
        "a.JSON",
        '[{"text": "A cat", "tags": ["x"]}, {"id": 1}, {"text": "A dog"}]',
        "A cat|A dog",
        sweep="{prompt: {file: FILE, column: Text}}",
        columns="prompt",
    ),
    Example(
        "two of many columns, under other names",
        "a.csv",
        'shot_id,colour scheme,positive_video,negative_video,,\n68,"red, yellow",A cat at dawn,blurry,,\n',
        "A cat at dawn blurry",
        sweep="{rows: {file: FILE, columns: {prompt: Positive_Video, negative: negative_video}}}",
        columns="prompt negative",
    ),
    Example(
        "one column for two names",
        "a.jsonl",
        '{"text": "A cat", "more": {}}\n',
        "A cat A cat",
        sweep="{rows: {file: FILE, columns: {prompt: text, _note: text}}}",
        columns="prompt _note",
    ),
    Example("a mapping with a file only", "a.csv", "prompt,seed\nA cat,1\n", "A cat 1", sweep="{rows: {file: FILE}}"),
    Example(
        "an empty cell keeps its row in a zip",
        "a.csv",
        "shot,positive,negative\n1,A cat,\n2,A dog,grain\n",
        "A cat usual|A dog grain",
        sweep="{zip: {prompt: {file: FILE, column: positive}, negative: {file: FILE, column: negative}}}",
        columns="prompt negative",
    ),
    Example(
        "lines, of whatever editor",
        "a.TXT",
        "\ufeff#1 a cat\r\n# comment\r\n#sunset a beach\r\n\r\nplain, “quoted”; done\rlast",
        "plain, “quoted”; done|last",
        sweep="{prompt: {file: FILE}}",
        columns="prompt",
    ),
    Example(
        "paragraphs",
        "a.txt",
        "\n# scene 1\nA cat sits on a roof.\nThe camera pans left.\n  \n\nA dog runs in the rain.\nThunder.\n",
        "A cat sits on a roof.\nThe camera pans left.|A dog runs in the rain.\nThunder.",
        sweep="{prompt: {file: FILE, split: blank}}",
        columns="prompt",
    ),
    Example(
        "texts between lines of dashes",
        "a.md",
        "---\nA cat.\n\nIt purrs.\n\n---\n# no\n---\nA dog.\n--- \n",
        "A cat.\n\nIt purrs.|A dog.",
        sweep="{prompt: {file: FILE, split: ---}}",
        columns="prompt",
    ),
    Example(
        "Excel's semicolons, byte order mark, CRLF and quotes",
        "a.csv",
        '\ufeffprompt;seed\r\n"A cat; at dusk";1\r\n',
        "A cat; at dusk 1",
    ),
    Example("Google Sheets' TSV", "a.tsv", 'prompt\tseed\r\nA "big" cat\t1\r\n', 'A "big" cat 1'),
    Example("LibreOffice's quotes everywhere", "a.csv", '"prompt","seed"\n"A cat","1"\n', "A cat 1"),
    Example("Numbers' empty rows and columns", "a.csv", "prompt,seed,,\nA cat,1,,\n,,,\n,,,\n", "A cat 1"),
    Example("a cell of two lines", "a.tsv", 'prompt\tseed\n"A cat\nsits"\t1\n', "A cat\nsits 1"),
    Example("blank lines anywhere", "a.csv", "\n\nprompt,seed\n\nA cat,1\n\n\nA dog,2\n", "A cat 1|A dog 2"),
    Example("a character without width before the header", "a.csv", "\u200bprompt,seed\nA cat,1\n", "A cat 1"),
    Example(
        "seeds in quotes, as JSON keeps long ones",
        "a.json",
        '[{"prompt": "A cat", "seed": "18446744073709551615"}]',
        "A cat 18446744073709551615",
    ),
    Example(
        "a separator like a comment",
        "a.txt",
        "A\n###\nB\n",
        "A|B",
        sweep='{prompt: {file: FILE, split: "###"}}',
        columns="prompt",
    ),
]


@pytest.mark.parametrize("case", READ, ids=lambda case: case.message)
def test_read(case: Example) -> None:
    """A file makes exactly the jobs that its author sees in it."""
    usual = SHORT.replace("8}", "8, negative: usual}")
    found = batch(usual + "sweep: " + case.sweep.replace("FILE", case.file), {case.file: case.text})
    assert jobs(found, case.columns) == case.makes.split("|")


ROUNDED = "must be a whole number, not 1.23E+18: your spreadsheet rounded it; format the column as text"
NOT_JSON = "this is not JSON: Expecting property name enclosed in double quotes; "
DOCUMENT = "this is a spreadsheet, a document or an archive, not text; save it as CSV UTF-8 or as text"
REFUSED = [
    Example(
        "curly quotes in JSON",
        "a.json",
        "[{“prompt”: “A cat”}]",
        f'a.json:1:3: {NOT_JSON}write straight quotes, "',
    ),
    Example(
        "single quotes in JSON",
        "a.json",
        "[{'prompt': 'A cat'}]",
        f'a.json:1:3: {NOT_JSON}keys and texts stand in double quotes, "',
    ),
    Example(
        "a comma at an object's end",
        "a.json",
        '[{"prompt": "A cat",}]',
        f"a.json:1:21: {NOT_JSON}remove the comma before it",
    ),
    Example(
        "Python's words in JSON",
        "a.json",
        '[{"prompt": "A cat", "seed": None}]',
        "a.json:1:30: this is not JSON: Expecting value; write null, true and false in small letters",
    ),
    Example(
        "a comment in JSON",
        "a.json",
        '[\n // one\n {"prompt": "A cat"}]',
        "a.json:2:2: this is not JSON: Expecting value; JSON takes no comments",
    ),
    Example(
        "an array in an object",
        "a.json",
        '{"prompts": [{"prompt": "A cat"}]}',
        'a.json:1:1: must be an array of objects, [{…}, {…}]; keep only the array under "prompts"',
    ),
    Example(
        "a fence around JSON",
        "a.json",
        '```json\n[{"prompt": "A cat"}]\n```\n',
        "a.json:1:1: remove the lines with ``` around the table",
    ),
    Example(
        "commas between JSON lines",
        "a.jsonl",
        '{"prompt": "A cat"},\n{"prompt": "A dog"}\n',
        "a.jsonl:1:20: this is not JSON: Extra data; a line is one whole object, without a comma behind it",
    ),
    Example(
        "an object over several lines",
        "a.jsonl",
        '{\n "prompt": "A cat"\n}\n',
        f"a.jsonl:1:2: {NOT_JSON}a line is one whole object, without a comma behind it",
    ),
    Example(
        "JSON in a csv",
        "a.csv",
        '[{"prompt": "A cat"}]',
        "a.csv:1:1: this is JSON: call the file .json, or .jsonl if each line is an object",
    ),
    Example(
        "a web page in place of the table",
        "a.csv",
        "<!DOCTYPE html><html>Sign in</html>",
        'm.yaml:6:15: sweep.rows: "a.csv" is a web page; download or export the table itself',
    ),
    Example(
        "no header",
        "a.csv",
        "A cat on a roof,1\nA dog,2\n",
        'a.csv:1:1: no column is a parameter: "A cat on a roof", "1"; choose columns with rows: {file: …, columns: '
        "{…}}, or call it _name to keep it as a variable. The first line names the columns",
    ),
    Example(
        "grouped digits",
        "a.csv",
        'prompt,length\nA cat,"1,024"\n',
        'a.csv:2:1: length: must be a whole number, not the text "1,024"; write it without separators: 1024',
    ),
    Example(
        "a share in percent",
        "a.csv",
        "prompt,denoise\nA cat,50%\n",
        'a.csv:2:1: denoise: must be a number, not the text "50%"; write 0.5',
    ),
    Example(
        "a text of Word",
        "a.txt",
        "{\\rtf1 A cat}",
        f'm.yaml:6:24: sweep.prompt: "a.txt": {DOCUMENT}',
        sweep="{prompt: {file: FILE}}",
    ),
    Example("a rounded seed", "a.csv", "prompt,seed\nA cat,1.23E+18\n", f"a.csv:2:1: seed: {ROUNDED}"),
    Example(
        "a decimal comma",
        "a.csv",
        "prompt;cfg\nA cat;4,5\n",
        'a.csv:2:1: cfg: must be a number, not the text "4,5"; a decimal comma: write 4.5',
    ),
    Example(
        "a comma too many",
        "a.csv",
        "prompt,seed\nA cat, at dusk,1\n",
        "a.csv:2:1: has 3 cells where the first line has 2; a cell with `,` in it needs quotes around it",
    ),
    Example(
        "curly quotes for quotes",
        "a.csv",
        "prompt,seed\n“A cat, at dusk”,1\n",
        "a.csv:2:1: has 3 cells where the first line has 2; a cell with `,` in it needs quotes around it, "
        'straight ones (") and not “”',
    ),
    Example(
        "a quote left open",
        "a.csv",
        'prompt,seed\n"A cat,1\nA dog,2\n',
        "a.csv:2:1: this is not CSV: unexpected end of data",
    ),
    Example(
        "pandas' index",
        "a.csv",
        ",prompt\n0,A cat\n",
        "a.csv:1:1: column 1 has no name; choose columns with rows: {file: …, columns: {…}}, "
        "or call it _name to keep it as a variable",
    ),
    Example("two headers but for case", "a.csv", "prompt,Prompt\na,b\n", 'a.csv:1:1: two columns are called "Prompt"'),
    Example(
        "an error of the spreadsheet",
        "a.csv",
        "prompt,seed\n#NAME?,1\n",
        "a.csv:2:1: prompt: #NAME? is an error of the spreadsheet; correct the cell there",
    ),
    Example(
        "a fence of a chat program",
        "a.csv",
        "```csv\nprompt,seed\nA cat,1\n```\n",
        "a.csv:1:1: remove the lines with ``` around the table",
    ),
    Example(
        "a Markdown table",
        "a.csv",
        "| prompt | seed |\n|---|---|\n| A cat | 1 |\n",
        "a.csv:1:1: cells are separated by `,`, `;` or a tab, not by |",
    ),
    Example(
        "a spreadsheet's own format",
        "a.xlsx",
        "",
        'm.yaml:6:15: sweep.rows: "a.xlsx" is not a table (.csv, .tsv, .jsonl, .json); '
        "save the spreadsheet as CSV UTF-8",
    ),
    Example(
        "such a file by another name",
        "a.csv",
        "PK\3\4",
        'm.yaml:6:15: sweep.rows: "a.csv": this is a spreadsheet, a document or an archive, not text; '
        "save it as CSV UTF-8 or as text",
    ),
    Example(
        "UTF-16 without its mark",
        "a.csv",
        "p\0r\0o\0",
        "a.csv:1:2: holds the character U+0000; if this is UTF-16 text, save it as UTF-8",
    ),
    Example(
        "objects without their array",
        "a.json",
        '{"prompt": "a"}',
        "a.json:1:1: must be an array of objects, [{…}, {…}]; one object per line is a .jsonl",
    ),
    Example(
        "an array of texts",
        "a.json",
        '[\n "A cat"]',
        "a.json:2:2: must be an object, {…}; keep texts in a .txt, a line each",
    ),
    Example(
        "an array in JSON lines",
        "a.jsonl",
        '[{"prompt": "a"}]',
        "a.jsonl:1:1: a line must be one JSON object; an array of objects is a .json",
    ),
    Example(
        "an array left open",
        "a.json",
        '[{"prompt": "a"},\n {"prompt": "b"}',
        "a.json:2:17: this is not JSON: Expecting ',' delimiter",
    ),
    Example("a word after the array", "a.json", '[{"prompt": "a"}] x', "a.json:1:19: this is not JSON: Extra data"),
    Example("a nested value", "a.json", '[{"prompt":\n ["a"]}]', "a.json:1:2: prompt: must be a single value"),
    Example(
        "no array's end in a text",
        "a.json",
        '[{"prompt": "a}]',
        "a.json:1:13: this is not JSON: Unterminated string starting at",
    ),
    Example(
        "a header of many columns",
        "a.csv",
        ",".join(f"_v{i}" for i in range(80_000)),
        "a.csv:1:1: has 80,000 columns; at most 1,000 are read",
    ),
    Example(
        "many keys",
        "a.json",
        "[{" + ",".join(f'"k{i}": 1' for i in range(1001)) + "}]",
        "a.json:1:2: this is column 1,001; at most 1,000 are read",
    ),
    Example(
        "a row without its prompt",
        "a.csv",
        "shot,positive\n1,A cat\n2,\n",
        "m.yaml:6:8: sweep.prompt: is required, and row 2 has none",
        sweep="{zip: {prompt: {file: FILE, column: positive}, negative: {file: FILE, column: shot}}}",
    ),
    Example(
        "a column of another program",
        "a.csv",
        "stepz\n3\n",
        "a.csv:1:1: stepz: unknown parameter - did you mean steps?; choose columns with rows: {file: …, columns: {…}}, "
        "or call it _name to keep it as a variable",
        sweep="{rows: FILE}",
    ),
    Example(
        "no such column",
        "a.csv",
        "text\na\n",
        'm.yaml:6:47: sweep.rows.columns.prompt: "a.csv" has no column "txt", only text - did you mean text?',
        sweep="{rows: {file: FILE, columns: {prompt: txt}}}",
    ),
    Example(
        "no such parameter",
        "a.csv",
        "text\na\n",
        "m.yaml:6:39: sweep.rows.columns.promt: unknown parameter - did you mean prompt?",
        sweep="{rows: {file: FILE, columns: {promt: text}}}",
    ),
    Example(
        "a table that is split",
        "a.csv",
        "text\na\n",
        'm.yaml:6:24: sweep.prompt: "a.csv" is a table; split is for texts',
        sweep="{prompt: {file: FILE, column: text, split: blank}}",
    ),
    Example(
        "no separator",
        "a.txt",
        "a\n",
        "m.yaml:6:38: sweep.prompt.split: must be line, blank, or one line of text that stands between two texts",
        sweep='{prompt: {file: FILE, split: ""}}',
    ),
    Example(
        "too many rows",
        "a.csv",
        "prompt\n" + "a\n" * 10_001,
        "m.yaml:6:8: sweep: makes 20,002 jobs (rows 10,001, seed 2); max_jobs is 10,000",
        sweep="{rows: FILE, seed: [1, 2]}",
    ),
    Example(
        "too many lines",
        "a.txt",
        "a\n" * 10_001,
        "m.yaml:6:8: sweep: makes 10,001 jobs (prompt 10,001); max_jobs is 10,000",
        sweep="{prompt: {file: FILE}}",
    ),
    Example(
        "too many blank lines",
        "a.txt",
        "\n" * 1_000_001,
        'm.yaml:6:24: sweep.prompt: "a.txt" has more than 1,000,000 lines; max_jobs is 10,000',
        sweep="{prompt: {file: FILE}}",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.message)
def test_refused(case: Example) -> None:
    """What cannot be meant is refused where it stands, with what to do about it."""
    found = diagnostics(SHORT + "sweep: " + case.sweep.replace("FILE", case.file), {case.file: case.text})
    assert found == case.makes


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        (
            "a.csv",
            "prompt,seed\n".encode("utf-16"),
            '"a.csv": this is UTF-16 text; save it as UTF-8 (Excel: CSV UTF-8)',
        ),
        (
            "a.txt",
            "A caf\u00e9".encode("cp1252"),
            "a.txt:1:6: this is not UTF-8 text; save it as UTF-8 (Excel: CSV UTF-8)",
        ),
    ],
)
def test_other_encodings(tmp_path: Path, name: str, raw: bytes, message: str) -> None:
    """A file in another encoding is refused with the name of the right one."""
    (tmp_path / name).write_bytes(raw)
    sweep = f"{{prompt: {{file: {name}}}}}" if name == "a.txt" else f"{{rows: {name}}}"
    (tmp_path / "m.yaml").write_text(f"{HEAD}sweep: {sweep}\n")
    with pytest.raises(ManifestError) as caught:
        load(tmp_path / "m.yaml")
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize(
    ("sweep", "text", "warned"),
    [
        (
            "{prompt: {file: FILE}}",
            "#1 a cat\n# comment\n#sunset a beach\nplain\n",
            ['sweep.prompt: "a.txt": 3 # lines skipped'],
        ),
        (
            "{prompt: {file: FILE}}",
            "A cat sits.\nIt purrs.\n\nA dog.\n",
            [
                (
                    'sweep.prompt: "a.txt": 1 blank line skipped; '
                    "every other line is a value (split: blank takes paragraphs)"
                )
            ],
        ),
        ("{prompt: {file: FILE, split: blank}}", "A cat sits.\nIt purrs.\n\nA dog.\n", []),
        ("{prompt: {file: FILE, split: blank}}", "A cat.\n\n# no\n", ['sweep.prompt: "a.txt": 1 # line skipped']),
    ],
)
def test_skipped_lines(sweep: str, text: str, warned: list[str]) -> None:
    """The plan says how many lines of a prompt file make no job, and why."""
    found = batch(SHORT + "sweep: " + sweep.replace("FILE", "a.txt"), {"a.txt": text}).warnings
    assert [warning.split(": ", 1)[1] for warning in found] == warned


@pytest.mark.parametrize(
    ("text", "first", "warned"),
    [
        ("1. A cat\n2. A dog\n", "1. A cat", 'prompt "1. A cat" and 1 more'),
        ("- A cat\n- A dog\n", "- A cat", 'prompt "- A cat" and 1 more'),
        ('"A cat"\n"A dog"\n', '"A cat"', 'prompt ""A cat"" and 1 more'),
        ("“A cat”\n", "“A cat”", 'prompt "“A cat”"'),
        ('"A cat",\n"A dog"\n', '"A cat",', 'prompt ""A cat"," and 1 more'),
        ("```\nA cat\n```\n", "```", 'prompt "```"'),
        ("2 cats, 1.5 m apart\n", "2 cats, 1.5 m apart", ""),
        ('"OPEN" and "CLOSED" signs\n', '"OPEN" and "CLOSED" signs', ""),
    ],
)
def test_marks_of_lists(text: str, first: str, warned: str) -> None:
    """Lines stay as they are; the plan warns of numbers, dashes and quotes that only the list had."""
    found = batch("sweep: {prompt: {file: a.txt}}", {"a.txt": text})
    assert jobs(found, "prompt")[0] == first
    assert [line.split(": a list's")[0] for line in found.warnings if "list's" in line] == ([warned] if warned else [])


def test_skipped_rows() -> None:
    """In a single column that is an axis an empty cell is skipped and counted."""
    found = batch("sweep: {prompt: {file: a.csv, column: text}}", {"a.csv": "id,text\n1,A cat\n2,\n3,A dog\n"})
    assert jobs(found, "prompt") == ["A cat", "A dog"]
    assert [warning.split(": ", 1)[1] for warning in found.warnings] == [
        'sweep.prompt: "a.csv": 1 row without "text" skipped'
    ]


def test_skipped_rows_do_not_hide_the_last() -> None:
    """Rows are counted against `max_jobs` once the skipped ones are out."""
    text = "id,text\n" + "".join(f"{index},{index if index != 2 else ''}\n" for index in range(5))
    found = batch("max_jobs: 4\nsweep: {prompt: {file: a.csv, column: text}}", {"a.csv": text})
    assert sorted(jobs(found, "prompt")) == ["0", "1", "3", "4"]


def test_zips_multiply() -> None:
    """A list of zips is the product of its zips, each an axis."""
    found = batch("""
        order: listed
        sweep:
          prompt: a
          zip: [{width: [64, 128], height: [96, 160]}, {steps: [1, 2], cfg: [3, 4]}]
    """)
    assert jobs(found, "width height steps cfg") == [
        "64 96 1 3.0",
        "64 96 2 4.0",
        "128 160 1 3.0",
        "128 160 2 4.0",
    ]
    assert found.axes == (("width+height", 2), ("steps+cfg", 2))


def test_each_zip_is_checked() -> None:
    """Every zip of a list is reported where it stands, and none may set what another sets."""
    found = diagnostics("sweep: {prompt: a, zip: [{seed: [1, 2], cfg: [3]}, [], {steps: [1]}, {steps: [2]}]}")
    assert found.split("\n") == [
        "m.yaml:4:41: sweep.zip[0].cfg: zip walks lists of equal length: seed has 2 values and cfg has 1",
        "m.yaml:4:52: sweep.zip[1]: must be a mapping of names to lists of equal length",
        "m.yaml:4:70: sweep.steps: sets steps a second time; `steps` in line 4 does already",
    ]


LARGE = {
    "a.csv": ("prompt,seed\n", "a long enough text,1\n", ""),
    "wide.csv": (",".join(f"_v{index}" for index in range(60)) + ",prompt\n", "1," * 60 + "a\n", ""),
    "a.jsonl": ("", '{"prompt":"a long enough text"}\n', ""),
    "many.json": ('[{"prompt":"a"}', ',{"":1}', "]"),
    "one.json": ('[{"prompt":"a"', ',"":1', "}]"),
    "blank.csv": ("prompt\n", "\n", ""),
}
MEASURE = """
import sys
from pathlib import Path
from batchrunner.errors import ManifestError
from batchrunner.manifest import load
for path in sys.argv[1:]:
    try:
        load(Path(path))
    except ManifestError as error:
        print(str(error).splitlines()[0])
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
def test_memory_is_bounded(tmp_path: Path) -> None:
    """Tables of 4 MB are counted or refused, and never held as rows: reading all of them takes less than 150 MiB."""
    manifests = []
    for name, (head, row, foot) in LARGE.items():
        (tmp_path / name).write_text(head + row * (4_000_000 // len(row)) + foot, "utf-8")
        manifests.append(tmp_path / f"{name}.yaml")
        manifests[-1].write_text(f"{HEAD}max_jobs: 100\nsweep: {{rows: {name}}}\n", "utf-8")
    run = [sys.executable, "-c", MEASURE, *map(str, manifests)]
    *found, peak = subprocess.run(run, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()
    assert [line.split("rows: ", 1)[-1] for line in found[-1:]] == [
        '"blank.csv" has more than 1,000,000 lines; max_jobs is 100'
    ]
    assert len(found) == len(LARGE)
    assert int(peak) < 150 * 1024
