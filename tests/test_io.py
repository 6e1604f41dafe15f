"""Reading tables and writing files: every mistake has one clear line."""

from __future__ import annotations

import math

import pytest

from diffsoil.io import InputError, data_path, nearest, read_json
from diffsoil.tables import Column, Meant, read_table, read_written
from diffsoil.work.files import check_output, replacing

COLUMNS = {
    "site": Column("str", choices=("A", "B")),
    "year": Column("int", 1800, 2100),
    "tmp_c": Column("float", -60, 60, unit="degrees C", hint="is this in kelvin?"),
    "sd": Column("float", 0, required=False, allow_missing=True),
}
HEADER = "site,year,tmp_c\n"


@pytest.fixture
def table(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_text(text, encoding=encoding)
        return path

    return write


def complaint(path, **options):
    with pytest.raises(InputError) as caught:
        read_table(path, COLUMNS, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    return text.removeprefix(f"{path}: ")


def test_a_good_table_keeps_types_and_line_numbers(table):
    frame = read_table(table(HEADER + "A,1900,1.5\n\nB, 1901.0 ,-2\n"), COLUMNS)
    assert frame["year"].tolist() == [1900, 1901]
    assert frame["year"].dtype == "int64"
    assert frame["tmp_c"].tolist() == [1.5, -2.0]
    assert frame.index.tolist() == [2, 4]
    assert list(frame.columns) == ["site", "year", "tmp_c"]


def test_numbers_are_read_to_the_last_bit(table):
    frame = read_table(table(HEADER + "A,1900,0.1234567890123456789\n"), COLUMNS)
    assert frame["tmp_c"].item() == 0.1234567890123456789


def test_permitted_missing_cells_become_nan_or_empty_text(table):
    columns = COLUMNS | {"source": Column("str", required=False, allow_missing=True)}
    frame = read_table(table("site,year,tmp_c,source,sd\nA,1900,1,,\nB,1901,1,x,NaN\n"), columns)
    assert frame["source"].tolist() == ["", "x"]
    assert all(math.isnan(value) for value in frame["sd"])


def test_byte_order_mark_of_spreadsheets_is_ignored(table):
    frame = read_table(table(HEADER + "A,1900,1\n", encoding="utf-8-sig"), COLUMNS)
    assert frame["site"].item() == "A"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        (HEADER, "there is a header and nothing below it"),
        ("site,year,temp_c\nA,1900,1\n", "column 'tmp_c' is missing, did you mean 'temp_c'?"),
        ("site,tmp_c\nA,1\n", "column 'year' is missing"),
        ("site,year,year,tmp_c\nA,1,1,1\n", "column 'year' appears 2 times"),
        ("site,year,tmp_c,SD\nA,1900,1,\n", "unknown column 'SD', did you mean 'sd'?"),
        (
            "site,year,tmp_c,rock\nA,1900,1,\n",
            "unknown column 'rock'; known are site, year, tmp_c, sd, and a column of your own "
            "begins with 'note'",
        ),
        (
            "site;year;tmp_c\nA;1900;1,5\n",
            "line 1: the cells are separated by semicolons (;); "
            "commas are needed, and decimal points",
        ),
        (
            "site\tyear\ttmp_c\nA\t1900\t1\n",
            "line 1: the cells are separated by tabs; commas are needed, and decimal points",
        ),
        (HEADER + "A,1900,1,5\n", "line 2: 4 cells where the header has 3 (decimal commas?)"),
        (
            HEADER + 'A,1900,"1,5"\n',
            "line 2, column 'tmp_c': '1,5' has a comma: decimals have a "
            "point, thousands no separator",
        ),
        (HEADER + "A,1_900,1\n", "line 2, column 'year': '1_900' has an underscore"),
        (HEADER + "A,1900,12 mm\n", "line 2, column 'tmp_c': '12 mm' has text after the number"),
        (HEADER + "A,1 900,1\n", "line 2, column 'year': '1 900' has separators of thousands"),
        (HEADER + "A,1900,−5\n", "line 2, column 'tmp_c': '−5' has a dash for a minus sign"),
        (HEADER + "A,1900,٥\n", "line 2, column 'tmp_c': '٥' is not written in the digits 0 to 9"),
        (HEADER + "A,1900,<5\n", "line 2, column 'tmp_c': '<5' is a limit and not a number"),
        (
            HEADER + "A,1900,-999\n",
            "line 2, column 'tmp_c': -999 is outside -60 to 60 degrees C "
            "(a code for a missing value?)",
        ),
        (HEADER + "A,1900,1\nA,1901\n", "line 3: 2 cells where the header has 3"),
        (HEADER + "A,1900,warm\n", "line 2, column 'tmp_c': 'warm' is not a number"),
        (HEADER + "A,1900,\n", "line 2, column 'tmp_c': the value is missing"),
        (HEADER + "A,1900,1\nA,1900,NaN\n", "line 3, column 'tmp_c': the value is missing (NaN)"),
        (HEADER + "A,1900,inf\n", "line 2, column 'tmp_c': inf is not a finite number"),
        (HEADER + "A,1900.5,1\n", "line 2, column 'year': 1900.5 is not a whole number"),
        (HEADER + "C,1900,1\n", "line 2, column 'site': 'C' is not one of A, B"),
        (
            HEADER + "A,1900,283.1\n",
            "line 2, column 'tmp_c': 283.1 is outside -60 to 60 degrees C (is this in kelvin?)",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_one_line(table, text, expected):
    assert complaint(table(text)) == expected


def test_columns_of_notes_are_left_out(table):
    path = table("site,year,tmp_c,note,notes on rain\nA,1900,1,x,y\n")
    assert list(read_table(path, COLUMNS)) == ["site", "year", "tmp_c"]


def test_all_faults_of_a_table_are_reported_at_once_by_kind(table):
    rows = "".join(f"A,{1900 + n},{n if n < 5 else 300 + n}\n" for n in range(17))
    path = table("site,year,tmp_c,SD\n" + rows.replace("\n", ",\n") + "C,1917,warm,\nA,1918\n")
    with pytest.raises(InputError) as caught:
        read_table(path, COLUMNS)
    assert str(caught.value).replace(f"{path}: ", "").splitlines() == [
        "unknown column 'SD', did you mean 'sd'?",
        "line 20: 2 cells where the header has 4",
        "line 19, column 'site': 'C' is not one of A, B",
        "column 'tmp_c': 12 values, first in line 7: 305 is outside -60 to 60 degrees C "
        "(is this in kelvin?)",
        "line 19, column 'tmp_c': 'warm' is not a number",
    ]


def test_more_than_twenty_faults_are_counted():
    error = InputError(f"fault {n}" for n in range(25))
    assert str(error).splitlines()[-2:] == ["fault 19", "and 5 more"]
    assert len(error.faults) == 25


def test_a_line_stays_readable_whatever_the_user_wrote():
    line = str(InputError("a.csv: " + "x" * 10_000 + "\x1b[2J is not a number"))
    assert len(line) < 600
    assert line.endswith("\\x1b[2J is not a number")


def test_rows_and_ends_that_spreadsheets_leave_behind_are_no_fault(table):
    frame = read_table(table("site,year,tmp_c,,\r\nA,1900,1,,\r\n,,,,\r\n\r\n"), COLUMNS)
    assert frame["tmp_c"].tolist() == [1.0]


def test_a_code_for_missing_values_within_the_range_is_asked_about(table):
    columns = {"value": Column()}
    path = table("value\n1.5\n-999\n")
    with pytest.raises(InputError, match=r'-999 is possible, .* \(plausible = \["value"\] in'):
        read_table(path, columns, Meant())
    assert read_table(path, columns, Meant(["value"]))["value"].tolist() == [1.5, -999]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is damaged"),
        ("a,b\n1,2\n3", "is damaged: its end is missing"),
        ("a\n1\n", "is damaged: column 'b' is missing"),
        ("a,b\n1,2\n3,4,5\n", "is damaged"),
    ],
)
def test_a_table_of_ours_that_was_cut_off_is_named(table, text, expected):
    path = table(text)
    with pytest.raises(InputError, match=f"{path}: {expected}.*; remove it to make it again"):
        read_written(path, ["a", "b"])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "größe".encode("latin-1"),
            "not a text file in UTF-8 (Latin-1, or Windows-1252? then this is 'größe')",
        ),
        ("site".encode("utf-16"), "is not a text file in UTF-8 but text in UTF-16"),
        ("site".encode("utf-16-le"), "it has null characters (UTF-16?)"),
        (b"PK\x03\x04rest", "but a spreadsheet or another zip file"),
    ],
)
def test_other_encodings_are_named(tmp_path, content, expected):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    assert expected in complaint(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a": 1, "a": 2}', "key 'a' appears 2 times"),
        ("[1]", "a JSON object is expected"),
    ],
)
def test_json_that_is_no_object_with_each_key_once_is_refused(tmp_path, text, expected):
    path = tmp_path / "site.json"
    path.write_text(text)
    with pytest.raises(InputError, match=expected):
        read_json(path)


