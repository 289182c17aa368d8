import json

import numpy as np

from drsearch.data.audit import Audit, Finding, QualityFinding, SamePicture, same_picture_findings


def test_findings_say_how_they_are_the_same_and_whether_grades_agree() -> None:
    files, groups = ["a", "b", "c", "d", "e"], np.array([0, 1, 0, 1, 2])
    found = same_picture_findings(files, [1, 3, 2, 4, 0], [0, 1, 1, 1, 0], ["x", "y", "x", "z", "w"], groups)
    assert found == (
        SamePicture(("a", "c"), (1, 2), (0, 1), "bytes"),
        SamePicture(("b", "d"), (3, 4), (1, 1), "pixels"),
    )
    assert [picture.contradicts_itself for picture in found] == [True, True]
    assert [picture.contradicts_itself_in_class for picture in found] == [True, False]
    assert not SamePicture(("a", "b"), (2, None), (1, None), "bytes").contradicts_itself


def test_an_audit_reads_back_from_json() -> None:
    twice = SamePicture(("c.jpg", "d.jpg"), (1, 2), (0, 1), "pixels")
    audit = Audit(
        9, 5, (Finding("a.jpg", "is no picture"),), (Finding("b.jpg", "shows no retina"),), (Finding("e.jpg", "7"),),
        ("labels/train.csv: f",), ("a.jpg", "g.jpg"), (twice,), ("i.jpg",), (Finding("h.jpg", "its patient"),),
        ("notes.txt",), 3, "column 'patient'", 2, (1, *9 * (0,)), (QualityFinding("i.jpg", 0.05, "is too dark"),),
        (Finding("j.jpg", "its left border is at 20% of its width"),),
    )  # fmt: skip
    written = json.loads(json.dumps(audit.to_json()))
    assert Audit.from_json(written) == audit
    assert written["counts"]["contradicting"] == 1
    assert written["lowest_quality"] == [{"file": "i.jpg", "score": 0.05, "reason": "is too dark"}]
    assert written["contradicting"][0]["files"] == ["c.jpg", "d.jpg"]
    assert audit.bad == (
        "a.jpg (is no picture)", "b.jpg (shows no retina)", "e.jpg (grade '7')",
        "labels/train.csv: f (label without photograph)", "g.jpg (photograph without label)",
    )  # fmt: skip
