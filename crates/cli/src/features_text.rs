//! What sparse autoencoders say, as text.

use std::fmt::Write as _;

use microtome::corpus_scan::{CorpusScan, FeatureSummary};
use microtome::method::feature_profile::FeatureProfileReport;
use microtome::method::features::{
    FeatureReport, FeatureTotal, FeatureTrace, PromptFeatures, SaeLosses, SaeQuality,
};
use microtome::sae::{ActiveFeature, SaeReport};
use microtome::{Method, Record};

use crate::neurons_text::{pairs_text, passage_text, passages_text};
use crate::output::{count, number, signed, visible};

/// Whatever a record says of features.
pub fn all_features_text(out: &mut String, record: &Record, list: usize) {
    if let Some(report) = &record.results.features {
        features_text(out, report, record, list);
    }
    if let Some(report) = &record.results.feature {
        profile_text(out, report, list);
    }
    if let (Some(report), Method::TextScan(asked)) = (&record.results.text_scan, &record.experiment.method) {
        let mut strongest: Vec<&FeatureSummary> = report.features.iter().collect();
        strongest.sort_by(|a, b| b.max.total_cmp(&a.max));
        for summary in strongest.into_iter().take(list) {
            passages_text(out, summary, asked.threshold);
        }
    }
}

/// The features of each token and overall, and what the autoencoder keeps.
fn features_text(out: &mut String, report: &FeatureReport, record: &Record, list: usize) {
    let _ = writeln!(out, "\n{}", sae_line(&report.sae));
    quality_text(out, &report.quality);
    if let ([found], [asked]) = (&report.prompts[..], &record.results.prompts[..]) {
        tokens_text(out, found, &asked.clean.labels);
    }
    let _ =
        writeln!(out, "\n{:>8} {:>10} {:>8} {:>10}  strongest at", "feature", "largest", "tokens", "mean");
    for total in report.overall.iter().take(list) {
        total_text(out, total, record);
    }
}

/// The features of each token of a prompt.
fn tokens_text(out: &mut String, found: &PromptFeatures, labels: &[String]) {
    let _ = writeln!(out, "\n{:16} {:>6} {:>8}  strongest features", "token", "active", "missed");
    for (token, position) in labels.iter().zip(&found.positions) {
        let missed = position.relative_error.map_or(String::new(), |e| format!("{:.1} %", 100.0 * e));
        let top: Vec<String> = position.top.iter().take(TOKEN_LIST).map(active_text).collect();
        let mark = if position.counts { ' ' } else { '*' };
        let (token, n_active, top) = (visible(token), position.n_active, top.join("  "));
        let _ = writeln!(out, "{token:15}{mark} {n_active:>6} {missed:>8}  {top}");
    }
    if found.positions.iter().any(|position| !position.counts) {
        let _ = writeln!(out, "* does not count");
    }
    for trace in &found.watched {
        watched_text(out, trace, labels);
    }
}

/// Features shown of each token.
const TOKEN_LIST: usize = 5;

/// What an autoencoder is, in a line.
pub fn sae_line(sae: &SaeReport) -> String {
    let SaeReport { name, architecture, d_sae, .. } = sae;
    format!("{name} · {architecture}, {d_sae} features at {}", sae.place())
}

fn quality_text(out: &mut String, quality: &SaeQuality) {
    let SaeQuality { n_positions, l0, explained_variance, losses } = quality;
    let explained = explained_variance.map_or("not defined".to_owned(), |share| format!("{share:.4}"));
    let _ = writeln!(out, "over {n_positions} positions: L0 {}, explained variance {explained}", number(*l0));
    let Some(SaeLosses { clean, spliced, zero, mean, recovered_from_zero, recovered_from_mean }) = losses
    else {
        return;
    };
    let [clean, spliced, zero, mean] = [clean, spliced, zero, mean].map(|x| number(*x));
    let share = |share: &Option<f64>| share.map_or("not defined".to_owned(), |share| format!("{share:.4}"));
    let _ = writeln!(
        out,
        "loss, nats per token: as it is {clean}, spliced in {spliced}, zero {zero}, mean {mean}"
    );
    let _ = writeln!(
        out,
        "loss recovered: {} against zero, {} against the mean",
        share(recovered_from_zero),
        share(recovered_from_mean)
    );
}

fn active_text(active: &ActiveFeature) -> String {
    format!("{} {}", active.feature, number(active.activation))
}

fn watched_text(out: &mut String, trace: &FeatureTrace, labels: &[String]) {
    let _ = writeln!(out, "\nfeature {}", trace.feature);
    for (token, activation) in labels.iter().zip(&trace.activations) {
        let _ = writeln!(out, "  {:16} {:>10}", visible(token), number(*activation));
    }
}

fn total_text(out: &mut String, total: &FeatureTotal, record: &Record) {
    let FeatureTotal { feature, activation, prompt, position, n_active, mean } = total;
    let tokens = record.results.prompts.get(*prompt).map(|prompt| &prompt.clean.labels);
    let token = tokens.and_then(|labels| labels.get(*position)).map_or(String::new(), |label| visible(label));
    let place = match record.results.prompts.len() > 1 {
        true => format!("{token} at {position} of prompt {}", prompt + 1),
        false => format!("{token} at {position}"),
    };
    let [activation, mean] = [activation, mean].map(|x| number(*x));
    let _ = writeln!(out, "{feature:>8} {activation:>10} {n_active:>8} {mean:>10}  {place}");
}

/// One feature by the weights.
fn profile_text(out: &mut String, report: &FeatureProfileReport, list: usize) {
    let _ = writeln!(out, "\n{}", sae_line(&report.sae));
    let _ = writeln!(out, "feature {}: what it writes, logits per unit of activation", report.feature);
    match report.promoted.is_empty() {
        true => {
            let _ = writeln!(out, "  nothing that goes straight into the residual stream");
        }
        false => pairs_text(out, &report.promoted, &report.suppressed, list),
    }
    let cosine =
        report.cosine.map_or(String::new(), |cosine| format!(", cosine of the two {}", signed(cosine)));
    let [input, output] = [report.encoder_norm, report.decoder_norm].map(number);
    let _ = writeln!(out, "it reads by a direction of norm {input} and writes one of norm {output}{cosine}");
    let _ = writeln!(out, "\nnearest features, by the cosine of what they write");
    for near in report.nearest.iter().take(list) {
        let _ = writeln!(out, "  {:>8} {:>10}", near.feature, signed(near.cosine));
    }
    if let Some(page) = &report.page {
        let _ = writeln!(out, "\n{page}");
    }
}

/// A feature over a text: how often it is active, and where most.
pub fn summary_text(scan: &CorpusScan, summary: &FeatureSummary) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "\nover {} tokens of {}", scan.tokens, scan.text);
    let _ = writeln!(
        out,
        "active at {} ({:.4} % of tokens), largest activation {}",
        count(summary.active as usize, "token"),
        100.0 * summary.density,
        number(summary.max)
    );
    for passage in &summary.passages {
        let _ = writeln!(out, "  {:>9}  {}", number(f64::from(passage.activation)), passage_text(passage));
    }
    out
}
