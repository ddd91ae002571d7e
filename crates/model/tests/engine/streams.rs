//! Generation with kept keys and values equals rerunning the whole text.

use microtome_model::{Change, Edit, Positions, Processing, RunOptions, Site, Stream};

use crate::toy::{KINDS, Kind, distance, model};

#[test]
fn a_stream_equals_rerunning_the_text_whatever_is_edited() {
    for kind in KINDS {
        let model = model(kind, Processing::Folded);
        let pattern = |change| vec![Edit::new(Site::Pattern.at(1), change).units([1])];
        let edits = [
            vec![],
            vec![
                Edit::new(Site::Z.at(0), Change::Zero).units([0]),
                Edit::new(Site::Z.at(2), Change::Zero).units([1]),
            ],
            pattern(Change::Uniform),
            pattern(Change::Zero),
            pattern(Change::Random { seed: 5 }),
            [pattern(Change::Previous), vec![Edit::new(Site::Pattern.at(2), Change::Previous)]].concat(),
            vec![Edit::new(Site::ResidPost.at(1), Change::Scale(0.7)).positions(Positions::From(4))],
            vec![Edit::new(Site::ResidPost.at(1), Change::Zero).positions(Positions::At(vec![2, 6]))],
        ];
        for edits in edits {
            let tokens = [3u32, 1, 4, 1, 5, 9, 2, 6];
            let mut stream = Stream::new(&model, &edits, tokens.len()).unwrap();
            let mut fed = 0;
            for step in [3, 1, 1, 2, 1] {
                let logits = stream.feed(&tokens[fed..fed + step]).unwrap();
                fed += step;
                // Positions past the text so far cannot be named in a plain run of it.
                let whole =
                    model.run(&tokens, &RunOptions { edits: edits.clone(), ..Default::default() }).unwrap();
                let expected = whole.logits().unwrap().narrow(0, fed - step, step).unwrap();
                let d = distance(&logits, &expected);
                assert!(d < 1e-10, "{kind:?} {edits:?} after {fed}: {d}");
            }
            assert_eq!(stream.tokens(), tokens);
        }
    }
}

#[test]
fn the_last_position_of_a_growing_text_is_refused_as_ambiguous() {
    let model = model(Kind::Full, Processing::Raw);
    let edit = Edit::new(Site::Z.at(0), Change::Zero).positions(Positions::Last);
    assert!(Stream::new(&model, &[edit], 8).err().unwrap().to_string().contains("ambiguous"));
    assert!(Stream::new(&model, &[], 13).is_err(), "past the context");
}
