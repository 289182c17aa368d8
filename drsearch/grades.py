"""The five grades of diabetic retinopathy and the two classes made of them.

Source:
    International Clinical Diabetic Retinopathy severity scale: Wilkinson et al. (2003),
    Ophthalmology 110(9), 1677-1682, doi:10.1016/S0161-6420(03)00475-5. Referable from
    moderate non-proliferative retinopathy (grade 2) on, if `task.referable_from` says nothing else.
"""

GRADES = (0, 1, 2, 3, 4)
"""No apparent, mild, moderate, severe non-proliferative, and proliferative retinopathy."""

GRADE_NAMES = ("no retinopathy", "mild", "moderate", "severe", "proliferative")
"""Of the five grades, in their order."""

CLASS_NAMES = ("NRDR", "RDR")
"""Not referable (label 0) and referable (label 1) diabetic retinopathy."""
