import pytest

from fieldmark.report.contents import read_contents
from fieldmark.report.context import Context
from fieldmark.report.findings import resolve_checks
from tests.report.fabricate import change, make_run, read


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def checks_of(run):
    return resolve_checks(Context(read_contents(run), lambda paths: [None for _ in paths]))


def test_what_accuses_comes_first_and_what_was_not_asked_last(run):
    data = checks_of(run)
    assert [(check["name"], check["weight"]) for check in data["checks"]] == [
        ("wrong_labels", "problem"),
        ("shortcuts", "problem"),
        ("files", "note"),
        ("near_duplicates", "not run"),
    ]


def test_probes_for_shortcuts_are_a_table(run):
    assert [(row["probe"], row["verdict"]) for row in checks_of(run)["probes"]] == [
        ("format", "shortcut"),
        ("border", "some"),
    ]


def test_suspects_are_few_and_counted(run):
    one = {"path": "a", "label": "cats", "likelier": "dogs", "label_probability": 0.1, "likelier_probability": 0.9}
    change(run / "audit.json", suspected_labels=[one] * 30)
    data = checks_of(run)
    assert (len(data["suspects"]), data["suspected"]) == (12, 30)


def test_only_the_accused_are_shown_as_suspects(run):
    one = {"path": "a", "label": "cats", "likelier": "dogs", "label_probability": 0.1, "likelier_probability": 0.9}
    change(run / "audit.json", suspected_labels=[one | {"accused": number < 2} for number in range(9)])
    data = checks_of(run)
    assert (len(data["suspects"]), data["suspected"]) == (2, 2)


@pytest.mark.parametrize("audit", [{}, {"checks": [], "suspected_labels": []}])
def test_an_audit_without_checks_has_none(run, audit):
    change(run / "audit.json", **{"checks": [], "suspected_labels": [], "corrections": []} | audit)
    data = checks_of(run)
    assert (data["checks"], data["probes"], data["suspects"]) == ([], [], [])


def test_the_problems_of_a_check_stand_before_its_notes(run):
    audit = read(run / "audit.json")
    found = [{"sentence": name, "paths": [], "weight": name, "numbers": {}} for name in ("note", "problem", "note")]
    audit["checks"][0]["findings"] = found
    change(run / "audit.json", checks=audit["checks"][:1])
    assert [finding["weight"] for finding in checks_of(run)["checks"][0]["findings"]] == ["problem", "note", "note"]
