"""Text: results as lines for a terminal, made from the same plain values as JSON and the report."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from fieldmark.images.names import counted
from fieldmark.images.problems import CLUTTER, PROBLEMS
from fieldmark.runs import Run
from fieldmark.storage import guard

SHOWN = 5  # paths named for each kind of finding; --json has them all


def unusable(problems: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The problems of files that cannot be used; remarks on usable ones and on folders' clutter left out."""
    return [problem for problem in problems if not (PROBLEMS[problem["code"]].usable or problem["code"] in CLUTTER)]


def clean(text: str) -> str:
    r"""A name as a terminal may show it: control characters, which could move its cursor, are written as
    \xNN.

    >>> clean("cat\x1b[2J.jpg")
    'cat\\x1b[2J.jpg'
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


def audit_lines(found: dict[str, Any], *, brief: bool = False) -> list[str]:
    """What an audit found; `brief` leaves out what a training need not repeat."""
    classes = ", ".join(f"{clean(name)} {count}" for name, count in found["classes"].items())
    lines = [f"{found['images']} images of {len(found['classes'])} classes: {classes}"]
    for split, counts in found["splits"].items():
        lines.append(
            f"  {split}: {sum(counts.values())} (" + ", ".join(f"{clean(n)} {c}" for n, c in counts.items()) + ")"
        )
    lines += [f"groups: {clean(found['groups']['meaning'])}"]
    lines += [f"note: {clean(remark)}" for remark in found["remarks"]]
    lines += _problem_lines(found["problems"], shown=2 if brief else SHOWN)
    duplicates = [" = ".join(clean(path) for path in paths) for paths in found["duplicates"]]
    lines += listed("exact copies", duplicates)
    leaks = [f"{clean(leak['other'])} ~ {clean(leak['train'])}" for leak in found["leaks"]]
    lines += listed("LEAKS: images outside of training that belong to training images", leaks)
    return lines


def check_lines(found: dict[str, Any]) -> list[str]:
    """What all checks answered: problems first, then what is only worth knowing, then what was not asked."""
    lines = audit_lines({**found, "problems": [], "duplicates": [], "leaks": []})
    lines += correction_lines(found["corrections"])
    for check in sorted(found["checks"], key=urgency):
        lines += ["", *_check_lines(check)]
    return lines


def correction_lines(corrections: Sequence[dict[str, str]]) -> list[str]:
    """Which labels a table set right, and which images it left out."""
    changes = [f"{clean(row['path'])}: {clean(row['from'])} → {clean(row['to'])}" for row in corrections]
    return listed("corrected by the table of corrections", changes)


def urgency(check: dict[str, Any]) -> int:
    """How soon a check's answer is to be read: 0 a problem, 1 a note, 2 nothing found, 3 not asked.

    >>> urgency({"findings": [{"weight": "note"}]}), urgency({"status": "not run"})
    (1, 3)
    """
    if check.get("status") == "not run":
        return 3
    weights = {finding["weight"] for finding in check.get("findings", [])}
    return 0 if "problem" in weights else 1 if weights else 2


def _check_lines(check: dict[str, Any]) -> list[str]:
    if check["status"] == "not run":
        hint = f" ({clean(check['hint'])})" if check["hint"] else ""
        return [check["question"], f"  not run: {clean(check['reason'])}{hint}"]
    lines = [check["question"], f"  {clean(check['answer'])}"]
    for finding in check["findings"][:SHOWN]:
        lines.append(f"  - {clean(finding['sentence'])}")
        shown = [clean(path) for path in finding["paths"][:SHOWN]]
        more = len(finding["paths"]) - len(shown)
        if shown:
            lines.append("      " + ", ".join(shown) + (f", … and {more} more" if more else ""))
    more = len(check["findings"]) - SHOWN
    return [*lines, f"  … and {more} more; --json has them all"] if more > 0 else lines


def _problem_lines(problems: Sequence[dict[str, str]], shown: int) -> list[str]:
    lines = []
    for code, count in Counter(problem["code"] for problem in problems).most_common():
        lines.append(f"{code} ({count}): {PROBLEMS[code].meaning}")
        those = [problem for problem in problems if problem["code"] == code]
        lines += [f"    {clean(problem['path'])}: {clean(problem['detail'])}" for problem in those[:shown]]
        lines += [f"    … and {count - shown} more"] if count > shown else []
    return lines


def listed(title: str, entries: Sequence[str]) -> list[str]:
    """A title with the number of entries, and the first of them below it; nothing where there are none."""
    more = [f"    … and {len(entries) - SHOWN} more"] if len(entries) > SHOWN else []
    return [f"{title} ({len(entries)}):", *(f"    {entry}" for entry in entries[:SHOWN]), *more] if entries else []


def accuracy_line(split: str, numbers: dict[str, Any]) -> str:
    """One split's accuracy with n and its interval."""
    low, high = numbers["accuracy_interval"]
    right = round(numbers["accuracy"] * numbers["n"])
    return (
        f"{split:<10} accuracy {100 * numbers['accuracy']:.1f} %  ({right} of {counted(numbers['n'], 'image')}"
        f" in {counted(numbers['groups'], 'group')}; 95 % interval {100 * low:.1f}–{100 * high:.1f} %)"
    )


