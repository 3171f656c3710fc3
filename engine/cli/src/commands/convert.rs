//! `orthant convert`: a file of vectors in another format.

use anyhow::bail;
use orthant_formats::{Element, Format, VectorFile, VectorWriter};
use serde_json::json;

use crate::args::{ConvertArgs, ElementName};
use crate::output::{Output, plural};
use crate::progress::Progress;

impl From<ElementName> for Element {
    fn from(name: ElementName) -> Self {
        match name {
            ElementName::F16 => Self::F16,
            ElementName::F32 => Self::F32,
            ElementName::F64 => Self::F64,
            ElementName::U8 => Self::U8,
            ElementName::I8 => Self::I8,
            ElementName::I32 => Self::I32,
        }
    }
}

/// Extensions that name a format.
const KNOWN: &str = ".npy .fbin .u8bin .i8bin .ibin .fvecs .bvecs .ivecs";

/// Runs the command.
pub(crate) fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    let output = Output::new(args.json);
    let input = VectorFile::open(&args.input)?;
    let Some(format) = Format::of_path(&args.output) else {
        bail!("{}: unknown extension; known are {KNOWN}", args.output.display());
    };
    let element = match (format.element(), args.element.map(Element::from)) {
        (Some(fixed), Some(asked)) if fixed != asked => {
            bail!("{}: holds {fixed} by definition, not {asked}", args.output.display())
        }
        (Some(fixed), _) => fixed,
        (None, asked) => asked.unwrap_or(input.element()),
    };
    let (rows, dim) = (input.rows(), input.dim());
    let mut writer = VectorWriter::create(&args.output, element, rows, dim)?;
    let progress = Progress::start("converting", rows);
    let mut row = vec![0.0; dim];
    for at in 0..rows {
        input.read_row(at, &mut row)?;
        writer.write_row(&row)?;
        if at % 4096 == 4095 {
            progress.set(at);
        }
    }
    writer.finish()?;
    progress.finish();
    output.line(format_args!(
        "wrote  {}: {} of {dim} dimensions, {element} (from {})",
        args.output.display(),
        plural(rows, "vector", "vectors"),
        input.element()
    ))?;
    if args.json {
        output.object(&json!({
            "n": rows, "d": dim, "input": args.input, "output": args.output,
            "from": input.element().to_string(), "to": element.to_string(),
        }))?;
    }
    Ok(())
}
