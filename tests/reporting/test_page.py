"""The page shows everything the records hold, runs nothing, and keeps what is to be graded blind."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from building import CURVES, TRIAL
from hostile_trial import PROMPTS, Made, make, secret

from finetrial.evidence.findings import Diagnostic, Findings, GoodShare, Interval
from finetrial.reporting.palette import DARK, LIGHT
from finetrial.reporting.write import write_report
from finetrial.stats.comparison import Comparison, Question
from finetrial.trial.subset import grading_prompts

VOID = {"meta", "br", "img", "input", "link", "hr"}
ALLOWED = {
    *(
        "html",
        "head",
        "body",
        "meta",
        "title",
        "style",
        "header",
        "main",
        "section",
        "nav",
        "footer",
        "h1",
        "h2",
        "h3",
    ),
    *("div", "span", "p", "a", "ul", "li", "dl", "dt", "dd", "pre", "details", "summary", "figure", "figcaption"),
    *("table", "thead", "tbody", "tr", "th", "td"),
    *("svg", "g", "path", "defs", "use", "text", "tspan", "desc", "clippath", "rect"),
}


class Page(HTMLParser):
    """Every element and attribute of a page, and its balance of tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def test_the_page_is_whole_and_holds_only_known_elements_and_no_handler(made: Made):
    page = Page(made.page)
    assert page.open == []
    assert {tag for tag, _ in page.tags} - ALLOWED == set()
    handlers = [
        name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"
    ]
    assert handlers == []
    assert sum(tag == "style" for tag, _ in page.tags) == 1


