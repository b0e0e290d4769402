"""CHECKS: every question that an audit asks about a dataset. A new check is one function and one entry here."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from fieldmark.checks.context import Context, Copy, Floats, groups_of_classes
from fieldmark.checks.copies import copied_leaks, find_copies, leaks, near_duplicates
from fieldmark.checks.labels import check_labels
from fieldmark.checks.quality import check_quality
from fieldmark.checks.shortcuts import check_shortcuts
from fieldmark.evaluation.intervals import wilson
from fieldmark.images.audit import Audit
from fieldmark.images.findings import CheckResult, Cost, Finding
from fieldmark.images.names import counted
from fieldmark.images.problems import CLUTTER, PROBLEMS
from fieldmark.images.read import Images

FEW_IMAGES, FEW_GROUPS = 20, 5  # of a class: with fewer, nothing can be said of it
IMBALANCE = 3.0  # times as many images in the largest class as in the smallest


class Answer(NamedTuple):
    """What a check has to say."""

    findings: list[Finding]
    sentence: str  # answers the question, whatever was found
    numbers: dict[str, Any] = {}  # noqa: RUF012  never changed
    suspects: list[dict[str, Any]] = []  # noqa: RUF012  rows of `suspected_labels`


class Check(NamedTuple):
    """One question about a dataset."""

    question: str
    cost: Cost  # the dearest thing it needs; "embeddings" is 10 ms an image, once
    run: Callable[[Context], Answer]


def _files(context: Context) -> Answer:
    problems = context.dataset.problems
    findings = []
    for code, count in Counter(problem.code for problem in problems).most_common():
        kind = PROBLEMS[code]
        paths = tuple(problem.path for problem in problems if problem.code == code)
        weight = "note" if kind.usable or code in CLUTTER else "problem"
        findings.append(
            Finding(f"{code}: {kind.meaning}", paths, weight, {"code": code, "files": count})  # type: ignore[arg-type]
        )
    findings.sort(key=lambda finding: finding.weight == "note")
    unusable = sum(finding.numbers["files"] for finding in findings if finding.weight == "problem")
    if not findings:
        return Answer([], "Every file is an image that can be used.")
    return Answer(findings, f"{counted(unusable, 'file')} cannot be used." if unusable else "Every image can be used.")


def _exact_duplicates(context: Context) -> Answer:
    label = dict(zip(context.dataset.paths, context.dataset.labels.tolist(), strict=True))
    findings = []
    for paths in context.audit.duplicates:
        classes = {context.dataset.classes[label[path]] for path in paths}
        twofold = f", in the classes {' and '.join(sorted(classes))}" if len(classes) > 1 else ""
        findings.append(Finding(f"the same image {len(paths)} times{twofold}", paths, "problem" if twofold else "note"))
    findings.sort(key=lambda finding: finding.weight == "note")
    more = sum(len(paths) - 1 for paths in context.audit.duplicates)
    if not more:
        return Answer(findings, "No image is there twice.")
    return Answer(findings, f"{counted(more, 'image')} {'is' if more == 1 else 'are'} the same as another one.")


def _near_duplicates(context: Context) -> Answer:
    return Answer(*near_duplicates(context))


def _leaks(context: Context) -> Answer:
    return Answer(*leaks(context))


def _labels(context: Context) -> Answer:
    findings, sentence, suspects = check_labels(context)
    return Answer(findings, sentence, suspects=suspects)


def _shortcuts(context: Context) -> Answer:
    return Answer(*check_shortcuts(context))


def _quality(context: Context) -> Answer:
    return Answer(*check_quality(context))


def _classes(context: Context) -> Answer:
    """Classes that are too small to say anything about, and classes much larger than others."""
    dataset, rows = context.dataset, context.training()
    counts = np.bincount(dataset.labels[rows], minlength=len(dataset.classes))
    groups = groups_of_classes([dataset.groups[row] for row in rows], dataset.labels[rows], len(dataset.classes))
    findings = []
    for name, images, independent in zip(dataset.classes, counts.tolist(), groups.tolist(), strict=True):
        if images < FEW_IMAGES or independent < FEW_GROUPS:
            low, _ = wilson(independent, independent)
            apart = "" if independent == images else f" of {counted(independent, 'group')}"
            sentence = (
                f"{name} has {counted(images, 'training image')}{apart}: too few to say anything; even were all of as "
                f"many answered right, that would only show more than {100 * low:.0f} %"
            )
            findings.append(Finding(sentence, numbers={"class": name, "images": images, "groups": independent}))
    largest, smallest = (int(counts.max()), int(counts.min())) if len(counts) else (0, 0)
    if len(counts) > 1 and largest >= IMBALANCE * max(smallest, 1):
        names = [dataset.classes[int(counts.argmax())], dataset.classes[int(counts.argmin())]]
        sentence = (
            f"{names[0]} has {largest} images, {names[1]} {smallest}: look at the accuracy of each class, and consider "
            "--class-weights balanced"
        )
        findings.append(Finding(sentence, weight="note", numbers={"largest": largest, "smallest": smallest}))
    few = sum(finding.weight == "problem" for finding in findings)
    if few:
        return Answer(findings, f"{counted(few, 'class').replace('classs', 'classes')} too small to say anything.")
    return Answer(findings, "Large enough, though of unequal size." if findings else "Large enough, and of like size.")


CHECKS: dict[str, Check] = {
    "files": Check("Which files cannot be used, or are not what they seem?", "none", _files),
    "leaks": Check("Does validation or test show what training shows?", "none", _leaks),
    "wrong_labels": Check("Which labels are probably wrong?", "embeddings", _labels),
    "shortcuts": Check("Can the class be told from what should not matter?", "fits", _shortcuts),
    "exact_duplicates": Check("Which images are there twice?", "none", _exact_duplicates),
    "near_duplicates": Check("Which images are changed copies of another?", "embeddings", _near_duplicates),
    "class_sizes": Check("Has every class enough images?", "none", _classes),
    "image_quality": Check("Which images are hard to see anything in?", "pixels", _quality),
}


def run_checks(
    images: Images,
    audit: Audit,
    embeddings: Floats | None,
    *,
    not_run: str = "",
    hint: str = "",
    without: Collection[str] = (),
    copies: tuple[Copy, ...] | None = None,
) -> Audit:
    """Return the audit with the answers of all CHECKS.

    `images` and `audit` describe one dataset; `embeddings` (n, d) are those of `fieldmark.embedding`, or None. The
    checks that need them then, and those named in `without`, say `not_run` and `hint`. Without the near-duplicates
    only those between training and the other splits are searched, for the leaks. `copies` are all near-duplicates
    where the groups hold them already; nothing is searched then.
    """
    left_out = {name for name, check in CHECKS.items() if check.cost == "embeddings" and embeddings is None}
    left_out |= set(without)
    if copies is not None:
        left_out -= {"near_duplicates"}
    context = Context(images, audit, embeddings, copies, joined=copies is not None)
    if embeddings is not None and copies is None:
        across = "near_duplicates" in left_out
        context = dataclasses.replace(context, copies=find_copies(context, across_splits=across))
    if context.copies is not None:
        audit = dataclasses.replace(audit, leaks=(*audit.leaks, *copied_leaks(context)))
        context = dataclasses.replace(context, audit=audit)
    pairs = () if "near_duplicates" in left_out else _pairs(context)
    results, suspects = [], audit.suspected_labels
    for name, check in CHECKS.items():
        if name in left_out:
            results.append(CheckResult(name, check.question, check.cost, not_run=not_run or "no embeddings", hint=hint))
            continue
        answer = check.run(context)
        suspects = (*suspects, *answer.suspects)
        results.append(
            CheckResult(
                name, check.question, check.cost, tuple(answer.findings), answer.sentence, numbers=answer.numbers
            )
        )
    return dataclasses.replace(audit, checks=tuple(results), suspected_labels=suspects, near_duplicates=pairs)


def _pairs(context: Context) -> tuple[dict[str, Any], ...]:
    paths = context.dataset.paths
    return tuple(
        {"paths": [paths[copy.i], paths[copy.j]], "likeness": copy.likeness, "similarity": copy.similarity}
        for copy in context.copies or ()
    )
