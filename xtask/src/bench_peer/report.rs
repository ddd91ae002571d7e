//! The report: times and ratios, then arithmetic and how far the answers are apart, as Markdown.

use std::fmt::Write;

/// Times of one engine at one task.
#[derive(Default, Clone)]
pub struct Times(pub Vec<f64>);

/// One row of the report.
pub struct Row {
    /// What was done.
    pub what: String,
    /// By engine, ours first; none where an engine does not have the task.
    pub times: Vec<Times>,
    /// Floating-point operations of ours, where they are counted.
    pub flop: Option<u64>,
    /// By peer: the largest difference of its answers from ours.
    pub differences: Vec<Option<f64>>,
    /// The largest that is allowed; `None` where there is nothing to compare.
    pub tolerance: Option<f64>,
}

/// The most memory an engine has held, MiB, where the system says.
#[derive(Default, Clone, Copy)]
pub struct Memory {
    /// After its first forward pass.
    pub loaded: Option<u64>,
    /// After all tasks.
    pub at_end: Option<u64>,
}

/// Everything measured.
pub struct Report {
    /// Names of the engines, ours first.
    pub engines: Vec<String>,
    /// Lines above the tables: machine, versions, how it was measured.
    pub preface: Vec<String>,
    /// One row for each task.
    pub rows: Vec<Row>,
    /// By engine.
    pub memory: Vec<Memory>,
    /// Ours with bf16 weights, after its first forward pass.
    pub memory_bf16: Option<u64>,
    /// GFLOP/s of a large product in torch on the same machine, the best seen.
    pub product_gflops: f64,
    /// GFLOP/s of our products where they stay in the nearest cache, the best seen.
    pub peak_gflops: f64,
}

impl Times {
    fn sorted(&self) -> Vec<f64> {
        let mut times = self.0.clone();
        times.sort_by(f64::total_cmp);
        times
    }

    /// The middle time; of an even number the mean of the middle two.
    pub fn median(&self) -> Option<f64> {
        let times = self.sorted();
        let middle = times.len() / 2;
        match times.len() {
            0 => None,
            n if n.is_multiple_of(2) => Some((times[middle - 1] + times[middle]) / 2.0),
            _ => Some(times[middle]),
        }
    }

    /// Median, range and number of runs.
    fn cell(&self) -> String {
        let (times, Some(median)) = (self.sorted(), self.median()) else { return "-".to_owned() };
        let (unit, factor) = if median < 1.0 { ("ms", 1e3) } else { ("s", 1.0) };
        let digits = |x: f64| match factor * x {
            x if x < 10.0 => format!("{x:.2}"),
            x if x < 100.0 => format!("{x:.1}"),
            x => format!("{x:.0}"),
        };
        let (low, high) = (digits(times[0]), digits(times[times.len() - 1]));
        match times.len() {
            1 => format!("{} {unit} (1)", digits(median)),
            n => format!("{} {unit} ({low} to {high}; {n})", digits(median)),
        }
    }
}

