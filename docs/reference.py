"""Fill the tables of docs/manifest.md and docs/command.md from the models and from the command itself.

Run it from the repository after a change of either: `.venv/bin/python docs/reference.py`. Tables stand between
`<!-- WHAT -->` and `<!-- end -->` and are made here; everything else on the pages is written by hand.
`tests/docs/test_pages.py` fails if a page is not what this makes of it.
"""

# ruff: noqa: INP001 - a script, no package

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import typer.main

from batchrunner.cli.app import app
from batchrunner.manifest.names import BUILT_IN
from batchrunner.manifest.schema import manifest_schema
from batchrunner.workflow.ltx2 import DESCRIPTIONS, PLACES, ltx2
from batchrunner.workflow.values import SEED_MAX, shown

MANIFEST, COMMAND = (Path(__file__).with_name(name) for name in ("manifest.md", "command.md"))

EXAMPLES = {
    "manifest": {
        "name": "name: rainy-cats",
        "server": "server: [http://gpu-1:8188, http://gpu-2:8188]",
        "ttl": "ttl: none",
        "workflow": "workflow: upscale_api.json",
        "params": 'params: {prompt: "@Positive.text", seed: 3.seed}',
        "prefix": "prefix: 30.filename",
        "outputs": "outputs: [49]",
        "presets": "presets: {look: {noir: {_look: film noir, cfg: 6}}}",
        "defaults": "defaults: {size: 720p, fps: 24}",
        "sweep": "sweep: {prompt: A cat, seed: {count: 4}}",
        "exclude": "exclude: {quality: high, seed: [7, 11]}",
        "order": "order: grouped",
        "sample": "sample: {count: 40}",
        "files": 'files: "{quality}/{prompt}-s{seed}"',
        "attempts": "attempts: 5",
        "depth": "depth: 1",
        "patience": "patience: 2h",
        "settle": "settle: 2m",
        "grace": "grace: 5m",
        "poll": "poll: 5s",
        "stuck": "stuck: off",
        "hint": "hint: off",
        "until": 'until: "07:30"',
        "hours": "hours: 22:00-07:00",
        "notify": "notify: {url_env: NTFY_URL, topic: renders}",
        "on_saved": "on_saved: [/usr/local/bin/copy-to-nas]",
        "max_jobs": "max_jobs: 50000",
    },
    "Range": {
        "from": "cfg: {from: 3, to: 7, step: 0.5}",
        "to": "denoise: {from: 0, to: 1, count: 5}",
        "step": "steps: {from: 20, to: 40, step: 10}",
        "count": "cfg: {from: 4, to: 6, count: 3}",
    },
    "Seeds": {
        "count": "seed: {count: 4}",
        "base": "seed: {count: 4, base: 1}",
        "per": "seed: {count: 2, per: prompt}",
    },
    "FromFile": {
        "file": "prompt: {file: prompts.txt}",
        "column": "prompt: {file: storms.csv, column: prompt}",
        "split": "prompt: {file: scenes.txt, split: blank}",
    },
    "Dynamic": {
        "dynamic": 'prompt: {dynamic: "A {red|blue} kite", all: true}',
        "count": 'prompt: {dynamic: "A __animal__ asleep", count: 3}',
        "all": 'prompt: {dynamic: "{Dawn|Dusk} over a lake", all: true}',
        "base": 'prompt: {dynamic: "A __animal__ asleep", count: 3, base: 1}',
    },
    "FromPattern": {"files": 'image: {files: "shots/*.png"}'},
    "OnServer": {"server": "image: {server: example.png}"},
    "FromTable": {
        "file": "rows: {file: shots.csv, columns: {prompt: text}}",
        "columns": "rows: {file: shots.csv, columns: {prompt: text, seed: take}}",
    },
    "FromBatch": {
        "batch": "rows: {batch: rainy-cats}",
        "picks": "rows: {batch: rainy-cats, picks: picks.json}",
        "frame": "rows: {batch: rainy-cats, frame: last}",
    },
    "ParamForm": {
        "input": "params: {length: {input: [40.length, 41.frames]}}",
        "upload": "params: {mask: {input: 61.path, upload: true}}",
    },
    "ServerForm": {
        "url": "server: {url: http://gpu-box:8188/comfy}",
        "name": "server: {url: http://gpu-box:8188, name: gpu}",
        "headers": 'server: {url: https://pod.example.net, headers: {X-API-Key: "${POD_KEY}"}}',
        "ttl": "server: {url: http://gpu-box:8188, ttl: none}",
        "depth": "server: {url: http://gpu-box:8188, depth: 1}",
        "ca": "server: {url: https://gpu-box, ca: ca.pem}",
    },
    "Sample": {"count": "sample: {count: 40}", "seed": "sample: {count: 40, seed: 7}"},
    "RecipientForm": {
        "url_env": "notify: {url_env: SLACK_URL}",
        "topic": "notify: {url_env: NTFY_URL, topic: renders}",
        "apprise_env": "notify: {apprise_env: MAIL_URL}",
        "command": "notify: {command: [notify-send, batchrunner]}",
        "on": "notify: {url_env: NTFY_URL, on: [finished, stopped]}",
    },
}
"""An example of every key: of a manifest, and of each form in it by the name of its model."""


