use super::*;

/// A file with this header text, of this version, and `data` bytes behind it.
fn file(version: u8, text: &str, data: usize) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((text.len() as u16).to_le_bytes()),
        _ => bytes.extend((text.len() as u32).to_le_bytes()),
    }
    bytes.extend(text.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn read(text: &str, data: usize) -> Result<Place, FormatError> {
    place(Path::new("x.npy"), &file(1, text, data))
}

#[test]
fn headers_as_numpy_and_others_write_them_are_read() {
    let expected = |offset| Place { element: Element::F32, rows: 3, dim: 2, offset, stride: 8 };
    for text in [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }          \n",
        "{'shape': (3L, 2L), 'fortran_order': False, 'descr': '<f4'}",
        "{\"descr\":\"<f4\",\"fortran_order\":False,\"shape\":(3,2)}\n",
        " { 'descr' : '<f4' , 'fortran_order' : False , 'shape' : ( 3 , 2 , ) , } ",
    ] {
        assert_eq!(read(text, 24).expect(text), expected(10 + text.len()));
        for version in [2, 3] {
            let bytes = file(version, text, 24);
            assert_eq!(place(Path::new("x.npy"), &bytes).expect(text), expected(12 + text.len()));
        }
    }
}

#[test]
fn what_is_written_is_what_is_read() {
    for element in Element::ALL {
        let mut bytes = header(element, 7, 5);
        assert_eq!(bytes.len() % ALIGN, 0);
        let offset = bytes.len();
        bytes.resize(offset + 35 * element.bytes(), 0);
        let expected = Place { element, rows: 7, dim: 5, offset, stride: 5 * element.bytes() };
        assert_eq!(place(Path::new("x.npy"), &bytes).expect("sound"), expected);
    }
}

#[test]
fn a_header_is_byte_for_byte_the_one_numpy_writes() {
    // numpy 2.4.6: np.save("x.npy", np.zeros((3, 2), np.float32))
    let mut expected =
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }".to_vec();
    expected.resize(127, b' ');
    expected.push(b'\n');
    assert_eq!(header(Element::F32, 3, 2), expected);
}

#[test]
fn what_cannot_be_read_is_named() {
    let shown = |text: &str, data| read(text, data).expect_err(text).to_string();
    for (text, message) in [
        ("{'descr': '>f4', 'fortran_order': False, 'shape': (3, 2)}", "'>f4' are big endian"),
        ("{'descr': '<c8', 'fortran_order': False, 'shape': (3, 2)}", "'<c8' cannot be read"),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 2)}", "'[(\\'a\\', \\'<f4\\')]'"),
        ("{'descr': '', 'fortran_order': False, 'shape': (3, 2)}", "type '' cannot"),
        ("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2)}", "Fortran order"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (6,)}", "has 1 axes"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", "has 0 axes"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 1)}", "has 3 axes"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 0)}", "is 0, expected at least 1"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3)}", "make 103 bytes, the file has 91"),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 3)}",
            "at byte 61: expected a count below 2^64",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999, 3)}",
            "make 18446744073709551615",
        ),
        ("{'descr': '<f4', 'fortran_order': False}", "expected the key 'shape'"),
        ("{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 2)}", "at byte 44: expected True or False"),
        ("{'descr': '<f4, 'fortran_order': False", "at byte 27: expected ',' or '}'"),
        ("{'descr': '<f4", "at byte 21: expected a closing quote"),
        ("['descr']", "at byte 10: expected '{'"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)} x", "expected nothing but spaces"),
        ("{'other': 1}", "at byte 11: expected 'descr'"),
        ("", "at byte 10: expected '{'"),
    ] {
        let error = shown(text, 24);
        assert!(error.starts_with("x.npy: ") && error.contains(message), "{text}\ngave: {error}");
    }
}

#[test]
fn every_truncation_is_an_error() {
    let sound = file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }\n", 24);
    place(Path::new("x.npy"), &sound).expect("sound");
    for length in 0..sound.len() {
        assert!(place(Path::new("x.npy"), &sound[..length]).is_err(), "cut to {length}");
    }
    let strange = place(Path::new("x.npy"), b"\x93NUMPX").expect_err("not npy");
    assert!(strange.to_string().contains("byte 5 is 0x58, expected 0x59"), "{strange}");
    let strange = place(Path::new("x.npy"), b"\x93NUMPY\x04\x00").expect_err("version 4");
    assert!(strange.to_string().contains("version 4.0"), "{strange}");
}
