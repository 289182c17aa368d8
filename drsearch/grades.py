"""The five grades of diabetic retinopathy and the two classes made of them.

Source:
    International Clinical Diabetic Retinopathy severity scale: Wilkinson et al. (2003),
    Ophthalmology 110(9), 1677-1682, doi:10.1016/S0161-6420(03)00475-5. Referable from
    moderate non-proliferative retinopathy (grade 2) on.
"""

GRADES = (0, 1, 2, 3, 4)
"""No apparent, mild, moderate, severe non-proliferative, and proliferative retinopathy."""

REFERABLE_FROM = 2
"""The lowest grade that is referred to an eye clinic."""

CLASS_NAMES = ("NRDR", "RDR")
"""Not referable (label 0) and referable (label 1) diabetic retinopathy."""


def label_of(grade: int) -> int:
    """The binary label of a grade: 1 (RDR) from grade 2 on, else 0 (NRDR).

    Raises:
        ValueError: If `grade` is not one of the five grades.

    Example:
        >>> [label_of(grade) for grade in GRADES]
        [0, 0, 1, 1, 1]
    """
    if grade not in GRADES:
        raise ValueError(f"grade {grade!r} is not one of {GRADES}")
    return int(grade >= REFERABLE_FROM)
