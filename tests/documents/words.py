#!/usr/bin/env python3
"""Fails on phrases that are hard to understand, in all text files of the repository.

    python3 tests/documents/words.py [--count] [PATH...]

Prints FILE:LINE, the phrase, and what to write instead. PATH restricts the check to files and folders; --count prints the
number of phrases per folder instead. To forbid another phrase, add a line to PHRASES.
"""

import collections
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = {".rs", ".md", ".py", ".mjs", ".js", ".jsx", ".ts", ".sh", ".sql", ".lua", ".toml", ".graphql", ""}
# Files that are generated from other checked files, texts of others, and this list itself.
SKIPPED = re.compile(
    r"^(schema\.graphql|docs/reference/(?!http\.md)[\w-]+\.md|LICENSE-\w+|.*\.(json|lock|snap)|(.*/)?\.gitignore"
    r"|tests/documents/words\.py)$"
)

# A regular expression (spaces match line breaks, case is ignored), and what to write instead.
PHRASES = [
    (r"whoever", "name the subject: the caller, the client, the worker"),
    (r"(?<!there\s)(?:is|are|was|be) no (?!longer\b|more\b|less\b|other\b)\w+", "X is not …; for input: X is not valid (expected Y)"),
    (r"to be had", "available"),
    (r"(?:is|are|was|were|being) let (?:go|in|through)", "dropped, closed, accepted"),
    (r"twice is once", "retrying is safe"),
    (r"of late", "recently; say how recently"),
    (r"(?:stand|stands|stood) twice", "is a duplicate"),
    (r"as (?:it|they|this|that) stands?", "unchanged"),
    (r"the books", "the ledger; balances and totals"),
    (r"(?:is|are|was|were|be|been) told(?! apart)", "gets the event, the error, the response"),
    (r"(?:is|are|was|were|be|been|to) look(?:ed)? (?:at|into)", "checked, read"),
    (r"what (?:became|becomes|is|has) become of|what (?:became|becomes|came) of", "the result, the outcome"),
    (r"what came of it", "the result"),
    (r"but for (?:the|a|an|its|their|those|what|one)", "except"),
    (r", for (?:it|they|there|nobody|no one)", "because"),
    (r"past the program", "directly in the database"),
    (r"hand(?:s|ed|ing)? over", "submit"),
    (r"patience", "timeout, deadline"),
    (r"strangers?", "unauthenticated client"),
    (r"(?:second|the|a) wall", "check"),
    (r"storeys?", "layer"),
    (r"yardsticks?", "baseline"),
    (r"throw-?away", "temporary"),
    (r"anew", "again"),
    (r"at leisure", "slowly; say how often"),
    (r"in the midst", "during"),
    (r"wants? nothing more", "opted out"),
    (r"(?:bytes|characters|rows|messages|requests|seconds|[a-z]+s) (?:of \w+ )*at most\.", "Maximum …"),
    (r"for so long|so many in all|of so many", "name the number"),
    (r"goes? out by", "is sent from"),
    (r"(?:it|which|where it|where they) says? so", "if it is given"),
    (r"takes? no letters", "fails; say which call"),
    (r"made up of what", "consists of"),
    (r"ask who runs", "contact the operator"),
    (r"for who (?:asks|reads|runs|builds|wants)", "name the reader"),
]
PATTERNS = [(re.compile(r"\b" + phrase.replace(" ", r"\s+") + r"(?!\w)", re.I), instead) for phrase, instead in PHRASES]
# The markers at the beginning of a comment's line, so that a phrase is also found across lines.
MARKER = re.compile(r"^[ \t]*(?://[/!]?|#|--|\*|>)+[ \t]?", re.M)
# The name of a function is checked as a sentence.
NAME = re.compile(r"\b(?:fn|def|function) (\w+)")


def plain(text):
    """The text without comment markers and with the words of function names apart; lines stay lines."""
    text = NAME.sub(lambda found: found[0].replace("_", " "), text)
    return MARKER.sub("", text)


def phrases_in(path):
    """Each phrase of a file: its line, the phrase, and what to write instead."""
    text = plain((ROOT / path).read_text(encoding="utf-8"))
    for pattern, instead in PATTERNS:
        for found in pattern.finditer(text):
            yield text.count("\n", 0, found.start()) + 1, " ".join(found[0].split()), instead


def tracked(paths):
    listed = subprocess.run(["git", "ls-files", "--", *paths], cwd=ROOT, check=True, capture_output=True, text=True)
    files = listed.stdout.splitlines()
    return [path for path in files if Path(path).suffix in SUFFIXES and not SKIPPED.match(path) and (ROOT / path).is_file()]


def main():
    arguments = sys.argv[1:]
    paths = [argument for argument in arguments if argument != "--count"]
    folders = collections.Counter()
    for path in tracked(paths):
        for line, phrase, instead in sorted(phrases_in(path)):
            folders["/".join(path.split("/")[:-1][:3]) or "."] += 1
            if "--count" not in arguments:
                print(f"{path}:{line}: \"{phrase}\" ({instead})")
    if "--count" in arguments:
        for folder, count in sorted(folders.items()):
            print(f"{count:5} {folder}")
    total = sum(folders.values())
    print(f"{total} forbidden phrases" if total else "No forbidden phrase")
    sys.exit(1 if total else 0)


main()
