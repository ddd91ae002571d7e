//! Pictures of results: heatmaps, curves, bars, scatter plots and graphs as SVG, PNG or terminal text.
//!
//! Every plot is a plain struct of labels and numbers with a `to_svg`. The SVG is the picture;
//! [`svg_to_png`] rasterises it with two embedded fonts, so that every machine gives the same
//! bytes, and [`render_heatmap`] draws the same grid with the same colours in a terminal.
//!
//! Conventions, shared with the page: layer 0 at the bottom, as the residual stream flows up;
//! blue pushes towards the answer and red away; a leading space is a faint `·`, a newline a faint
//! `⏎`; a figure carries its unit and says what its zero means.
//!
//! One thing is interactive: [`AttentionPage`], attention of all heads as an HTML file.
//!
//! Left out on purpose: interaction elsewhere (the page has it), themes other than the light one, and axis
//! options. A plot that needs tuning by hand is better drawn from the exported numbers.

pub mod attention_page;
mod axis;
pub mod bars;
mod color_bar;
pub mod graph;
mod grid;
pub mod heatmap;
mod label;
pub mod lines;
pub(crate) mod number;
pub mod png;
pub mod scale;
pub mod scatter;
mod sheet;
mod stack;
mod svg;
pub mod term;

pub use attention_page::AttentionPage;
pub use bars::{Bar, BarPlot};
pub use graph::{GraphEdge, GraphNode, GraphPlot, NodeKind};
pub use heatmap::{AxisLabels, Heatmap};
pub use lines::{LinePlot, Series, Stroke, YScale};
pub use png::svg_to_png;
pub use scale::{ColorScale, Rgb, ScaleKind};
pub use scatter::{Point, ScatterPlot};
pub use stack::stack;
pub use term::{ColorMode, TermOptions, render_heatmap};

/// What can go wrong between numbers and a picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// The number of values does not match the axes.
    #[error("heatmap `{title}` has {n_rows} rows x {n_cols} columns = {} cells but {n_values} values", n_rows * n_cols)]
    CellCount {
        /// Title of the heatmap.
        title: String,
        /// Number of row labels.
        n_rows: usize,
        /// Number of column labels.
        n_cols: usize,
        /// Number of values given.
        n_values: usize,
    },
    /// An edge that does not lead from a node to one in a higher row.
    #[error("graph `{title}`: edge {index} does not lead from a node to one in a higher row")]
    EdgeEnds {
        /// Title of the graph.
        title: String,
        /// Which edge, counted from 0.
        index: usize,
    },
    /// The SVG text could not be read.
    #[error("cannot read the svg: {source}")]
    Svg {
        /// What the parser said.
        #[from]
        source: resvg::usvg::Error,
    },
    /// The asked scale is not a positive, finite number.
    #[error("png scale `{scale}` is not usable; give a positive number, for example 2")]
    PngScale {
        /// The scale that was asked.
        scale: f32,
    },
    /// The picture would have more pixels than can be held.
    #[error(
        "a png of {width} x {height} pixels is over the limit of {max_pixels}; give a smaller scale than `{scale}`"
    )]
    PngTooLarge {
        /// Width in pixels at the asked scale.
        width: f64,
        /// Height in pixels at the asked scale.
        height: f64,
        /// The most pixels one picture may have.
        max_pixels: u64,
        /// The scale that was asked.
        scale: f32,
    },
    /// The pixels could not be written as PNG.
    #[error("cannot encode the png: {reason}")]
    PngEncode {
        /// What the encoder said.
        reason: String,
    },
}
