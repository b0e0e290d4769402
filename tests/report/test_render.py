import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
from PIL import Image

from fieldmark.errors import ModelFileError, OutputError
from fieldmark.evaluation.metrics import metrics_of, percent
from fieldmark.evaluation.predictions import read_csv
from fieldmark.report.contents import read_contents
from fieldmark.report.panels import PANELS
from fieldmark.report.render import render_report
from fieldmark.report.theme import read_theme
from fieldmark.report.wording import visible
from tests.report.fabricate import change, make_run, read, write

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'onmouseover='alert(1)",
    "</title></style></main><b>",
    "{{ 7 * 7 }}{% raw %}",
    "&amp;&lt;",
    "\u202egnp.exe \u2066\u200f",
    "new\nline\ttab\x1b[2J",
    "🐎👩\u200d🌾 שלום",
    "=1+1",
)


class Page(HTMLParser):
    """The elements of a page in order, each with its attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text, self.style, self.script = [], "", "", ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] == "style" and not self.style:
            self.style = data
        if self.elements and self.elements[-1][0] == "script":
            self.script += data
            return
        self.text += data

    def values(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def rendered(run):
    return Page(render_report(run).read_text(encoding="utf-8"))


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def test_report_answers_every_panels_question(run):
    page = rendered(run)
    for name, panel in PANELS.items():
        assert name in page.values("id")
        if name != "headline":
            assert panel.question in page.text
        data = read(run / "report_files" / f"{name}.json")
        assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_page_needs_nothing_but_its_own_files(run):
    page = rendered(run)
    assert not any(url in value for value in page.values("src") + page.values("href") for url in ("//", "data:"))
    for value in page.values("src") + [href for href in page.values("href") if not href.startswith("#")]:
        assert (run / value).is_file(), value
    for href in page.values("href"):
        assert not href.startswith("#") or href[1:] in page.values("id"), href
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"link", "iframe", "object", "embed", "form", "base"}


def test_content_policy_knows_the_style_sheet_and_nothing_else(run):
    page = rendered(run)
    policy = next(attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none';")
    for kind, text in (("style", page.style), ("script", page.script.rstrip() + "\n")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert [attributes for tag, attributes in page.elements if tag == "script"] == [{}]
    assert "unsafe" not in policy
    # The policy forbids them, so they would silently do nothing.
    assert page.values("style") == []
    assert [name for _, attributes in page.elements for name in attributes if name.startswith("on")] == []


def test_no_template_switches_escaping_off():
    for template in (resources.files("fieldmark") / "report" / "templates").iterdir():
        text = template.read_text(encoding="utf-8").replace("<script>{{ script }}</script>", "")
        assert not re.search(r"\bsafe\b|autoescape|<script", text), template.name


def elements(page):
    """All but <wbr>, of which a name with more slashes has more: tags and names of attributes."""
    return [(tag, sorted(attributes)) for tag, attributes in page.elements if tag != "wbr"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_whatever_they_hold(tmp_path, name):
    file_name = name.replace("/", "∕")
    hostile = make_run(tmp_path / "hostile", classes=(name, f"{name} 2"), stem=file_name)
    change(hostile / "run.json", network=name, command=name, notes=[name], versions={name: name})
    plain = make_run(tmp_path / "plain")
    page = rendered(hostile)
    # What is written from right to left is set apart by elements of ours.
    own = [element for element in elements(page) if element != ("bdi", [])]
    assert own == [element for element in elements(rendered(plain)) if element != ("bdi", [])]
    assert page.text.count(visible(name)) > 10


def test_text_that_turns_or_hides_is_written_out(tmp_path):
    run = make_run(tmp_path, classes=("\u202eevil", "line\nbreak"), stem="bell\x07")
    html = render_report(run).read_text(encoding="utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", html)
    assert "\\u202eevil" in html
    assert "line\\nbreak" in html
    assert "bell\\x07" in html


def test_long_names_are_cut(tmp_path):
    run = make_run(tmp_path, classes=("c" * 200, "dogs"), stem="s" * 200)
    change(run / "audit.json", remarks=[], groups={})
    text = rendered(run).text
    assert "c" * 150 not in text
    assert "s" * 150 not in text
    assert "c" * 200 in (run / "report_files" / "confusion.json").read_text()


def test_thumbnails_are_numbered_small_and_of_the_right_shape(run):
    page = rendered(run)
    sources = page.values("src")
    files = sorted((run / "report_files").glob("*.jpg"))
    assert set(sources) == {f"report_files/{number + 1}.jpg" for number in range(len(files))}
    with Image.open(run / sources[0]) as image:
        assert (image.format, image.size) == ("JPEG", (30, 20))
    assert all(page.values("alt"))


def test_large_images_become_small_thumbnails(run):
    wrong = "validation/cats/image-0.png"
    Image.new("RGB", (1200, 300), "red").save(run.parent / "data" / wrong)
    rows = (run / "dataset.csv").read_text()
    (run / "dataset.csv").write_text(re.sub(f"({wrong},.*),30,20,", r"\1,1200,300,", rows))
    page = rendered(run)
    boxes = {(attributes["width"], attributes["height"]) for tag, attributes in page.elements if tag == "img"}
    assert boxes == {("256", "64"), ("30", "20")}


def test_gone_and_broken_images_leave_a_placeholder(run):
    files = sorted((run.parent / "data").rglob("*.png"))
    for number, file in enumerate(files):
        file.unlink() if number % 2 else file.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    page = rendered(run)
    assert page.values("src") == []
    assert page.text.count("image not found") > 4


def test_images_are_not_looked_for_when_the_root_is_unknown(run):
    change(run / "run.json", root=None)
    change(run / "audit.json", root=None)
    assert rendered(run).values("src") == []


def test_a_second_report_is_the_same_and_leaves_nothing_old(run):
    render_report(run)
    first = {path.name: path.read_bytes() for path in (run / "report_files").iterdir()}
    html = (run / "report.html").read_bytes()
    (run / "report_files" / "99.jpg").write_bytes(b"of an earlier report")
    (run / "report_files" / "mine.txt").write_text("keep me")
    render_report(run)
    second = {path.name: path.read_bytes() for path in (run / "report_files").iterdir()}
    assert second == first | {"mine.txt": b"keep me"}
    assert (run / "report.html").read_bytes() == html


def test_what_an_earlier_report_left_and_cannot_be_removed_does_no_harm(run, monkeypatch):
    render_report(run)
    old = run / "report_files" / "look-999.jpg"
    old.write_bytes(b"")
    unlink = Path.unlink

    def refuse(path, missing_ok=False):
        if path.name == old.name:
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    assert render_report(run).is_file()
    assert old.exists()


FILES = (
    "metrics.json",
    "audit.json",
    "recipe.json",
    "run.json",
    "history.csv",
    "dataset.csv",
    "predictions.csv",
    "mistakes.json",
)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_leaves_its_part_empty(run, name):
    (run / name).unlink()
    page = rendered(run)
    assert set(PANELS) <= set(page.values("id"))


def test_an_almost_empty_run_says_so_in_sentences(run):
    for name in FILES:
        (run / name).unlink()
    (run / "run.json").write_text("{}")
    text = rendered(run).text
    for sentence in (
        "A run without classes",
        "was not measured",
        "does not say which images",
        "has no audit",
        "no curves",
        "Nothing was measured",
        "calibrated was not measured",
        "does not tell how familiar",
        "not part of this training",
        "learning curve was not measured",
        "is not shown here: this run holds no answers",
        "holds no predictions",
        "Not recorded",
    ):
        assert sentence in text


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(run, name):
    (run / name).write_bytes(b"\xff{[")
    with pytest.raises(ModelFileError, match=re.escape(name)):
        render_report(run)


@pytest.mark.parametrize("content", ["[]", "3", "null"])
def test_json_of_another_kind_is_damage(run, content):
    (run / "metrics.json").write_text(content)
    with pytest.raises(ModelFileError, match="expected an object"):
        render_report(run)


def test_json_nested_without_end_is_damage(run):
    (run / "run.json").write_text("[" * 100_000)
    with pytest.raises(ModelFileError, match=r"run\.json: damaged: its brackets"):
        render_report(run)


@pytest.mark.parametrize("root", [3, [], {}])
def test_a_root_that_is_no_path_counts_as_none(run, root):
    change(run / "run.json", root=root)
    change(run / "audit.json", root=root)
    assert read_contents(run).root is None


def test_what_is_no_run_folder_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="not a run folder"):
        render_report(tmp_path)
    with pytest.raises(ModelFileError, match="not a run folder"):
        render_report(tmp_path / "nowhere")


def test_a_place_that_cannot_be_written_is_named(run):
    (run / "report_files").write_text("in the way")
    with pytest.raises(OutputError, match="report_files"):
        render_report(run)


def test_two_hundred_classes_are_listed_not_drawn(tmp_path):
    names = tuple(f"class {number}" for number in range(200))
    run = make_run(tmp_path, classes=names, wrong=150, splits={"train": 1, "validation": 1})
    page = rendered(run)
    assert "Tells 200 classes apart, from class 0 to class 199" in " ".join(page.text.split())
    assert "matrix" not in page.values("class")
    assert "The 50 commonest of 150 pairs" in page.text
    assert page.values("data-path") == [
        row["path"]
        for part in read(run / "report_files" / "mistakes.json")["splits"]
        for row in part["rows"][: part["shown"]]
    ]
    assert len(page.values("data-path")) == 96 + 24
    assert len(read(run / "report_files" / "mistakes.json")["splits"][0]["rows"]) == 150


def test_words_of_the_headline(run):
    text = " ".join(rendered(run).text.split())
    assert "Tells cats and dogs apart" in text
    assert "Learnt from 12 images with the network course." in text
    assert "right: 6 of 8 validation images." in text
    assert "Always answering cats: 50.0 %." in text


def test_a_run_of_an_older_version_renders(run):
    """As runs were before calibration, familiarity, kinds of mistakes and checks."""
    (run / "mistakes.json").unlink()
    change(run / "run.json", choices=[])
    change(run / "audit.json", checks=[], suspected_labels=[], corrections=[])
    metrics = read(run / "metrics.json")
    del metrics["learning_curve"]
    for split in ("train", "validation"):
        for name in (
            "reliability",
            "brier",
            "roc",
            "precision_recall",
            "unfamiliar",
            "log_loss_interval",
            "ece_interval",
        ):
            del metrics[split][name]
        for row in metrics[split]["per_class"].values():
            del row["recall_interval"], row["precision_interval"], row["f1_interval"]
    write(run / "metrics.json", metrics)
    lines = (run / "predictions.csv").read_text().splitlines()
    (run / "predictions.csv").write_text("\n".join(line.rsplit(",", 2)[0] for line in lines) + "\n")
    text = rendered(run).text
    assert "does not tell how familiar" in text
    assert "What to photograph next" not in text


def test_names_in_what_to_watch_are_set_apart_from_the_words_around_them(tmp_path):
    page = render_report(make_run(tmp_path, classes=("שלום", "<b>\u202e"))).read_text(encoding="utf-8")
    assert "“<bdi>שלום</bdi>” 4, “<bdi>&lt;b&gt;\\u202e</bdi>” 4" in page


def test_names_from_right_to_left_are_set_apart_in_every_panel(tmp_path):
    run = make_run(tmp_path, classes=("שלום", "عربى"), wrong=4)
    audit = read(run / "audit.json")
    audit["checks"][0]["answer"] = "שלום has 3 images, عربى 4"
    change(run / "audit.json", checks=audit["checks"], remarks=["validation has no image of שלום, עולם, 5 of عربى"])
    page = render_report(run).read_text(encoding="utf-8")
    assert "<bdi>שלום</bdi>, <bdi>עולם</bdi>, 5 of <bdi>عربى</bdi>" in page
    outside = re.sub(r"<bdi[^>]*>.*?</bdi>|<title>.*?</title>", "", page, flags=re.DOTALL)
    shown = re.sub(r"<[^>]*>", "", outside)
    assert not re.search("[שלוםعربى]", shown)


def test_a_name_in_a_sentence_stays_escaped_and_visible(tmp_path):
    run = make_run(tmp_path)
    change(run / "audit.json", remarks=["<b>שלום</b>\u202e"])
    assert "&lt;b&gt;<bdi>שלום</bdi>&lt;/b&gt;\\u202e" in render_report(run).read_text(encoding="utf-8")


def test_thresholds_by_costs_say_what_they_were_chosen_on(run):
    text = " ".join(rendered(run).text.split())
    assert "Where one mistake costs more than the other" in text
    assert re.search(r"chosen on these very \d+ images, so its cost is optimistic: expect more on others", text)


def test_f1_and_calibration_error_and_average_precision_stand_beside_their_intervals(run):
    numbers = read(run / "metrics.json")["validation"]
    text = " ".join(rendered(run).text.split())
    assert f"calibration error is {numbers['ece']:.3f} (95 % interval {numbers['ece_interval'][0]:.3f} to" in text
    assert f"Average precision {numbers['precision_recall']['average_precision']:.3f} (95 % interval" in text
    for row in numbers["per_class"].values():
        low, high = row["f1_interval"]
        assert f"{percent(low)} to {percent(high)}" in text.replace("\N{NO-BREAK SPACE}", " ")


def test_an_area_without_an_interval_says_that_none_can_be_given(run):
    metrics = read(run / "metrics.json")
    metrics["validation"]["roc"] |= {"auc": 0.97, "auc_interval": None}
    write(run / "metrics.json", metrics)
    assert "Area under the ROC curve 0.970 (no interval can be given: too few groups)" in rendered(run).text


@pytest.mark.parametrize("splits", [{"train": 1, "validation": 1}, {"train": 1}, {"train": 3, "test": 1}])
def test_runs_of_a_few_images_render(tmp_path, splits):
    page = rendered(make_run(tmp_path, splits=splits | {"validation": splits.get("validation", 0)}, wrong=0))
    assert "None: all" in page.text


def test_no_mistakes_are_said_in_words(tmp_path):
    page = rendered(make_run(tmp_path, wrong=0))
    assert "None: all 8 answers are right." in page.text
    assert page.values("data-path") == []


def test_a_class_without_validation_images_renders(tmp_path):
    run = make_run(tmp_path, classes=("cats", "dogs", "owls"))
    for name in ("predictions.csv", "dataset.csv"):
        lines = (run / name).read_text().splitlines()
        (run / name).write_text("\n".join(line for line in lines if "validation/owls" not in line) + "\n")
    predictions = read_csv(run / "predictions.csv")
    change(run / "metrics.json", validation=metrics_of(predictions.select("validation")))
    assert "owls" in rendered(run).text


def test_the_script_sets_names_as_text_only():
    script = (resources.files("fieldmark") / "report" / "static" / "report.js").read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function|fetch|import", script)
    assert "</" not in script


def test_style_sheet_stands_for_phone_dark_and_paper(run):
    style = rendered(run).style
    assert style.startswith(read_theme())
    for rule in ("prefers-color-scheme: dark", "@media print", "max-width: 44rem", "tabular-nums"):
        assert rule in style
    assert not re.search(r"url\(|@import|https?:", style)
    assert "</" not in style


def test_names_of_no_machine_stand_in_the_templates():
    package = Path(str(resources.files("fieldmark"))) / "report"
    for path in [*package.glob("templates/*"), *package.glob("static/*")]:
        assert "://" not in path.read_text(encoding="utf-8"), path.name
