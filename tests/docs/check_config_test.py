#!/usr/bin/env python3
"""Every configuration file that README.md and docs/ show is taken by the program it is for."""
import os
import re
import subprocess
import sys
import tempfile
import unittest
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("CLOUDSCALE_BIN", ROOT / "build" / "dev" / "bin"))

# File name in the text → program that reads it.
PROGRAMS = {"cloudscale.yaml": "cloudscaled", "cloudscaled.yaml": "cloudscaled",
            "guest-agent.yaml": "cloudscale-guest-agent-tls",
            **{f"{name}.yaml": f"cloudscale-{name}" for name in ("monitor", "predictor", "scaler", "sla", "lbctl")}}
# What the documents show today; a reader of blocks that finds nothing must not pass.
SHOWN = {"cloudscaled", "cloudscale-monitor", "cloudscale-predictor", "cloudscale-scaler", "cloudscale-sla",
         "cloudscale-lbctl", "cloudscale-guest-agent-tls"}
# (document, heading) of a block that is only a part → the files of that document whose entries it replaces.
PARTS = {("docs/ops/separate-processes.md", "Mutual TLS"): ("monitor.yaml", "scaler.yaml", "sla.yaml")}
# (document, heading, first line) of YAML that is no configuration of ours → why.
NOT_OURS = {}


@dataclass(frozen=True)
class Block:
    document: str
    line: int      # of its first line in the document
    heading: str   # the nearest above
    lead: str      # the paragraph right before it, or the command that writes the file
    text: str

    @property
    def place(self):
        return f"{self.document}:{self.line}"

    @property
    def first_line(self):
        return self.text.split("\n", 1)[0]

    @property
    def files(self):
        """Names of configuration files in the text that leads to it: exactly one when the text is clear."""
        return set(re.findall(r"[\w.-]+\.ya?ml\b", self.lead))


def looks_like_yaml(text):
    return re.search(r"^[A-Za-z_]\w*:(\s|$)", text, re.MULTILINE) is not None


def code_blocks(document, markdown):
    """Yields (block, language) of each fenced and each indented block of code; language "" when none is named."""
    lines = markdown.split("\n") + [""]
    heading, lead, paragraph, i = "", "", [], 0
    while i < len(lines):
        fence = re.match(r"( {0,3})(`{3,}|~{3,})\s*([\w+-]*)", lines[i])
        is_indented = lines[i].startswith("    ") and lines[i].strip() and not paragraph
        if fence or is_indented:
            lead, paragraph = " ".join(paragraph) or lead, []
            begin = i + 1 if fence else i
            if fence:
                end = next((k for k in range(begin, len(lines))
                            if re.match(rf" {{0,3}}{fence[2][0]}{{{len(fence[2])},}}\s*$", lines[k])), len(lines))
                body, i = [re.sub(rf"^ {{0,{len(fence[1])}}}", "", line) for line in lines[begin:end]], end + 1
            else:
                end = next((k for k in range(begin, len(lines))
                            if lines[k].strip() and not lines[k].startswith("    ")), len(lines))
                body, i = [line[4:] for line in lines[begin:end]], end
            yield Block(document, begin + 1, heading, lead, "\n".join(body).rstrip() + "\n"), fence[3] if fence else ""
            lead = ""  # a block with no words of its own before it belongs to no file
            continue
        if title := re.match(r"#+\s+(.*?)\s*#*$", lines[i]):
            heading, lead, paragraph = title[1], "", []
        elif lines[i].strip():
            paragraph.append(lines[i])
        elif paragraph:
            lead, paragraph = " ".join(paragraph), []
        i += 1


def here_documents(block):
    """The YAML files that a block of commands writes."""
    for found in re.finditer(r"^(.*\.ya?ml\b.*<<-?\s*['\"]?(\w+)['\"]?.*)\n((?:.*\n)*?)\2$", block.text, re.MULTILINE):
        line = block.line + block.text[:found.start(3)].count("\n")
        yield Block(block.document, line, block.heading, found[1], found[3])


def yaml_blocks(document, markdown):
    result = []
    for block, language in code_blocks(document, markdown):
        written = list(here_documents(block))
        result += written
        if language in ("yaml", "yml") or (not language and not written and looks_like_yaml(block.text)):
            result.append(block)
    return result


