//! Plots: a figure for each work and metric, as SVG and as PNG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use crate::peers::Peer;
use crate::report::figure;
use crate::results::{Results, Series, Subject, Unit};
use crate::works::Work;

const SIZE: (u32, u32) = (1000, 520);
const FONT: &str = "sans-serif";
/// How high a line of a label is, and about how wide a letter, in pixels.
const LINE: i32 = 16;
const LETTER: f64 = 8.0;

/// Draws all of them into a folder.
pub(crate) fn draw(results: &Results, folder: &Path) -> Result<()> {
    // The machine's own fonts need a library that a bare machine has not.
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| anyhow!("the font is not one"))?;
    let subjects = results.subjects();
    for cases in subjects.chunk_by(|one, next| one.is_figured_with(next)) {
        let Some(subject) = cases.first() else {
            continue;
        };
        let name = format!("{}-{}", subject.work, subject.metric.replace(' ', "-"));
        let svg = folder.join(format!("{name}.svg"));
        paint(
            SVGBackend::new(&svg, SIZE).into_drawing_area(),
            results,
            cases,
        )?;
        let png = folder.join(format!("{name}.png"));
        paint(
            BitMapBackend::new(&png, SIZE).into_drawing_area(),
            results,
            cases,
        )?;
    }
    Ok(())
}

/// Bars of the medians, with a line from the least to the most, in a group for each case.
fn paint<B: DrawingBackend>(
    area: DrawingArea<B, Shift>,
    results: &Results,
    cases: &[&Subject],
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let groups: Vec<Vec<&Series>> = cases.iter().map(|case| results.about(case)).collect();
    let peers = peers(&groups);
    let unit = cases.first().map_or(Unit::Share, |case| case.unit);
    let most = groups
        .iter()
        .flatten()
        .map(|series| series.most)
        .fold(f64::MIN_POSITIVE, f64::max);
    let title = cases.first().map_or(String::new(), |case| {
        format!(
            "({}) {}: {}",
            case.work,
            Work::title_of(case.work),
            case.metric
        )
    });
    // A group is as wide as 1, a tenth of that is left between two.
    let width = 0.9 / peers.len().max(1) as f64;

    // The legend has the right to itself.
    let all = cases.len() as f64 / 0.82;
    let letters = (f64::from(SIZE.0) * 0.7 / cases.len().max(1) as f64 / LETTER) as usize;
    let labels: Vec<_> = cases.iter().map(|case| wrap(&case.case, letters)).collect();
    let lines = labels.iter().map(Vec::len).max().unwrap_or(1) as i32;

    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 20))
        .margin(12)
        .x_label_area_size(LINE * lines + 12)
        .y_label_area_size(90)
        .build_cartesian_2d(0.0..all, 0.0..most * 1.08)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .y_label_formatter(&|value| figure(*value, unit))
        .label_style((FONT, 14))
        .draw()?;
    for (group, (series, label)) in groups.iter().zip(&labels).enumerate() {
        for (line, text) in (0..).zip(label) {
            let text = Text::new(text.clone(), (0, 6 + LINE * line), centred());
            let element = EmptyElement::at((group as f64 + 0.45, 0.0)) + text;
            chart.plotting_area().draw(&element)?;
        }
        for one in series {
            let Some(index) = peers.iter().position(|peer| *peer == one.peer) else {
                continue;
            };
            let left = group as f64 + index as f64 * width;
            let (right, middle) = (left + width * 0.9, left + width * 0.45);
            chart.draw_series([Rectangle::new(
                [(left, 0.0), (right, one.median)],
                colour(one.peer).filled(),
            )])?;
            let line = PathElement::new(
                vec![(middle, one.least), (middle, one.most)],
                BLACK.stroke_width(2),
            );
            chart.draw_series([line])?;
        }
    }
    for &peer in &peers {
        let colour = colour(peer);
        // Nothing is drawn at this place; the legend wants something to stand for.
        chart
            .draw_series([Rectangle::new([(0.0, 0.0), (0.0, 0.0)], colour.filled())])?
            .label(peer.name())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 13))
        .position(SeriesLabelPosition::UpperRight)
        .draw()?;
    area.present()?;
    Ok(())
}

/// Those that any of the series are of.
fn peers(groups: &[Vec<&Series>]) -> Vec<Peer> {
    let mut peers: Vec<Peer> = groups.iter().flatten().map(|series| series.peer).collect();
    peers.sort();
    peers.dedup();
    peers
}

/// Cuts a text at spaces into lines of so many letters, where words are not longer.
fn wrap(text: &str, letters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= letters => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn centred() -> TextStyle<'static> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    (FONT, 14)
        .into_font()
        .color(&BLACK)
        .pos(Pos::new(HPos::Center, VPos::Top))
}

/// Paul Tol's bright scheme, which people who do not tell red from green can read.
fn colour(peer: Peer) -> RGBColor {
    match peer {
        Peer::Plain => RGBColor(0xbb, 0xbb, 0xbb),
        Peer::IptablesLegacy => RGBColor(0xcc, 0xbb, 0x44),
        Peer::Nftables => RGBColor(0x22, 0x88, 0x33),
        Peer::DockerProxy => RGBColor(0xaa, 0x33, 0x77),
        Peer::Portnat => RGBColor(0xee, 0x66, 0x77),
        Peer::PortnatXdp => RGBColor(0xcc, 0x33, 0x11),
        Peer::TcRedirect => RGBColor(0x44, 0x77, 0xaa),
        Peer::XdpRedirect => RGBColor(0x66, 0xcc, 0xee),
        Peer::XdpRedirectStack => RGBColor(0x99, 0xdd, 0xff),
        Peer::XdpDrop => RGBColor(0x55, 0x55, 0x55),
        Peer::DockerStable => RGBColor(0xdd, 0xaa, 0x33),
        Peer::DockerNewest => RGBColor(0x99, 0x77, 0x00),
    }
}
