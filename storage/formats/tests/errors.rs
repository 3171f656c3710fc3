//! Every kind of broken file gets the error that says what and where.

use orthant_formats::{Element, FormatError, GroundTruth, VectorFile, VectorWriter, WriteError};
use std::path::PathBuf;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().expect("a temporary directory"))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("room");
        path
    }

    /// The message for a file of these bytes, from its name on.
    fn refusal(&self, name: &str, bytes: &[u8]) -> String {
        let error = VectorFile::open(self.put(name, bytes)).expect_err("a broken file").to_string();
        let at = error.find(name).expect("the error names the file");
        error[at..].to_string()
    }
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
fn broken_headers_are_named() {
    let files = Files::new();
    assert_eq!(files.refusal("a.fbin", &words(&[2])), "a.fbin: ends after 4 bytes, inside a header of 8");
    assert_eq!(
        files.refusal("b.fbin", &words(&[2, 0])),
        "b.fbin: the dimension at byte 4 is 0, expected at least 1"
    );
    assert_eq!(
        files.refusal("c.fbin", &words(&[2, 3, 0, 0])),
        "c.fbin: 2 rows of 3 float32 make 32 bytes, the file has 16"
    );
    assert_eq!(
        files.refusal("d.u8bin", &words(&[u32::MAX, u32::MAX])),
        "d.u8bin: 4294967295 rows of 4294967295 uint8 make 18446744065119617033 bytes, the file has 8"
    );
    assert_eq!(
        files.refusal("e.csv", b"1,2"),
        "e.csv: unknown extension; known are npy, fbin, u8bin, i8bin, ibin, fvecs, bvecs, ivecs"
    );
    assert_eq!(
        files.refusal("f.npy", b"PK\x03\x04"),
        "f.npy: is not an .npy file: byte 0 is 0x50, expected 0x93"
    );
    assert_eq!(files.refusal("g.npy", b"\x93NU"), "g.npy: ends after 3 bytes, inside a header of 10");
    assert!(matches!(VectorFile::open(files.0.path().join("none.npy")), Err(FormatError::Io { .. })));
    let directory = files.0.path().join("dir.npy");
    std::fs::create_dir(&directory).expect("room");
    assert!(matches!(VectorFile::open(directory), Err(FormatError::Io { .. })));
}

#[test]
fn broken_rows_of_vecs_are_named() {
    let files = Files::new();
    assert_eq!(files.refusal("a.fvecs", b""), "a.fvecs: ends after 0 bytes, inside a header of 4");
    assert_eq!(
        files.refusal("b.fvecs", &words(&[0, 1])),
        "b.fvecs: the dimension at byte 0 is 0, expected at least 1"
    );
    assert_eq!(
        files.refusal("c.ivecs", &words(&[u32::MAX, 1])),
        "c.ivecs: the dimension at byte 0 is -1, expected at least 1"
    );
    assert_eq!(
        files.refusal("d.fvecs", &words(&[2, 0, 0, 2, 0, 0, 3, 0, 0])),
        "d.fvecs: row 2 (byte 24) has dimension 3, the rows before it 2"
    );
    assert_eq!(
        files.refusal("e.fvecs", &words(&[2, 0, 0, 2, 0])),
        "e.fvecs: 2 rows of 2 float32 make 24 bytes, the file has 20".replace("2 rows", "1 rows")
    );
}

#[test]
fn numbers_that_are_none_are_named_with_row_and_column() {
    let files = Files::new();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut bytes = words(&[3, 2]);
        bytes.extend([1.0, 2.0, 3.0, 4.0, 5.0, bad].iter().flat_map(|value| value.to_le_bytes()));
        let file = VectorFile::open(files.put("a.fbin", &bytes)).expect("a sound header");
        let mut rows = [0.0; 6];
        file.read_rows(0..2, &mut rows[..4]).expect("finite rows");
        let error = file.read_rows(0..3, &mut rows).expect_err("row 2 is not finite").to_string();
        assert!(error.ends_with("a.fbin: row 2, column 1 is not a finite number"), "{error}");
        assert!(file.read_row(2, &mut rows[..2]).is_err());
    }
    // A double that no f32 can hold.
    let mut writer =
        VectorWriter::create(files.0.path().join("b.npy"), Element::F64, 1, 1).expect("a directory");
    writer.write_row(&[1.0]).expect("room");
    writer.finish().expect("room");
    let mut bytes = std::fs::read(files.0.path().join("b.npy")).expect("the file");
    let at = bytes.len() - 8;
    bytes[at..].copy_from_slice(&1e300f64.to_le_bytes());
    let file = VectorFile::open(files.put("b.npy", &bytes)).expect("a sound header");
    assert!(matches!(file.read_row(0, &mut [0.0]), Err(FormatError::NotFinite { row: 0, column: 0, .. })));
}

