"""What a version answered for single eyes: the table, which eyes tell most, and their pictures."""

import dataclasses

import cv2
import numpy as np
import pytest

from drsearch.data.records import RecordSet, read_eyes
from drsearch.release.eye_answers import EyeAnswer, answers_csv, eye_answers, read_answers, telling
from drsearch.release.eye_pictures import answer_pictures
from drsearch.release.photograph_files import photographs_of
from drsearch.serving.grader import Grader


def answer(eye: str, label: int, probability: float) -> EyeAnswer:
    return EyeAnswer(eye, 3 * label, label, probability, int(probability >= 0.5), 0.7, "", "a, b")


def test_the_table_gives_back_the_answers() -> None:
    answers = (answer("x", 1, 0.1), answer('y "quoted", with a comma', 0, 1 / 3))
    assert read_answers(answers_csv(answers)) == answers


def test_missed_eyes_come_first_then_false_alarms_then_some_that_are_right() -> None:
    answers = [answer(f"right {i}", i % 2, 0.9 if i % 2 else 0.2) for i in range(40)]
    answers += [answer("alarm", 0, 0.8), answer("missed", 1, 0.4), answer("surely missed", 1, 0.1)]
    names = [answers[i].eye for i in telling(answers, 0.5)]
    assert names[:3] == ["surely missed", "missed", "alarm"]
    assert len(names) == len(set(names)) == 3 + 4 * 3


def test_pictures_show_the_eye_and_its_map_beside_it(grader: Grader, records: RecordSet) -> None:
    eyes = read_eyes(records, "validation")
    listed = records.eyes("validation")
    answers = eye_answers(listed, grader.probabilities(eyes.images), 0.5)
    assert [each.eye for each in answers] == list(eyes.names)
    files = answer_pictures(grader, listed, eyes, answers)
    assert set(files) == {f"{answers[i].eye}.jpg" for i in telling(answers, grader.serving.threshold)}
    name = next(iter(files)).removesuffix(".jpg")
    picture = cv2.imdecode(np.frombuffer(files[f"{name}.jpg"], np.uint8), cv2.IMREAD_COLOR_RGB)
    image = eyes.images[eyes.names.index(name)]
    shown = cv2.resize(image, (256, 256), interpolation=cv2.INTER_CUBIC)
    assert picture.shape == (256 + 48, 2 * 256, 3), "both, and below them a strip with words and scale"
    assert np.abs(picture[:256, :256].astype(float) - shown).mean() == pytest.approx(0, abs=6)
    assert (picture[256:] == 255).all(axis=2).any()


def test_a_photograph_that_is_there_is_shown_as_it_is_and_not_as_the_network_sees_it(
    grader: Grader, records: RecordSet
) -> None:
    eyes, listed = read_eyes(records, "validation"), records.eyes("validation")
    answers = eye_answers(listed, grader.probabilities(eyes.images), 0.5)
    photographs = photographs_of(records)
    assert photographs is not None
    entry = listed[telling(answers, grader.serving.threshold)[0]]
    photograph = cv2.imread(str(photographs.of(entry).path), cv2.IMREAD_COLOR_RGB)
    assert photograph is not None
    picture = answer_pictures(grader, listed, eyes, answers, photographs)[f"{entry.name}.jpg"]
    shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR_RGB)
    width = shown.shape[1] // 2
    height = round(photograph.shape[0] * width / photograph.shape[1])
    small = cv2.resize(photograph, (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(shown[:height, :width].astype(float) - small).mean() < 6
    assert photographs.find(dataclasses.replace(entry, sha256="0" * 64)) is None
