"""From judgements and a teacher to a student's checkpoint; torch lives here and in export/."""