#[test]
fn ground_truth_that_is_none_is_refused() {
    let files = Files::new();
    let negative = words(&[2, 2, 0, 1, 2, u32::MAX]);
    let error = GroundTruth::read(files.put("a.ibin", &negative)).expect_err("a negative id").to_string();
    assert!(error.ends_with("a.ibin: row 1, column 1 is not an id"), "{error}");
    let error = GroundTruth::read(files.put("b.ivecs", &words(&[1, u32::MAX]))).expect_err("a negative id");
    assert!(matches!(error, FormatError::NotAnId { row: 0, column: 0, .. }));
    let error = GroundTruth::read(files.put("c.ibin", &words(&[2, 2, 0, 1, 2, 3, 4]))).expect_err("too long");
    assert!(matches!(error, FormatError::WrongLength { expected: 24, found: 28, .. }), "{error}");
    let mut with_nan = words(&[1, 1, 0]);
    with_nan.extend(f32::NAN.to_le_bytes());
    let error = GroundTruth::read(files.put("d.ibin", &with_nan)).expect_err("a NaN");
    assert!(matches!(error, FormatError::NotFinite { row: 0, column: 0, .. }), "{error}");
    let floats = files.put("e.fbin", &words(&[1, 1, 0]));
    assert!(matches!(GroundTruth::read(floats), Err(FormatError::NotAnId { .. })));
}

#[test]
fn writers_refuse_what_a_file_cannot_hold_and_leave_the_old_one() {
    let files = Files::new();
    let path = files.put("a.u8bin", b"old");
    let create = |rows, dim| VectorWriter::create(&path, Element::U8, rows, dim);

    let mut writer = create(2, 3).expect("a directory");
    writer.write_row(&[0.0, 1.0, 255.0]).expect("room");
    let error = writer.write_row(&[0.0, 1.0, 255.5]).expect_err("no whole number").to_string();
    assert!(error.ends_with("a.u8bin: row 1, column 2: 255.5 is not a value of uint8"), "{error}");
    // The row is not counted, so the file cannot be finished without it.
    let error = writer.finish().expect_err("a row is missing").to_string();
    assert!(error.ends_with("a.u8bin: 1 rows were written, 2 were announced"), "{error}");

    let mut writer = create(1, 1).expect("a directory");
    writer.write_row(&[1.0]).expect("room");
    assert!(matches!(writer.write_row(&[2.0]), Err(WriteError::WrongRows { found: 2, expected: 1, .. })));
    drop(writer);
    assert!(matches!(create(1 << 32, 1), Err(WriteError::TooLarge { .. })));
    assert!(matches!(
        VectorWriter::create(&path, Element::F32, 1, 1),
        Err(WriteError::WrongElement { element: Element::F32, .. })
    ));
    assert!(matches!(
        VectorWriter::create(files.0.path().join("a.txt"), Element::F32, 1, 1),
        Err(WriteError::UnknownExtension { .. })
    ));
    assert!(matches!(
        VectorWriter::create(files.0.path().join("no/such/a.npy"), Element::F32, 1, 1),
        Err(WriteError::Io { .. })
    ));
    assert_eq!(std::fs::read(&path).expect("the old file"), b"old");
    assert_eq!(std::fs::read_dir(files.0.path()).expect("the directory").count(), 1, "litter");

    let mut writer = create(1, 1).expect("a directory");
    writer.write_row(&[7.0]).expect("room");
    writer.finish().expect("room");
    assert_eq!(std::fs::read(&path).expect("the new file"), [1, 0, 0, 0, 1, 0, 0, 0, 7]);
}

#[test]
fn a_file_of_no_rows_has_a_dimension_where_its_header_has() {
    let files = Files::new();
    for name in ["a.fbin", "a.npy"] {
        let path = files.0.path().join(name);
        VectorWriter::create(&path, Element::F32, 0, 5).expect("a directory").finish().expect("room");
        let file = VectorFile::open(&path).expect("a sound file");
        assert_eq!((file.rows(), file.dim()), (0, 5));
        file.read_rows(0..0, &mut []).expect("nothing to read");
        assert_eq!(file.as_f32(), Some(&[][..]));
    }
}
