//! Draws a dozen plots of invented numbers into a directory, as SVG and PNG, and prints the
//! heatmaps to the terminal.
//!
//! `cargo run -p microtome --example plot_gallery -- some/directory`

use std::collections::HashMap;
use std::path::Path;

use microtome::Basis;
use microtome::circuit::graph::Mlps;
use microtome::circuit::scores::Keep;
use microtome::circuit::{Edge, EdgeScores, Graph, Node};
use microtome::plot::{
    AxisLabels, Bar, BarPlot, ColorMode, GraphPlot, Heatmap, LinePlot, Point, ScaleKind, ScatterPlot, Series,
    TermOptions, YScale, render_heatmap, svg_to_png,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args_os().nth(1).ok_or("give a directory to draw into")?;
    let directory = Path::new(&directory);
    std::fs::create_dir_all(directory)?;
    for (name, heatmap) in heatmaps() {
        save(directory, name, &heatmap.to_svg())?;
        let terminal = |width, color| render_heatmap(&heatmap, TermOptions { width, color });
        std::fs::write(directory.join(format!("{name}.color.txt")), terminal(100, ColorMode::TrueColor))?;
        std::fs::write(directory.join(format!("{name}.256.txt")), terminal(100, ColorMode::Ansi256))?;
        std::fs::write(directory.join(format!("{name}.txt")), terminal(100, ColorMode::None))?;
    }
    for (name, plot) in line_plots() {
        save(directory, name, &plot.to_svg())?;
    }
    for (name, plot) in bar_plots() {
        save(directory, name, &plot.to_svg())?;
    }
    save(directory, "40_estimates", &scatter_plot().to_svg())?;
    for (name, plot) in graph_plots() {
        save(directory, name, &plot.to_svg())?;
    }
    Ok(())
}

fn save(directory: &Path, name: &str, svg: &str) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::write(directory.join(format!("{name}.svg")), svg)?;
    let png = svg_to_png(svg, 1.5)?;
    println!("{name}: svg {} KB, png {} KB", svg.len() / 1024, png.len() / 1024);
    std::fs::write(directory.join(format!("{name}.png")), png)?;
    Ok(())
}

fn tokens(texts: &[&str]) -> AxisLabels {
    AxisLabels { name: "token".into(), labels: texts.iter().map(|t| t.to_string()).collect() }
}

/// Mostly small values with a few strong ones, as effects are.
fn effects(seed: u64, n_rows: usize, n_cols: usize) -> Vec<Option<f64>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut effect = || {
        let small: f64 = rng.random_range(-0.08..0.08);
        if rng.random_bool(0.06) { small + rng.random_range(-0.7..1.0) } else { small }
    };
    (0..n_rows * n_cols).map(|_| Some(effect())).collect()
}