def attribute(blocks):
    """Returns the files to check as (place, program, text); fails at what it cannot attribute and at stale entries."""
    checks, faults = [], []
    parts, not_ours = dict(PARTS), dict(NOT_OURS)
    whole = {}  # (document, file) → text
    for block in blocks:
        if not_ours.pop((block.document, block.heading, block.first_line), None):
            continue
        if block.files and len(block.files) == 1 and (file := next(iter(block.files))) in PROGRAMS:
            whole[block.document, file] = block.text
            checks.append((block.place, PROGRAMS[file], block.text))
        elif completed := parts.pop((block.document, block.heading), None):
            for file in completed:
                base = whole.get((block.document, file))
                if base is None:
                    faults.append(f"{block.place}: completes {file}, which is not shown before it")
                else:
                    checks.append((f"{block.place} in {file}", PROGRAMS[file], replace_entries(base, block.text)))
        else:
            faults.append(f"{block.place}: name the file of this YAML right before it (one of {', '.join(PROGRAMS)}), "
                          f"or list it in PARTS or NOT_OURS; found {sorted(block.files) or 'no name'}:\n{block.text}")
    faults += [f"no longer in the documents: {entry}" for entry in [*parts, *not_ours]]
    if faults:
        raise AssertionError("\n".join(faults))
    return checks


def entries(text):
    """Top-level key → its lines."""
    result, key = {}, ""
    for line in text.splitlines():
        found = re.match(r"([A-Za-z_]\w*):", line)
        key = found[1] if found else key
        result[key] = result.get(key, "") + line + "\n"
    return result


def replace_entries(base, part):
    return "".join({**entries(base), **entries(part)}.values())


def below(directory, text):
    """Moves every absolute path of `text` below `directory`, and makes what must be there."""
    def move(match):
        path = Path(f"{directory}{match['path']}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if match["key"].endswith("_file"):
            path.touch()
        elif match["key"].endswith("_directory"):
            path.mkdir(exist_ok=True)
        return f"{match['key']}{match['gap']}{path}"
    return re.sub(r"(?P<key>\w+)(?P<gap>:\s*[\"']?)(?P<path>/(?!/)[\w./-]+)", move, text)


def check_config(program, text):
    with tempfile.TemporaryDirectory(prefix="cloudscale-docs-") as directory:
        path = Path(directory) / "config.yaml"
        path.write_text(below(directory, text), encoding="utf-8")
        return subprocess.run([BIN / program, f"--config={path}", "--check-config"], cwd=directory, timeout=30,
                              capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def shown_files():
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return attribute([block for path in documents
                      for block in yaml_blocks(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))])


class ShownConfiguration(unittest.TestCase):
    def test_every_shown_file_is_good(self):
        files = shown_files()
        self.assertEqual({program for _, program, _ in files}, SHOWN)
        for place, program, text in files:
            with self.subTest(place=place, program=program):
                result = check_config(program, text)
                self.assertEqual(result.returncode, 0, f"{program} refuses\n{text}\n{result.stderr}")

    def test_P14_the_same_file_with_an_unknown_field_is_refused_by_name(self):
        for program, text in {program: text for _, program, text in shown_files()}.items():
            with self.subTest(program=program):
                result = check_config(program, text + "no_such_field: 1\n")
                self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
                self.assertIn("no_such_field", result.stderr)


class Reader(unittest.TestCase):
    def read(self, markdown):
        return [(block.line, block.files, block.text) for block in yaml_blocks("a.md", markdown)]

    def test_finds_fenced_indented_and_written_files(self):
        self.assertEqual(self.read("`sla.yaml`\n\n```yaml\na: 1\n\nb: {}\n```\n"),
                         [(4, {"sla.yaml"}, "a: 1\n\nb: {}\n")])
        self.assertEqual(self.read("`sla.yaml`\n\n    a:\n      b: 1\n\nText.\n"), [(3, {"sla.yaml"}, "a:\n  b: 1\n")])
        self.assertEqual(self.read("Do:\n\n    cat > monitor.yaml <<YAML\n    a: 1\n    YAML\n    run\n"),
                         [(4, {"monitor.yaml"}, "a: 1\n")])
        self.assertEqual(self.read("    ./run --json   # not: yaml\n\n```\n$ ls\n```\n\n```json\nkey: 1\n```\n"), [])

    def test_yaml_of_no_file_or_of_several_fails(self):
        for lead in ("", "`ansible.yaml`", "`sla.yaml` and `lbctl.yaml`", "`sla.yaml`\n\n# Another matter"):
            blocks = yaml_blocks("a.md", f"{lead}\n\n```yaml\na: 1\n```\n")
            self.assertEqual(len(blocks), 1)
            with self.assertRaisesRegex(AssertionError, "a.md:.*name the file", msg=lead):
                attribute(blocks)

    def test_entry_that_matches_nothing_fails(self):
        with self.assertRaisesRegex(AssertionError, "no longer in the documents.*Mutual TLS"):
            attribute([])


if __name__ == "__main__":
    sys.exit(unittest.main())
