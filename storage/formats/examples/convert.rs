//! Converts a vector file into another format: `cargo run --example convert -- base.npy base.fbin`.
//! Without arguments it makes a small file, converts it and says what it did.

use orthant_formats::{Format, VectorFile, VectorWriter};
use std::error::Error;
use std::path::{Path, PathBuf};

fn convert(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    let source = VectorFile::open(from)?;
    // The element type of the target's format, or that of the source where it takes any.
    let element = Format::of_path(to).and_then(Format::element).unwrap_or(source.element());
    let mut writer = VectorWriter::create(to, element, source.rows(), source.dim())?;
    let mut row = vec![0.0; source.dim()];
    for index in 0..source.rows() {
        source.read_row(index, &mut row)?;
        writer.write_row(&row)?;
    }
    writer.finish()?;
    println!("{}: {} rows of {} {element}", to.display(), source.rows(), source.dim());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if let [from, to] = arguments.as_slice() {
        return convert(from, to);
    }
    let directory = std::env::temp_dir().join(format!("orthant-convert-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let (first, second) = (directory.join("rows.npy"), directory.join("rows.fvecs"));
    let mut writer = VectorWriter::create(&first, orthant_formats::Element::F16, 2, 3)?;
    writer.write_row(&[0.5, 1.0, 1.5])?;
    writer.write_row(&[2.0, 2.5, 3.0])?;
    writer.finish()?;
    convert(&first, &second)?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