def schema_of(form: str) -> dict[str, Any]:
    """Return the schema of a form, or of the whole manifest."""
    schema: dict[str, Any] = manifest_schema()
    found: dict[str, Any] = schema if form == "manifest" else schema["$defs"][form]
    return found


def forms() -> set[str]:
    """Return the names of all forms with keys of their own; blocks and fixed values have the workflow's."""
    definitions: dict[str, Any] = schema_of("manifest")["$defs"]
    return {"manifest", *(name for name in definitions if name[0].isupper())}


def filled(page: str) -> str:
    """Return a page with its tables as they should be. Raises KeyError for what nobody knows."""

    def table(found: re.Match[str]) -> str:
        kind, _, name = found[1].partition(" ")
        lines = {"keys": keys, "verb": verb, "parameters": parameters, "presets": presets}[kind](name)
        return "\n".join([f"<!-- {found[1]} -->", "", *lines, "", "<!-- end -->"])

    return re.sub(r"<!-- ([a-z]+(?: \w+)?) -->\n.*?<!-- end -->", table, page, flags=re.DOTALL)


def keys(form: str) -> list[str]:
    """Return the table of a form's keys; each must have an example, and each example a key."""
    schema = schema_of(form)
    examples = EXAMPLES[form]
    if examples.keys() != schema["properties"].keys():
        odd = examples.keys() ^ schema["properties"].keys()
        raise KeyError(f"EXAMPLES[{form!r}] in docs/reference.py must have what the model has: {sorted(odd)}")
    rows = [
        (f"`{name}`", _meaning(key), _default(name, key, schema), _code(examples[name]))
        for name, key in schema["properties"].items()
    ]
    return _table(("key", "meaning", "default", "example"), rows)


def _meaning(key: dict[str, Any]) -> str:
    """Return a key's description, its words and its range."""
    ways = [key, *key.get("anyOf", ())]
    words = [word for way in ways for word in way.get("enum", ())]
    low = next((way["minimum"] for way in ways if "minimum" in way), None)
    high = next((way["maximum"] for way in ways if "maximum" in way), None)
    parts = [key["description"]]
    if any(f"`{word}`" not in key["description"] for word in words):
        parts.append(f"One of {', '.join(map(_code, words))}.")
    if low or high is not None:
        top = "2^64-1" if high == SEED_MAX else f"{high:,}" if high is not None else ""
        parts.append(f"{low} to {top}." if top else f"At least {low}.")
    return " ".join(parts)


def _default(name: str, key: dict[str, Any], schema: dict[str, Any]) -> str:
    if name in schema.get("required", ()):
        return "required"
    default = key.get("default")
    return "" if default in (None, False) or isinstance(default, list) else _code(shown(default))


def parameters(_: str) -> list[str]:
    """Return the table of ltx2's parameters."""
    template = ltx2()
    rows = [
        (f"`{name}`", DESCRIPTIONS[name], ", ".join(places), _written(name, template.own.get(name)))
        for name, places in PLACES.items()
    ]
    return _table(("parameter", "meaning", "drives", "unless set"), rows)


def _written(name: str, value: Any) -> str:  # noqa: ANN401 - any scalar
    if value is None:
        return "required"
    text = shown(value)
    return _code(f'{name}: "{text}"' if "," in text else f"{name}: {text}")


def presets(_: str) -> list[str]:
    """Return the table of the presets that are built in."""
    rows = [
        (_code(f"{group}: {option}"), ", ".join(_code(f"{name}: {shown(value)}") for name, value in values.items()))
        for group, options in BUILT_IN.items()
        for option, values in options.items()
    ]
    return _table(("preset", "sets"), rows)


@cache
def command() -> Any:  # noqa: ANN401 - typer's own class, another one in older versions
    """Return the command with its options and, as `commands`, its verbs."""
    return typer.main.get_command(app)


def verb(name: str) -> list[str]:
    """Return a verb's usage, its help, and the table of its arguments and options."""
    own = command().commands[name]
    context = own.make_context(name, [], resilient_parsing=True)
    pieces = [re.sub(r"\{(.*)\}", r"\1", piece) for piece in own.collect_usage_pieces(context)]
    usage = " ".join(["batchrunner", name, *pieces])
    rows = []
    for param in own.params:
        if param.param_type_name == "argument":
            written = param.metavar or param.name.upper()
        else:
            written = ", ".join(sorted(param.opts, key=len)) + (f" {param.metavar}" if param.metavar else "")
        rows.append((_code(written), param.help, "" if written.startswith("[") else _option_default(param)))
    table = _table(("argument, option", "", "default"), rows) if rows else []
    text = " ".join((own.help or "").split())
    return [f"    {usage}", "", text, *(["", *table] if table else [])]


def _option_default(param: Any) -> str:  # noqa: ANN401 - typer's own class
    own = param.default
    found = [_code(param.envvar)] if param.envvar else []
    found += ["required"] if param.required else []
    found += [] if own is None or own is False or own == [] else [_code(str(own))]
    return ", else ".join(found)


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]


def main() -> None:
    """Write both pages."""
    for path in (MANIFEST, COMMAND):
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