impl Report {
    /// The whole text.
    pub fn markdown(&self) -> String {
        let mut text = self.preface.join("\n") + "\n\n";
        let ours = &self.engines[0];
        let peers = &self.engines[1..];
        let mut heads = vec!["task".to_owned()];
        heads.extend(self.engines.iter().cloned());
        heads.extend(peers.iter().map(|peer| format!("{peer} / {ours}")));
        line(&mut text, &heads);
        line(&mut text, &vec!["---"; heads.len()]);
        for row in &self.rows {
            let mut cells = vec![row.what.clone()];
            cells.extend(row.times.iter().map(Times::cell));
            cells.extend(row.times[1..].iter().map(|theirs| {
                let both = row.times[0].median().zip(theirs.median());
                both.map_or("-".to_owned(), |(ours, theirs)| ratio(theirs / ours))
            }));
            line(&mut text, &cells);
        }
        let mib = |x: Option<u64>| x.map_or("-".to_owned(), |x| format!("{x} MiB"));
        let blank = vec![String::new(); peers.len()];
        let of = |what: &str, cell: &dyn Fn(&Memory) -> Option<u64>| {
            let cells = self.memory.iter().map(|memory| mib(cell(memory)));
            [what.to_owned()].into_iter().chain(cells).chain(blank.clone()).collect::<Vec<_>>()
        };
        line(&mut text, &of("peak memory when loaded", &|memory| memory.loaded));
        line(&mut text, &of("peak memory after all tasks", &|memory| memory.at_end));

        if let Some(mib) = self.memory_bf16 {
            let mut cells = vec!["peak memory when loaded, bf16 weights".to_owned(), format!("{mib} MiB")];
            cells.resize(heads.len(), String::new());
            line(&mut text, &cells);
        }

        let _ = writeln!(text);
        let mut heads = vec!["task".to_owned(), format!("{ours}, GFLOP"), "GFLOP/s".to_owned()];
        heads.extend(["of the product's", "of the peak"].map(str::to_owned));
        heads.extend(peers.iter().map(|peer| format!("difference from {peer}")));
        heads.push("allowed".to_owned());
        line(&mut text, &heads);
        line(&mut text, &vec!["---"; heads.len()]);
        for row in self.rows.iter().filter(|row| row.tolerance.is_some() || row.flop.is_some()) {
            let mut cells = vec![row.what.clone()];
            cells.extend(match row.flop.zip(row.times[0].median()) {
                Some((flop, secs)) => {
                    let (gflop, gflops) = (flop as f64 / 1e9, flop as f64 / 1e9 / secs);
                    let share = |of: f64| format!("{:.0} %", 100.0 * gflops / of);
                    let (product, peak) = (share(self.product_gflops), share(self.peak_gflops));
                    [format!("{gflop:.1}"), format!("{gflops:.0}"), product, peak]
                }
                None => ["-", "-", "-", "-"].map(str::to_owned),
            });
            let share = |x: f64| if x == 0.0 { "0".to_owned() } else { format!("{x:.0e}") };
            cells.extend(row.differences.iter().map(|apart| apart.map_or("-".to_owned(), share)));
            cells.push(row.tolerance.map(share).unwrap_or_default());
            line(&mut text, &cells);
        }
        text
    }
}

fn ratio(x: f64) -> String {
    match x {
        x if x >= 10.0 => format!("{x:.0} x"),
        x if x >= 1.0 => format!("{x:.1} x"),
        x => format!("{x:.2} x"),
    }
}

fn line<S: AsRef<str>>(text: &mut String, cells: &[S]) {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_median_range_runs_and_ratio() {
        let row = Row {
            what: "forward".to_owned(),
            times: vec![Times(vec![0.05, 0.03, 0.04]), Times(vec![1.5, 2.5]), Times::default()],
            flop: Some(2_000_000_000),
            differences: vec![Some(3e-6), None],
            tolerance: Some(1e-4),
        };
        let report = Report {
            engines: ["microtome", "tl4", "torch"].map(str::to_owned).to_vec(),
            preface: vec!["two cores".to_owned()],
            rows: vec![row],
            memory: vec![Memory::default(); 3],
            memory_bf16: Some(400),
            product_gflops: 100.0,
            peak_gflops: 200.0,
        };
        let text = report.markdown();
        let times = "| forward | 40.0 ms (30.0 to 50.0; 3) | 2.00 s (1.50 to 2.50; 2) | - | 50 x | - |";
        assert!(text.contains(times), "{text}");
        assert!(text.contains("| forward | 2.0 | 50 | 50 % | 25 % | 3e-6 | - | 1e-4 |"), "{text}");
        assert!(text.contains("| peak memory when loaded, bf16 weights | 400 MiB |  |  |  |  |"), "{text}");
    }
}
