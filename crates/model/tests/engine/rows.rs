//! Functions of rows that look at another hook: in runs, lanes and streams the same as the value set by hand.

use std::ops::ControlFlow;

use microtome_model::{
    Change, Edit, Error, Hook, Lane, LaneEvent, LaneOptions, LaneRun, Model, Positions, Processing, RowMap,
    RunOptions, Site, Stream, Tensor, Value,
};

use crate::toy::{KINDS, Kind, config, distance, model};

const TOKENS: [u32; 8] = [3, 1, 4, 1, 5, 9, 2, 6];
/// Rounding of f64 through three layers.
const TOLERANCE: f64 = 1e-10;

/// Where is looked and what is replaced: in one layer and over layers, the last included, before and after the rows that nobody
/// reads are dropped there.
fn places() -> Vec<(Hook, Hook)> {
    use Site::*;
    vec![
        (MlpIn.at(1), MlpOut.at(1)),
        (Ln2Normalized.at(2), MlpOut.at(2)),
        (ResidPre.at(2), AttnOut.at(2)),
        (Ln1Normalized.at(2), AttnOut.at(2)),
        (ResidMid.at(0), ResidPost.at(2)),
        (Embed.at(0), AttnOut.at(1)),
        (AttnOut.at(1), AttnOut.at(1)),
    ]
}

fn mixed(there: &Tensor, here: &Tensor) -> Tensor {
    ((here * 0.25).unwrap() + (there.tanh().unwrap() * 2.0).unwrap()).unwrap()
}

fn looking(from: Hook, at: Hook, positions: Positions) -> Edit {
    let map = RowMap::reading(from, |there, here| Ok(mixed(there, here)));
    Edit::new(at, Change::Rows(map)).positions(positions)
}

fn edited(model: &Model, edits: Vec<Edit>, reads: Vec<Hook>) -> (Tensor, Vec<Tensor>) {
    let run = model.run(&TOKENS, &RunOptions { edits, reads: reads.clone(), ..Default::default() }).unwrap();
    let read = reads.iter().map(|&hook| run.cache.get(hook).unwrap().clone()).collect();
    (run.logits().unwrap().clone(), read)
}

/// The last row of the logits of one lane.
fn lane(model: &Model, edits: Vec<Edit>) -> Tensor {
    let lanes = [
        Lane { prompt: 0, edits: vec![Edit::new(Site::Z.at(1), Change::Zero)] },
        Lane { prompt: 0, edits },
        Lane { prompt: 0, edits: vec![Edit::new(Site::Embed.at(0), Change::Scale(0.5))] },
    ];
    let run = LaneRun::new(model, &[TOKENS], &lanes, &Positions::Last).unwrap();
    let mut found = None;
    run.run(&LaneOptions::default(), |event| -> Result<_, Error> {
        if let LaneEvent::Rows { rows, logits } = event
            && let Some(row) = rows.iter().position(|&(lane, _)| lane == 1)
        {
            found = Some(logits.get(row)?);
        }
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    found.unwrap()
}

#[test]
fn rows_of_another_hook_are_those_of_the_very_run() {
    let mut tried = 0;
    for kind in KINDS {
        let model = model(kind, Processing::Folded);
        let exists =
            |(from, at): &(Hook, Hook)| from.check(&config(kind)).is_ok() && at.check(&config(kind)).is_ok();
        for (from, at) in places().into_iter().filter(exists) {
            // What is looked at is changed itself, so that it is not the base's.
            let cut = Edit::new(Site::Z.at(0), Change::Zero).units([1]).positions(Positions::From(2));
            for positions in [Positions::All, Positions::From(3), Positions::At(vec![2, 7])] {
                let (plain, read) = edited(&model, vec![cut.clone()], vec![from, at]);
                let value = Change::Set(Value::Tensor(mixed(&read[0], &read[1])));
                let by_hand = vec![cut.clone(), Edit::new(at, value).positions(positions.clone())];
                let (expected, _) = edited(&model, by_hand, vec![]);
                assert!(distance(&plain, &expected) > 1e-3, "{from} {at}: it changes something");
                let edits = vec![cut.clone(), looking(from, at, positions.clone())];
                let (found, _) = edited(&model, edits.clone(), vec![]);
                assert!(distance(&found, &expected) < TOLERANCE, "{kind:?} {from} {at} {positions:?}");
                let last = expected.get(TOKENS.len() - 1).unwrap();
                let d = distance(&lane(&model, edits.clone()), &last);
                assert!(d < TOLERANCE, "lanes: {kind:?} {from} {at} {positions:?}: {d}");
                let mut stream = Stream::new(&model, &edits, TOKENS.len()).unwrap();
                let fed: Vec<Tensor> = [&TOKENS[..3], &TOKENS[3..4], &TOKENS[4..]]
                    .map(|tokens| stream.feed(tokens).unwrap())
                    .into();
                let d = distance(&Tensor::cat(&fed, 0).unwrap(), &expected);
                assert!(d < TOLERANCE, "a stream: {kind:?} {from} {at} {positions:?}: {d}");
                tried += 1;
            }
        }
    }
    assert!(tried > 30);
}

#[test]
fn rows_that_are_not_there_yet_or_are_no_rows_are_refused() {
    let model = model(Kind::Full, Processing::Raw);
    let message = |from: Hook, at: Hook| {
        let edits = vec![looking(from, at, Positions::All)];
        model.run(&TOKENS, &RunOptions { edits, ..Default::default() }).unwrap_err().to_string()
    };
    let later = message(Site::MlpOut.at(1), Site::MlpIn.at(1));
    assert!(later.contains("blocks.1.hook_mlp_out") && later.contains("fires later"), "{later}");
    assert!(message(Site::ResidPre.at(2), Site::ResidPost.at(1)).contains("fires later"));
    assert!(message(Site::Pattern.at(0), Site::AttnOut.at(1)).contains("no row for each position"));
    assert!(message(Site::ResidPre.at(3), Site::ResidPost.at(2)).contains("layer 3"));
}
