//! The picture: machines, queue and wait over time, a row for each policy, as an SVG without anything outside.

use crate::run::Sample;
use kiln_core::time::Millis;
use std::fmt::Write;

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 90.0;
const LEFT: f64 = 190.0;
const GAP: f64 = 50.0;
const TOP: f64 = 60.0;

/// One policy's run.
pub struct Drawn {
    pub name: String,
    pub samples: Vec<Sample>,
}

/// The picture of one family and seed.
pub fn svg(title: &str, drawn: &[Drawn]) -> String {
    let height = TOP + drawn.len() as f64 * (HEIGHT + 28.0) + 30.0;
    let width = LEFT + 3.0 * (WIDTH + GAP);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"10\" y=\"22\" font-size=\"16\">{title}</text>\n"
    );
    // One scale for all policies, so that they can be compared.
    let most = |of: &dyn Fn(&Sample) -> f64| drawn.iter().flat_map(|run| &run.samples).map(of).fold(1.0, f64::max);
    let columns: [(&str, f64); 3] = [
        ("machines: busy, ready, on their way", most(&|s| f64::from(s.busy + s.ready + s.coming))),
        ("jobs that wait", most(&|s| f64::from(s.queued))),
        ("wait of the oldest, s", most(&|s| f64::from(s.wait_s))),
    ];
    let end = drawn.iter().flat_map(|run| &run.samples).map(|sample| sample.at).max().unwrap_or(1).max(1);
    for (column, (name, most)) in columns.iter().enumerate() {
        let x = LEFT + column as f64 * (WIDTH + GAP);
        let _ = writeln!(text, "<text x=\"{x:.0}\" y=\"46\">{name} (0 to {most:.0})</text>");
    }
    for (row, run) in drawn.iter().enumerate() {
        let y = TOP + row as f64 * (HEIGHT + 28.0);
        let _ = writeln!(text, "<text x=\"10\" y=\"{:.0}\">{}</text>", y + HEIGHT / 2.0, run.name);
        for (column, (_, most)) in columns.iter().enumerate() {
            let x = LEFT + column as f64 * (WIDTH + GAP);
            let _ = writeln!(text, "<rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"none\" stroke=\"#bbb\"/>");
            let mut area = |colour: &str, of: &dyn Fn(&Sample) -> f64| {
                let _ = writeln!(text, "<path d=\"{}\" fill=\"{colour}\"/>", outline(&run.samples, end, x, y, *most, of));
            };
            match column {
                0 => {
                    area("#d9d9d9", &|s| f64::from(s.busy + s.ready + s.coming));
                    area("#9ecae1", &|s| f64::from(s.busy + s.ready));
                    area("#2171b5", &|s| f64::from(s.busy));
                }
                1 => area("#e6550d", &|s| f64::from(s.queued)),
                _ => area("#756bb1", &|s| f64::from(s.wait_s)),
            }
        }
    }
    let hours = end as f64 / 3_600_000.0;
    let _ = writeln!(text, "<text x=\"{LEFT}\" y=\"{:.0}\">time: 0 to {hours:.0} h</text>\n</svg>", height - 12.0);
    text
}

/// A filled curve; of neighbouring moments the highest is drawn, so that no peak is lost.
fn outline(samples: &[Sample], end: Millis, x: f64, y: f64, most: f64, of: &dyn Fn(&Sample) -> f64) -> String {
    let bottom = y + HEIGHT;
    let mut path = format!("M{x:.1} {bottom:.1}");
    let step = samples.len().div_ceil(WIDTH as usize).max(1);
    for group in samples.chunks(step) {
        let value = group.iter().map(of).fold(0.0, f64::max);
        let at = x + WIDTH * group[0].at as f64 / end as f64;
        let _ = write!(path, "L{at:.1} {:.1}", bottom - HEIGHT * value / most);
    }
    let _ = write!(path, "L{:.1} {bottom:.1}Z", x + WIDTH);
    path
}