def run_lines(folder: Path) -> list[str]:
    """What a training reached, and where it is."""
    run = Run(folder)
    metrics, info = run.metrics, run.info
    lines = [accuracy_line(split, metrics[split]) for split in ("train", "validation", "test") if split in metrics]
    leaks = next((check["answer"] for check in run.audit.get("checks", []) if check["name"] == "leaks"), "")
    lines += [
        *([clean(leaks)] if run.audit["leaks"] else []),
        clean(metrics["overfitting"]["sentence"]),
        *map(clean, filter(None, [(metrics.get("learning_curve") or {}).get("sentence")])),
        *(f"note: {clean(note)}" for note in (*info["notes"], *info["choices"])),
    ]
    return [
        *lines,
        f"classifier {run.model}",
        f"report     {folder / 'report.html'}",
        f"took       {info['seconds']['total']:.1f} s",
    ]


def evaluation_lines(numbers: dict[str, Any]) -> list[str]:
    """What an evaluation found."""
    lines = [accuracy_line("images", numbers)]
    for name, each in numbers["per_class"].items():
        shares = "  ".join(_share(what, each) for what in ("precision", "recall", "f1"))
        lines.append(f"  {clean(name)}: n {each['n']}  {shares}")
    wrong = [
        f"{clean(row['path'])}: {clean(row['label'])} taken for {clean(row['predicted'])} ({row['probability']:.3f})"
        for row in numbers["mistakes"]
    ]
    lines += [f"groups: {clean(numbers['group_rule']['meaning'])}"]
    lines += [f"threshold: {clean(numbers['threshold']['sentence'])}"] if "threshold" in numbers else []
    lines += [f"note: {clean(remark)}" for remark in numbers["remarks"]]
    return [
        *lines,
        *correction_lines(numbers["corrections"]),
        *listed("mistakes, the most confident first", wrong),
        *_problem_lines(numbers["problems"], SHOWN),
    ]


def _share(what: str, numbers: dict[str, Any]) -> str:
    """One share of a class with its interval."""
    if numbers[what] is None:
        return f"{what} –"
    low, high = numbers[f"{what}_interval"]
    return f"{what} {numbers[what]:.3f} ({low:.3f}–{high:.3f})"


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The journey of the shapes, and the number of parameters."""
    rows = [
        (
            layer["name"],
            layer["kind"],
            " × ".join(f"{side:,}" for side in layer["shape"]),
            layer["parameters"],
        )
        for layer in summary["layers"]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {shape:>{widths[2]}}  {parameters or '':>12,}"
        if parameters
        else f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {shape:>{widths[2]}}"
        for name, kind, shape, parameters in rows
    ]
    return [
        *lines,
        f"{summary['network']} at {summary['image_size']} px: {summary['parameters']:,} parameters",
    ]


def samples_lines(shown: dict[str, Any]) -> list[str]:
    """What a picture of samples shows."""
    classes = ", ".join(f"{clean(name)} {count}" for name, count in shown["classes"].items())
    bad = [f"{clean(problem['path'])}: {problem['code']}" for problem in shown["problems"]]
    return [f"{shown['out']}: {classes}", *listed("could not be shown", bad)]


def next_steps(faces: Path, folder: Path) -> list[str]:
    """The commands to try after the demo."""
    return [
        "",
        "try next:",
        f"  fieldmark predict {folder} {faces}/validation/happy",
        f"  fieldmark serve {folder} --open    # drop images onto a page",
        f"  fieldmark evaluate {folder} {faces}/validation",
        f"  fieldmark audit {faces}",
        f"  fieldmark samples {faces}/train --out faces.png",
        "  fieldmark train YOUR_PHOTOS        # one sub-directory per class",
    ]


def prediction_writer(
    classes: Sequence[str], style: Literal["json", "csv", "text"]
) -> Callable[[dict[str, Any], str], str]:
    """Return a function from a prediction and its problem's detail to the line to print."""
    if style == "json":
        return lambda prediction, detail: json.dumps(prediction, allow_nan=False) + "\n"
    if style == "csv":
        return _CsvLines(classes)
    return _text_line


class _CsvLines:
    """Prediction lines as CSV; the header comes with the first one."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self.header = True

    def __call__(self, prediction: dict[str, Any], detail: str) -> str:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        if self.header:
            names = [f"p:{name}" for name in self.classes]
            writer.writerow(
                [
                    guard(name)
                    for name in ("path", "label", "probability", *names, "familiarity", "unfamiliar", "problem")
                ]
            )
            self.header = False
        probabilities = [prediction["probabilities"].get(name, "") for name in self.classes]
        cells = (prediction["path"], prediction["label"] or "", prediction["probability"], *probabilities)
        writer.writerow(
            [guard(cell) if isinstance(cell, str) else cell for cell in cells]
            + [prediction["familiarity"], prediction["unfamiliar"], prediction["problem"] or ""]
        )
        return text.getvalue()


def _text_line(prediction: dict[str, Any], detail: str) -> str:
    path = clean(prediction["path"])
    if prediction["problem"]:
        return f"{path}  {prediction['problem']}: {clean(detail)}\n"
    unfamiliar = "  unlike anything in the training set" if prediction["unfamiliar"] else ""
    return f"{path}  {clean(prediction['label'])}  {prediction['probability']:.3f}{unfamiliar}\n"
