use std::io::Write as _;

use orthant_kernels::Metric;
use orthant_storage::persist::{FileWriter, Verify};

use super::*;
use crate::packed::Packer;

fn point(key: u64, row: &mut [f32]) {
    row.copy_from_slice(&[(key * 37 % 101) as f32, (key * 61 % 97) as f32]);
}

fn read(key: KeyRef<'_>, row: &mut [f32]) -> bool {
    let KeyRef::Int(key) = key else { return false };
    point(key, row);
    true
}

#[test]
fn files_with_lists_by_themselves_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (new, old) = (dir.path().join("new"), dir.path().join("old"));
    let index = Index::builder(2, Metric::L2).m(4).ef_construction(32).seed(5).build().unwrap();
    for key in 0..300u64 {
        let mut row = [0.0; 2];
        point(key, &mut row);
        index.insert(key, &row).unwrap();
    }
    index.save_without_rows(&new).unwrap();

    // The file as version 1 has it.
    let file = MappedFile::open(&new, KIND, ROWLESS_VERSION, Verify::Full).unwrap();
    let options = OpenOptions::default();
    let opening = Opening { file, options: &options, form: Form::Rowless };
    let anchors = opening.unpacked(*b"anchors\0", Coding::Sparse, 300, false).unwrap();
    let edges = opening.file.bytes(EDGES).unwrap();
    let lists = opening.unpacked_edges(edges, 16, 300, &anchors).unwrap();
    // SAFETY: `unpacked_edges` filled 16 words of each node.
    let lists = unsafe { std::slice::from_raw_parts(lists.as_ptr(), 300 * 16 * 4) };
    let mut writer = FileWriter::create(&old, KIND, 1).unwrap();
    for section in opening.file.sections() {
        let tag = section.tag.0;
        if tag == EDGES {
            let section = writer.section(*b"lists\0\0\0", |out| {
                let mut packer = Packer::new(out, Coding::Lists(16));
                packer.write_all(lists)?;
                packer.finish()
            });
            section.unwrap();
        } else {
            writer.write_section(tag, opening.file.bytes(tag).unwrap()).unwrap();
        }
    }
    writer.finish().unwrap();

    let (old, missing) = Index::open_with_rows(&old, &options, 2, &mut read).unwrap();
    assert!(missing.is_empty());
    let (new, _) = Index::open_with_rows(&new, &options, 2, &mut read).unwrap();
    for query in [[0.0, 0.0], [50.0, 50.0], [99.0, 3.0]] {
        let found = index.search(&query, 10, 40).unwrap();
        assert_eq!(old.search(&query, 10, 40).unwrap(), found);
        assert_eq!(new.search(&query, 10, 40).unwrap(), found);
    }
}
