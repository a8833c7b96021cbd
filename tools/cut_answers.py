"""Cut sampled answers at a line's end or a separator and score them, without finetrial.

    python tools/cut_answers.py runs/t/samples/prompted.jsonl --at '\\n' [--at '\\n\\n---\\n\\n']

An answer is cut at the first of these behind its first character that is not white space. Prints the share of
answers that equal a reference word for word, in lower case without punctuation and articles, and the share that was
cut off by length. It exists to check finetrial's own stops from outside and imports nothing of it.
"""

import argparse
import json
import re
import sys


def cut(text, stops):
    begin = re.search(r"\S", text)
    if begin is None:
        return ""
    ends = [
        found.start()
        for stop in stops
        for found in re.finditer(re.escape(stop), text)
        if found.start() > begin.start()
    ]
    return text[begin.start() : min(ends, default=len(text))]


def plain(text):
    words = re.sub(r"[^\w\s]|_", "", text.lower()).split()
    return [word for word in words if word not in ("a", "an", "the")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples")
    parser.add_argument("--at", action="append", default=[], help="a text that ends an answer, \\n written out")
    given = parser.parse_args()
    stops = [stop.encode().decode("unicode_escape") for stop in given.at]
    with open(given.samples, encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    right = sum(any(plain(cut(row["text"], stops)) == plain(r) for r in row["references"]) for row in rows)
    length = sum(row["end_reason"] == "length" for row in rows)
    json.dump({"samples": len(rows), "exact": right / len(rows), "by_length": length / len(rows)}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