def test_missing_file_and_binary_file_are_named(tmp_path):
    assert complaint(tmp_path / "absent.csv") == "cannot be read: no such file or directory"
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00\x80")
    assert complaint(path).startswith("is not a text file in UTF-8")


def test_error_text_is_one_line():
    assert str(InputError("a\n  b")) == "a b"


def test_nearest_name_is_suggested_and_a_far_one_is_not():
    assert nearest("clay", ["clay_pct", "depth"]) == ", did you mean 'clay_pct'?"
    assert nearest("Clay_PCT", ["clay_pct"]) == ", did you mean 'clay_pct'?"
    assert nearest("zzz", ["clay_pct"]) == ""


def test_replacing_writes_the_whole_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.csv"
    with replacing(path, overwrite=False) as part:
        assert part.parent == tmp_path
        assert part.suffix == ".csv"
        part.write_text("done")
        assert not path.exists()
    assert path.read_text() == "done"
    assert list(tmp_path.iterdir()) == [path]


def test_failure_leaves_the_old_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")

    def fail():
        with replacing(path, overwrite=True) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_existing_file_is_refused_before_anything_is_computed(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")
    with (
        pytest.raises(InputError, match=r"out.csv: exists already; use --overwrite"),
        replacing(path, overwrite=False),
    ):
        pytest.fail("the block ran")
    check_output(path, overwrite=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("absent/out.csv", "the folder .*absent does not exist"), (".", "is a folder")],
)
def test_unusable_output_names_are_refused(tmp_path, name, expected):
    with pytest.raises(InputError, match=expected):
        check_output(tmp_path / name, overwrite=True)


def test_full_disk_is_reported_with_the_name_of_the_file(tmp_path):
    def fill():
        with replacing(tmp_path / "out.csv", overwrite=False):
            raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"out.csv: cannot be written: no space left on device"):
        fill()


def test_shipped_data_are_found():
    assert data_path("reference", "rothc", "README.md").is_file()
