"""The four folds of MUSDL (github.com/nzl-thu/MUSDL, JIGSAWS/data/info/splits.pkl), for raw data without that file."""

# Task -> fold -> surgeon and trial number.
MUSDL = {
    "Suturing": (
        "I002 G004 F004 B001 C003 C002 E001 D004 E004",
        "D003 C004 H001 F005 G002 C005 D005 H005 E003 G003",
        "B005 H004 F001 F002 E005 I004 D001 B003 F003 I005",
        "B002 I003 E002 C001 H003 B004 G001 D002 I001 G005",
    ),
    "Needle_Passing": (
        "B003 B002 C002 D004 B004 E004 F004",
        "E003 I004 D001 E005 D005 H002 H005",
        "C005 C003 I002 F003 B001 E001 C004",
        "F001 I005 I003 C001 D002 H004 D003",
    ),
    "Knot_Tying": (
        "H005 G003 C004 H003 G001 F005 I001 I002 B001",
        "E001 G005 E004 G004 B004 E002 E005 E003 D005",
        "D001 B002 H004 I005 D002 F001 C001 G002 B003",
        "C002 D003 F004 C005 C003 D004 I003 F003 F002",
    ),
}


def published() -> dict[str, int]:
    """Trial -> fold 0..3."""
    return {
        f"{task}_{trial}": number
        for task, folds in MUSDL.items()
        for number, trials in enumerate(folds)
        for trial in trials.split()
    }
