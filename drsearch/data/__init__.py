"""Photographs on disk become eyes that a network can train on: audited, cropped, split, recorded.

Other rooms import these names from their own files, because `pipeline` loads TensorFlow, and `records` when it reads:

    decode     `read_photograph`: from a photograph's file to its pixels, by one rule for every format
    jpeg, pillow_formats, netpbm, dicom    the readers of single formats, with `formats`, which they share
    retina     `find_retina`: where the retina lies, and what cannot be graded
    images     `eye_image`: what the network sees of a photograph
    tables     `read_labels`: grade, patient and split of each photograph in a table
    patients   `patients_of`, `kept_together`: which photographs show the same patient
    folder     `read_folder`: which photographs a folder holds, and their grades
    duplicates `same_pictures`, `picture_groups`: which photographs show the same picture
    audit      `Audit`: the findings about photographs and labels
    splits     `split`, `folds`: division into train, validation and test, and into folds
    records    `Eyes`, `open_records`, `read_eyes`, `read_test_eyes`: the record set on disk
    prepare    `prepare`: from a folder to a record set
    pipeline, augmentation    from eyes to batches
    synthetic  `synthesize`: drawn eyes
"""
