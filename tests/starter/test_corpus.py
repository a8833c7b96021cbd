"""Is the corpus the same everywhere, clean between its splits, and as new to the test as its figures say?"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from finetrial.starter.corpus import END_OF_TEXT, CorpusFiles, CorpusSizes, CorpusWriter, main, write_corpus
from finetrial.starter.corpus_counts import corpus_figures
from finetrial.starter.wording import split_of

SIZES = CorpusSizes(
    pretraining_bytes=1_500_000, verse_share=0.15, tldr_train=150, tldr_validation=30, tldr_heldout=60,
    verse_train=100, verse_validation=20, verse_heldout=40,
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CorpusFiles:
    return write_corpus(tmp_path_factory.mktemp("corpus"), sizes=SIZES, seed=7)


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_same_seed_gives_the_same_bytes_in_another_process_with_another_hash_seed(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from finetrial.starter.corpus import *;"
        "write_corpus(Path(sys.argv[1]), sizes=CorpusSizes(pretraining_bytes=60_000, tldr_train=20,"
        "tldr_validation=5, tldr_heldout=5, verse_train=20, verse_validation=5, verse_heldout=5), seed=3)"
    )
    digests = []
    for hash_seed in ("1", "2"):
        folder = tmp_path / hash_seed
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        subprocess.run([sys.executable, "-c", program, str(folder)], check=True, env=environment)
        digests.append(
            {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
        )
    assert len(digests[0]) == 7
    assert digests[0] == digests[1]


def test_another_seed_gives_other_posts():
    first, second = (CorpusWriter(seed=seed).tldr_rows("train", count=3) for seed in (1, 2))
    assert {row.prompt for row in first}.isdisjoint(row.prompt for row in second)


def test_more_rows_of_one_kind_do_not_change_the_first_ones():
    writer = CorpusWriter(seed=1)
    assert writer.tldr_rows("heldout", count=8)[:4] == writer.tldr_rows("heldout", count=4)


def test_the_pretraining_text_is_as_long_as_asked_and_has_posts_and_verse(files: CorpusFiles):
    text = files.pretraining.read_text(encoding="utf-8")
    documents = text.split(END_OF_TEXT)[:-1]
    assert len(documents) == files.pretraining_documents
    assert SIZES.pretraining_bytes <= len(text.encode()) <= SIZES.pretraining_bytes + 3000
    verse = [document for document in documents if all(len(line) < 60 for line in document.strip().split("\n"))]
    share = sum(len(document) for document in verse) / len(text)
    assert 0.13 < share < 0.17
    assert sum(document.startswith("SUBREDDIT: r/") for document in documents) > 0.6 * len(documents)


def test_the_base_meets_neither_a_summary_nor_the_marker(files: CorpusFiles):
    text = files.pretraining.read_text(encoding="utf-8")
    assert "TL;DR" not in text and "tl;dr" not in text.lower()
    assert "<complete>" not in text


def test_no_prompt_stands_in_two_splits_nor_a_heldout_one_in_the_pretraining_text(files: CorpusFiles):
    text = files.pretraining.read_text(encoding="utf-8")
    lines = set(text.split("\n"))
    for task in (files.tldr, files.verse):
        prompts = {split: [row["prompt"] for row in rows(path)] for split, path in task.items()}
        every = [prompt for split in prompts for prompt in prompts[split]]
        assert len(every) == len(set(every)) > 150
    for row in rows(files.tldr["heldout"]):
        assert row["post"] not in text
    for row in rows(files.verse["heldout"]):
        assert row["prompt"] not in lines


def test_rows_have_the_fields_of_the_task(files: CorpusFiles):
    tldr, verse = rows(files.tldr["heldout"]), rows(files.verse["heldout"])
    assert (len(tldr), len(verse)) == (60, 40)
    for row in tldr:
        expected = f"SUBREDDIT: r/{row['subreddit']}\nTITLE: {row['title']}\nPOST: {row['post']}\nTL;DR:"
        assert row["prompt"] == expected
        assert row["completion"] == row["completion"].strip() != ""
    for row in verse:
        assert "\n" not in row["prompt"]
        assert len(row["completion"].split("\n")) == 4
    assert len({row["id"] for row in tldr + verse}) == 100


def test_few_heldout_sentences_stand_in_training_verbatim(files: CorpusFiles):
    figures = corpus_figures(files)
    assert figures.post_sentences.sentences > 350
    assert figures.post_sentences.share < 0.08
    assert figures.verse_lines.verbatim == 0
    assert figures.summaries.share < 0.05
    assert 60 <= figures.mean_post_words <= 150
    assert 2000 < figures.vocabulary < 4500
    distinct, total = figures.distinct_ngrams[3]
    assert 0 < distinct < total


def test_a_sentence_keeps_its_split_however_it_is_capitalised_or_marked():
    for sentence in ("my roommate never cleans", "we leave in ten days", "I need it for work"):
        assert split_of(sentence + ".") == split_of(sentence.upper() + "!") == split_of(sentence)
    shares = [split_of(f"sentence {number}") for number in range(4000)]
    # an eighth each, give or take four standard errors (sqrt(.125 * .875 / 4000) = .0052)
    assert abs(shares.count("heldout") / 4000 - 0.125) < 0.021
    assert abs(shares.count("validation") / 4000 - 0.125) < 0.021


def test_the_command_shows_samples_and_refuses_to_do_nothing(capsys: pytest.CaptureFixture[str]):
    main(["--show", "3", "--split", "heldout"])
    shown = capsys.readouterr().out
    assert len(re.findall(r"^TL;DR: ", shown, re.M)) == 3
    assert max(len(line) for line in shown.split("\n")) <= 80
    main(["--show", "2", "--verse"])
    assert len(capsys.readouterr().out.split("\n\n")) == 3
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