def test_nothing_is_loaded_from_anywhere(made: Made):
    page = Page(made.page)
    references = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "action", "data")
    ]
    assert len(references) > 50  # the figures' marks and the sections' links
    assert [value for value in references if not (value or "").startswith("#")] == []
    style = re.search(r"<style>(.*?)</style>", made.page, re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy


def test_identifiers_are_unique_and_every_reference_finds_one(made: Made):
    page = Page(made.page)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 50
    links = {a["href"][1:] for _, a in page.tags if "href" in a}
    clips = set(re.findall(r"url\(#([^)]*)\)", made.page))
    labels = {part for _, a in page.tags for part in (a.get("aria-labelledby") or "").split()}
    assert (links | clips | labels) - set(ids) == set()


def test_hostile_texts_stand_escaped(made: Made):
    shown = open_page(made)
    assert "&lt;script&gt;document.title" in shown
    assert "&lt;/p&gt;&lt;/details&gt;" in shown
    assert "{{ 7*7 }}" in shown and "49" not in re.findall(r"template: (\S+)", shown)


def test_no_control_character_and_no_direction_override_reaches_a_reader(made: Made):
    for text in (open_page(made), made.page, made.markdown, made.files.tables.read_text(encoding="utf-8")):
        found = set(re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]", text))
        assert found == set()
    shown = open_page(made)
    assert "␇" in shown and "⟨U+202E⟩" in shown and "␀" in shown  # what was there is still told


def test_a_huge_text_is_cut_and_the_page_stays_small(made: Made):
    shown = open_page(made)
    assert "more characters in samples/base.jsonl" in shown
    assert len(shown) < 3_000_000


def open_page(made: Made) -> str:
    """The page with the prompts that were set aside shown too; it does not replace the report."""
    target = made.folder.root.parent / "opened"
    if not target.exists():
        folder = make(target)
        write_report(folder, open_grades=True)
    return (target / "report" / "index.html").read_text(encoding="utf-8")


def graded() -> frozenset[str]:
    return grading_prompts(PROMPTS, count=3, seed=0)


def test_prompts_that_await_grading_are_held_back_everywhere_and_the_others_are_shown(made: Made):
    texts = {path.name: path.read_bytes().decode(errors="ignore") for path in made.files.all}
    hidden = shown = 0
    for prompt_id in PROMPTS:
        for arm in ("base", "prompted", "full", "lora"):
            for index in range(3):
                word = secret(arm, prompt_id, index)
                if prompt_id in graded():
                    assert [name for name, text in texts.items() if word in text] == []
                    hidden += 1
                else:
                    assert word in texts["index.html"] and word in texts["report.md"]
                    shown += 1
    assert (hidden, shown) == (3 * 4 * 3, 9 * 4 * 3)
    numbers = [n for n, prompt_id in enumerate(PROMPTS, start=1) if prompt_id in graded()]
    assert f"Prompts {numbers[0]}, {numbers[1]} and {numbers[2]} await blind grading" in made.page


def test_opening_shows_them_and_says_that_later_grades_are_not_blind(made: Made):
    page = open_page(made)
    words = [secret(arm, p, 0) for p in graded() for arm in ("base", "full")]
    assert len(words) == 6 and all(word in page for word in words)
    assert "grades given after this are not blind" in page
    assert "await blind grading" not in page


def test_no_prompt_is_held_back_where_none_is_to_be_graded(made: Made, tmp_path):
    folder = make(tmp_path / "t", trial_text=TRIAL.replace("grade_prompts: 3", "grade_prompts: 0"))
    page = write_report(folder).html.read_text(encoding="utf-8")
    assert page.count("=== PROMPT") == 12 and "await" not in page and "not blind" not in page


def test_the_score_table_holds_the_means_with_the_best_marked_and_differences_to_the_base(made: Made):
    rows = re.findall(
        r"<th scope=\"row\"><span class=\"arm arm\d\">(\w+)</span></th>(.*?)</tr>", made.page, re.DOTALL
    )
    cells = {
        arm: [html.unescape(re.sub(r"<[^>]+>", " ", c)).split() for c in row.split("</td>")]
        for arm, row in rows[:4]
    }
    assert list(cells) == ["base", "prompted", "full", "lora"]
    assert cells["full"][0][-1] == "best" and cells["full"][0][1].startswith("+")
    assert float(cells["full"][0][1]) == pytest.approx(
        float(cells["full"][0][0]) - float(cells["base"][0][0]), abs=1e-3
    )
    assert sum("best" in row[0] for row in cells.values()) == 1
    assert cells["base"][-2] == ["100", "%"] and cells["full"][-2] == ["0", "%"]


def test_costs_stand_with_their_share_and_the_planned_beside_the_measured(made: Made, tmp_path):
    assert "0.461\u00a0% of all" in made.page  # 9,216 of 2,000,000
    assert "planned 3 min 20 s" in made.page and "3 min 10 s" in made.page
    assert "37.1 KiB" in made.page  # 38,000 bytes
    assert "planned" not in write_report(make(tmp_path / "unplanned")).html.read_text(encoding="utf-8")


def test_each_transcript_has_the_source_once_a_column_an_arm_and_its_endings(made: Made):
    prompt_id = next(p for p in PROMPTS if p.endswith("plain"))
    assert prompt_id not in graded()
    number = list(PROMPTS).index(prompt_id) + 1
    block = re.search(rf'<details class="prompt" id="prompt-{number}".*?</details>', made.page, re.DOTALL)[0]
    assert block.count("=== PROMPT") == 1
    assert re.findall(r"<h3>(\w+)</h3>", block) == ["base", "prompted", "full", "lora"]
    assert re.findall(r'class="letter">(\w)<', block) == list("ABC") * 4
    assert block.count('class="cut">truncated at the limit') == 3  # the base's three
    assert block.count("ended at a stop string") == 3 and block.count("ended by itself") == 6
    assert block.count("Post 11 about plain: rain again</p>") == 1  # the teaser apart
    assert "2 references" in block and "a summary of post 11</p>" in block


def test_tables_have_header_cells_and_figures_have_titles(made: Made):
    page = Page(made.page)
    headers = [a.get("scope") for tag, a in page.tags if tag == "th"]
    assert len(headers) > 15 and set(headers) == {"col", "row"}
    figures = [a for tag, a in page.tags if tag == "svg"]
    assert len(figures) == 4  # two figures at two widths
    assert all(a["role"] == "img" and a["aria-labelledby"] for a in figures)
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1 and headings.count(1) == 1 and headings.count(2) == 8
    assert all(after <= before + 1 for before, after in pairwise(headings))


def test_a_program_that_wrote_the_bases_text_is_named_and_only_then(made: Made, tmp_path):
    assert "written by a program" not in made.page
    folder = make(tmp_path / "t", model_manifest={"written_by_program": True})
    files = write_report(folder)
    assert "written by a program" in files.html.read_text(encoding="utf-8")
    assert "written by a program" in files.markdown.read_text(encoding="utf-8")


def test_what_nobody_concluded_has_no_section_and_what_is_concluded_has_one(made: Made, tmp_path):
    titles = ("Paired comparisons", "What raters said", "What goes wrong", "Warnings", "interval")
    assert [title for title in titles if title in made.page] == []
    findings = Findings(
        verdict="Take lora: it holds up.",
        intervals={"rouge1": {"full": Interval(0.61, 0.83)}},
        pairs=(
            Comparison(
                Question.NEW,
                *(0.25, 0.2, 0.31, 0.0004, 0.95, 12, 0, 11, 1, 0),
                a="full",
                b="base",
                metric="rouge1",
                p_over_pairs=0.002,
            ),
        ),
        good={"full": GoodShare(8, 9, 0.57, 0.98)},
        diagnostics=(Diagnostic("Repetition", "<i>said twice</i>", {"base": 0.5, "full": None}, 0.25),),
        warnings=("Two prompts are <b>equal</b>.",),
    )
    page = write_report(make(tmp_path / "t"), findings=findings).html.read_text(encoding="utf-8")
    assert [title for title in titles if title not in page] == []
    said = (
        "Take lora: it holds up.",
        "0.610 to 0.830",
        "+0.200 to +0.310",
        "8 of 9",
        "50\u00a0%",
        "25\u00a0%",
        "&lt;b&gt;equal",
    )
    assert [text for text in said if text not in page] == []
    assert "&lt; 0.001" in page and "not tested here" not in page and "&lt;i&gt;said" in page


def test_arms_that_were_not_sampled_or_measured_are_said_to_be_missing(tmp_path):
    folder = make(tmp_path / "t", measured={}, curves={})
    folder.samples("lora").unlink()
    rows = [r for r in folder.scores.read_text(encoding="utf-8").splitlines() if '"lora/' not in r]
    folder.scores.write_text("\n".join(rows) + "\n", encoding="utf-8")
    failed = {"failures": {"lora": {"what": "the loss is <NaN> at step 3", "got": None}}, "steps": {}}
    folder.manifest.write_text(json.dumps(failed), encoding="utf-8")
    page = write_report(folder).html.read_text(encoding="utf-8")
    assert "lora stopped: the loss is &lt;NaN&gt; at step 3." in page
    assert "lora has no samples and stands in no comparison" in page
    assert "Training and validation loss" not in page and "<h3>lora</h3>" not in page and "<h3>full</h3>" in page


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_text_colour_can_be_read_on_the_page_and_on_panels():
    pairs = 0
    for table in (LIGHT, DARK):
        for name, colour in table.items():
            if name in ("page", "panel", "rule"):
                continue
            for ground in ("page", "panel"):
                light, dark = sorted((luminance(colour), luminance(table[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, colour, ground)
                pairs += 1
    assert pairs == 2 * 11 * 2


def test_the_contrast_of_white_on_black_is_21():
    assert (luminance("#ffffff") + 0.05) / (luminance("#000000") + 0.05) == pytest.approx(21)


def test_curves_that_differ_make_other_figures(made: Made, tmp_path):
    folder = make(tmp_path / "t", curves={"full": CURVES["full"]})
    other = write_report(folder)
    losses = {path.name: path.read_text() for path in other.figures if path.suffix == ".svg"}["losses.svg"]
    mine = {path.name: path.read_text() for path in made.files.figures if path.suffix == ".svg"}["losses.svg"]
    assert "lora" in mine and "lora" not in losses
