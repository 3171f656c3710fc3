//! The picture: recall to the right, queries per second upwards, one line per data set.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::record::Record;

/// Recall is drawn as -log10(1 - recall), so that 0.9, 0.99 and 0.999 are equally far apart. A full recall
/// is drawn as this many nines; a thousand queries cannot tell more.
const NINES: f64 = 4.0;

/// Draws the sweeps of `record`.
pub(crate) fn draw(record: &Record, path: &Path) -> Result<()> {
    try_draw(record, path).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn nines(recall: f64) -> f64 {
    (-(1.0 - recall).log10()).clamp(0.0, NINES)
}

fn try_draw(record: &Record, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let points = || record.sweeps.iter().flat_map(|sweep| &sweep.points);
    let least = points().map(|point| point.qps).fold(f64::INFINITY, f64::min);
    let most = points().map(|point| point.qps).fold(0.0, f64::max);
    let left = points().map(|point| nines(point.recall_at_10)).fold(NINES, f64::min);

    let area = SVGBackend::new(path, (900, 600)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("Recall and speed, one core, {}", record.date), ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d((left - 0.1).max(0.0)..NINES, (least * 0.8..most * 1.25).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("recall@10")
        .y_desc("queries per second")
        .x_label_formatter(&|nines| format!("{:.4}", 1.0 - 10f64.powf(-nines)))
        .y_label_formatter(&|qps| format!("{qps:.0}"))
        .draw()?;
    for (index, sweep) in record.sweeps.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        let line: Vec<_> = sweep.points.iter().map(|point| (nines(point.recall_at_10), point.qps)).collect();
        chart
            .draw_series(LineSeries::new(line.iter().copied(), color.stroke_width(2)))?
            .label(format!("{} ({} x {})", sweep.set, sweep.rows, sweep.dim))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(line.iter().map(|&point| Circle::new(point, 4, color.filled())))?;
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::{Point, Sweep};

    #[test]
    fn a_picture_has_a_line_and_a_point_for_each_measurement() {
        let point = |ef, recall_at_10, qps| Point {
            ef,
            recall_at_10,
            qps,
            qps_batch: None,
            p50_us: 1.0,
            p99_us: 2.0,
        };
        let mut record = Record::begin(true).unwrap();
        record.sweeps.push(Sweep {
            set: "letters".into(),
            metric: "l2",
            rows: 10,
            dim: 2,
            queries: 1,
            build_seconds: 0.1,
            peak_rss_bytes: 1,
            points: vec![point(16, 0.9, 2000.0), point(64, 1.0, 500.0)],
        });
        let path = std::env::temp_dir().join(format!("orthant-plot-{}.svg", std::process::id()));
        draw(&record, &path).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(svg.contains("letters (10 x 2)") && svg.matches("<circle").count() == 2, "{svg}");
    }

    #[test]
    fn nines_are_equally_far_apart() {
        assert!((nines(0.99) - 2.0 * nines(0.9)).abs() < 1e-9);
        assert_eq!(nines(1.0), NINES);
        assert_eq!(nines(0.0), 0.0);
    }
}