fn heatmaps() -> Vec<(&'static str, Heatmap)> {
    const IOI: [&str; 13] = [
        "When", " Mary", " and", " John", " went", " to", " the", " store", ",", " Mary", " gave", " it",
        " to",
    ];
    let base = Heatmap {
        title: "Head output patched from the clean run".into(),
        subtitle: "When Mary and John went to the store, Mary gave it to → John · demo, 12 layers × 12 heads, folded weights".into(),
        rows: AxisLabels::numbered("layer", "L", 12),
        cols: AxisLabels::numbered("head", "H", 12),
        values: effects(1, 12, 12),
        unit: "recovery of logit(John) − logit(Mary)".into(),
        baseline: "0 is the corrupt run, 1 the clean run".into(),
        scale: ScaleKind::Diverging,
    };
    let mut residual = Heatmap {
        title: "Residual stream before each layer, patched at one position".into(),
        rows: AxisLabels::numbered("layer", "L", 8),
        cols: tokens(&IOI),
        values: effects(2, 8, 13),
        ..base.clone()
    };
    for layer in 0..8 {
        let (early, late) = if layer < 4 { (0.97, 0.0) } else { (0.02, 0.96) };
        residual.values[layer * 13 + 9] = Some(early - 0.02 * layer as f64);
        residual.values[layer * 13 + 12] = Some(late);
    }
    let mut odd = Heatmap {
        title: "Some cells were not computed".into(),
        cols: tokens(&[
            "\n",
            " <b> & \"q\"",
            "日本",
            "\u{fffd}",
            "  indent",
            "\t",
            "é",
            " naïve",
            "→",
            "\u{200b}",
        ]),
        rows: AxisLabels::numbered("layer", "L", 6),
        values: effects(3, 6, 10),
        ..base.clone()
    };
    odd.values[3] = None;
    odd.values[14] = None;
    odd.values[27] = Some(f64::NAN);
    odd.values[31] = Some(f64::INFINITY);
    odd.values[45] = Some(f64::NEG_INFINITY);
    let long: Vec<String> = (0..64)
        .map(|i| [" the", " Constantinople", ",", " and", "\n", " internationally"][i * 7 % 6].into())
        .collect();
    let magnitudes = |seed, n: usize| {
        let mut rng = StdRng::seed_from_u64(seed);
        (0..n).map(|_| Some(rng.random_range(0.0f64..1.0).powi(4) * 3.7)).collect::<Vec<_>>()
    };
    let wave = |r: usize, c: usize| ((r as f64 / 9.0).sin() * (c as f64 / 150.0).cos()).powi(3);
    vec![
        ("01_heads", base.clone()),
        ("02_residual", residual),
        ("03_odd_cells", odd),
        (
            "04_positions",
            Heatmap {
                title: "Attention output × position".into(),
                cols: AxisLabels { name: "token".into(), labels: long },
                values: effects(4, 12, 64),
                ..base.clone()
            },
        ),
        (
            "05_xl_heads",
            Heatmap {
                title: "Gradient of the loss on each head's pattern".into(),
                rows: AxisLabels::numbered("layer", "L", 48),
                cols: AxisLabels::numbered("head", "H", 25),
                values: magnitudes(5, 48 * 25),
                unit: "mean |dL/dA|, nats".into(),
                baseline: "0 is a head whose pattern does not matter".into(),
                scale: ScaleKind::Sequential,
                ..base.clone()
            },
        ),
        (
            "06_single",
            Heatmap {
                title: "One cell".into(),
                rows: AxisLabels::numbered("layer", "L", 1),
                cols: AxisLabels::numbered("head", "H", 1),
                values: vec![Some(-0.42)],
                ..base.clone()
            },
        ),
        (
            "07_neurons",
            Heatmap {
                title: "Neuron activations over a document".into(),
                rows: AxisLabels::numbered("position", "", 100),
                cols: AxisLabels::numbered("neuron", "", 3072),
                values: (0..100 * 3072).map(|i| Some(wave(i / 3072, i % 3072))).collect(),
                unit: "activation".into(),
                baseline: "0 is a silent neuron".into(),
                ..base.clone()
            },
        ),
        (
            "08_zero",
            Heatmap { title: "Nothing happens".into(), values: vec![Some(0.0); 144], ..base.clone() },
        ),
        (
            "09_small_sequential",
            Heatmap {
                title: "Head importance".into(),
                rows: AxisLabels::numbered("layer", "L", 6),
                cols: AxisLabels::numbered("head", "H", 8),
                values: magnitudes(6, 48),
                unit: "KL(original ‖ cut), nats".into(),
                baseline: "each head zero-ablated alone; 0 is no change".into(),
                scale: ScaleKind::Sequential,
                ..base.clone()
            },
        ),
        (
            "10_tall",
            Heatmap {
                title: "Long token rows".into(),
                rows: AxisLabels { name: "query".into(), ..tokens(&IOI) },
                cols: AxisLabels { name: "key".into(), ..tokens(&IOI) },
                values: (0..169).map(|i| (i % 13 <= i / 13).then(|| 1.0 / (1.0 + (i / 13) as f64))).collect(),
                unit: "attention probability".into(),
                baseline: "L4H6; rows sum to 1; keys after the query are masked".into(),
                scale: ScaleKind::Sequential,
                ..base
            },
        ),
    ]
}

fn line_plots() -> Vec<(&'static str, LinePlot)> {
    let mut rng = StdRng::seed_from_u64(7);
    let mut curve = |name: &str, end: f64| Series {
        name: name.into(),
        points: (0..12)
            .map(|l| {
                let t = f64::from(l) / 11.0;
                (f64::from(l), end * t.powi(3) + rng.random_range(0.0..0.02))
            })
            .collect(),
        ..Series::default()
    };
    let mut lens =
        vec![curve(" Paris", 0.91), curve(" London", 0.05), curve(" France", 0.03), curve("control", 0.44)];
    lens[0].band = Some(lens[0].points.iter().map(|(_, y)| (y * 0.8, y * 1.08)).collect());
    let mut noise = StdRng::seed_from_u64(8);
    let mut loss = |name: &str, floor: f64| Series {
        name: name.into(),
        points: (1..20_000)
            .map(|step| {
                let step = f64::from(step);
                (step, floor + 10.0 * step.powf(-0.45) * noise.random_range(0.93..1.07))
            })
            .collect(),
        ..Series::default()
    };
    let losses = vec![loss("train", 0.012), loss("validation, held-out text", 0.02)];
    let many = (0..11).map(|i| curve(&format!("L{i}H{}", i * 7 % 12), 1.0 - 0.16 * f64::from(i))).collect();
    let lens = LinePlot {
        title: "Logit lens: what each layer would say".into(),
        subtitle: "The Eiffel Tower is located in · demo".into(),
        x: "layer".into(),
        y: "probability".into(),
        series: lens,
        y_scale: YScale::Linear,
        marks: vec![],
    };
    vec![
        ("20_lens", lens.clone()),
        (
            "21_loss",
            LinePlot {
                title: "Training".into(),
                subtitle: "seed 0 · 20,000 steps".into(),
                x: "step".into(),
                y: "loss, nats per token".into(),
                series: losses,
                y_scale: YScale::Log,
                marks: vec![
                    (4000.0, "induction forms".into()),
                    (4600.0, "lr / 10".into()),
                    (15_000.0, "end of warm data".into()),
                ],
            },
        ),
        (
            "22_many",
            LinePlot {
                title: "Direct logit attribution of eleven heads".into(),
                series: many,
                y: "logits".into(),
                ..lens
            },
        ),
    ]
}

