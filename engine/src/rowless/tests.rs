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

/// A file with another section instead of the edges, and all anchors in their table.
fn rewritten(
    from: &Opening<'_>,
    to: &std::path::Path,
    version: u32,
    anchors: &[u32],
    level: ([u8; 8], &[u8]),
) {
    let mut writer = FileWriter::create(to, KIND, version).unwrap();
    for section in from.file.sections() {
        match section.tag.0 {
            EDGES => writer.write_section(level.0, level.1).unwrap(),
            tag if tag == *b"anchors\0" => {
                let section = writer.section(tag, |out| {
                    let mut packer = Packer::new(out, Coding::Sparse);
                    anchors.iter().try_for_each(|word| packer.write_all(&word.to_le_bytes()))?;
                    packer.finish()
                });
                section.unwrap();
            }
            tag => writer.write_section(tag, from.file.bytes(tag).unwrap()).unwrap(),
        }
    }
    writer.finish().unwrap();
}

#[test]
fn files_of_earlier_versions_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = |version: u32| dir.path().join(version.to_string());
    let index = Index::builder(2, Metric::L2).m(4).ef_construction(32).seed(5).build().unwrap();
    for key in 0..300u64 {
        let mut row = [0.0; 2];
        point(key, &mut row);
        index.insert(key, &row).unwrap();
    }
    index.save_without_rows(path(3)).unwrap();

    let file = MappedFile::open(path(3), KIND, ROWLESS_VERSION, Verify::Full).unwrap();
    let options = OpenOptions::default();
    let opening = Opening { file, options: &options, form: Form::Rowless };
    let anchors = opening.unpacked(*b"anchors\0", Coding::Sparse, 300, false).unwrap();
    let edges = opening.file.bytes(EDGES).unwrap();
    let lists = opening.unpacked_edges((edges, AnchorForm::Edges), 16, 300, &anchors).unwrap();
    // SAFETY: `unpacked_edges` filled 16 words of each node, and a word of each anchor; a region is aligned as a page is.
    let (lists, mut anchors) = unsafe {
        let words = |region: &Region, count| {
            std::slice::from_raw_parts(region.as_ptr().cast::<u32>(), count).to_vec()
        };
        (words(&lists, 300 * 16), words(&anchors, 300))
    };
    assert!(anchors.iter().filter(|&&anchor| anchor == 0).count() <= 1);
    let bare = edges::pack(&lists, 16, &mut anchors, AnchorForm::Table).unwrap();
    rewritten(&opening, &path(2), 2, &anchors, (BARE_EDGES, &bare));
    let mut alone = Vec::new();
    let mut packer = Packer::new(&mut alone, Coding::Lists(16));
    lists.iter().try_for_each(|word| packer.write_all(&word.to_le_bytes())).unwrap();
    packer.finish().unwrap();
    rewritten(&opening, &path(1), 1, &anchors, (*b"lists\0\0\0", &alone));

    for version in 1..=3 {
        let (opened, missing) = Index::open_with_rows(path(version), &options, 2, &mut read).unwrap();
        assert!(missing.is_empty());
        assert!(opened.validate().is_ok());
        for query in [[0.0, 0.0], [50.0, 50.0], [99.0, 3.0]] {
            let found = index.search(&query, 10, 40).unwrap();
            assert_eq!(opened.search(&query, 10, 40).unwrap(), found, "version {version}");
        }
    }
}