fn bar_plots() -> Vec<(&'static str, BarPlot)> {
    let bar = |(label, value, interval): (&str, f64, Option<(f64, f64)>)| Bar {
        label: label.into(),
        value,
        interval,
    };
    let direct = [
        ("L9H9", 2.31, Some((1.9, 2.7))),
        ("L10H0", 1.12, Some((0.8, 1.5))),
        ("L9H6", 0.94, None),
        ("MLP 11", 0.2, Some((-0.1, 0.5))),
        ("embed", 0.0, None),
        ("L11H10", -1.34, Some((-1.7, -1.0))),
        ("L10H7", -1.82, None),
    ];
    let next = [
        (" John", 0.58, None),
        (" Mary", 0.27, None),
        (" the", 0.06, None),
        (" a", 0.02, None),
        ("\n", 0.01, None),
    ];
    vec![
        (
            "30_attribution",
            BarPlot {
                title: "Direct contribution to logit( John) − logit( Mary)".into(),
                subtitle: "When Mary and John went to the store, Mary gave it to".into(),
                unit: "logits; 0 is no contribution; whiskers: 95 % over 50 prompts".into(),
                bars: direct.into_iter().map(bar).collect(),
            },
        ),
        (
            "31_next_token",
            BarPlot {
                title: "Next token".into(),
                subtitle: String::new(),
                unit: "probability".into(),
                bars: next.into_iter().map(bar).collect(),
            },
        ),
    ]
}

/// Estimates that fall short where effects are large.
fn scatter_plot() -> ScatterPlot {
    let mut rng = StdRng::seed_from_u64(9);
    let point = |(i, effect): (usize, Option<f64>)| {
        let exact = effect.unwrap_or_default();
        let x = exact * (1.0 - 0.5 * exact.abs()) + rng.random_range(-0.03..0.03);
        let interval = Some((exact - 0.04, exact + 0.05));
        Point { label: format!("L{}H{}", i / 12, i % 12), x, y: exact, interval }
    };
    ScatterPlot {
        title: "Estimated change in logit difference when z of one head is patched, against patching".into(),
        subtitle: "50 prompts · demo, 12 layers × 12 heads, folded weights".into(),
        x: "estimated, logits".into(),
        y: "measured change in logit_diff, logits".into(),
        points: effects(4, 12, 12).into_iter().enumerate().map(point).collect(),
        note: "144 cells; Pearson correlation 0.953, Spearman rank correlation 0.871; dashed: equal.".into(),
    }
}

/// Circuits of models whose edges are worth something at random, a few components and their edges much more.
fn graph_plots() -> Vec<(&'static str, GraphPlot)> {
    let scores = |n_layers: usize, n_heads: usize, mlps: Mlps, seed: u64| {
        let graph = Graph { n_layers, n_heads, mlps };
        let mut rng = StdRng::seed_from_u64(seed);
        let mut weight = |node: Node| match node {
            Node::Input | Node::Logits => 1.0,
            _ => rng.random_range(0.0f64..1.0).powi(8),
        };
        let weights: HashMap<_, f64> = graph.nodes().into_iter().map(|node| (node, weight(node))).collect();
        let mut rng = StdRng::seed_from_u64(seed + 1);
        let mut edge = |edge: Edge| {
            let sign = if rng.random_bool(0.3) { -1.0 } else { 1.0 };
            let ends = (0.02 + weights[&edge.from]) * (0.02 + weights[&edge.to]);
            (edge, sign * ends * rng.random_range(0.0f64..1.0).powi(3))
        };
        EdgeScores {
            graph,
            edges: graph.edges().into_iter().map(&mut edge).collect(),
            nodes: HashMap::new(),
            unit: "logits".into(),
            basis: Basis::Estimate,
            meaning: "what is lost when the edge carries the corrupt run's value".into(),
        }
    };
    let small = scores(4, 4, Mlps::Present, 1);
    let large = scores(12, 12, Mlps::Present, 4);
    let bare = scores(2, 8, Mlps::Absent, 5);
    let draw = |of: &EdgeScores, count: usize| {
        let subtitle = "When Mary and John went to the store, Mary gave it to · demo · folded weights";
        of.graph_plot(&of.circuit(count, Keep::Paths), subtitle)
    };
    let mut odd = draw(&small, 12);
    odd.title = "Some edges and nodes have no score".into();
    odd.edges[1].score = None;
    odd.edges[2].score = Some(f64::INFINITY);
    odd.nodes[1].score = None;
    odd.nodes[2].label = "<a & b>".into();
    vec![
        ("50_graph_few", draw(&small, 8)),
        ("51_graph_some", draw(&small, 40)),
        ("52_graph_many", draw(&large, 200)),
        ("53_graph_attention_only", draw(&bare, 30)),
        ("54_graph_odd", odd),
        ("55_graph_whole", draw(&large, 1000)),
    ]
}
