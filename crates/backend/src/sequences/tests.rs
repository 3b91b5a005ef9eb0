use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::{Parent, Token, Want};

const PAGE: usize = 4;

/// A model of a sequence as plain lists.
#[derive(Debug, Clone, Default)]
struct Model {
    accepted: Vec<u32>,
    /// The parent and the token of each pending draft.
    drafts: Vec<(Option<usize>, u32)>,
}

impl Model {
    /// Returns the tokens from the start of the sequence to draft `node`, or to the last accepted one.
    fn path(&self, node: Option<usize>) -> Vec<u32> {
        let mut tail = Vec::new();
        let mut at = node;
        while let Some(i) = at {
            tail.push(self.drafts[i].1);
            at = self.drafts[i].0;
        }
        tail.reverse();
        [&self.accepted[..], &tail].concat()
    }
}

/// A cache whose cells hold the tokens of their whole path, so that a wrong cell cannot be mistaken for the right
/// one.
#[derive(Default)]
struct Fake {
    cells: HashMap<(usize, u32, u32), Vec<u32>>,
}

impl Fake {
    fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::CopyPage { group, from, to, cells } => {
                for slot in 0..PAGE as u32 {
                    self.cells.remove(&(group, to, slot));
                }
                for slot in 0..cells {
                    let content = self.cells[&(group, from, slot)].clone();
                    self.cells.insert((group, to, slot), content);
                }
            }
            Edit::CopyCell { group, from, to } => {
                let content = self.cells[&(group, from.0, from.1)].clone();
                self.cells.insert((group, to.0, to.1), content);
            }
        }
    }
}

struct World {
    real: Sequences,
    groups: Vec<CacheKind>,
    context: usize,
    fake: Fake,
    models: Vec<(SequenceId, Model)>,
    next_token: u32,
}

impl World {
    fn new(groups: &[CacheKind], context: usize, slack: usize) -> Self {
        Self {
            real: Sequences::new(groups, PAGE, context, slack),
            groups: groups.to_vec(),
            context,
            fake: Fake::default(),
            models: Vec::new(),
            next_token: 0,
        }
    }

    fn open(&mut self) {
        let id = self.real.open();
        self.models.push((id, Model::default()));
    }

    fn token(&mut self) -> u32 {
        self.next_token += 1;
        self.next_token
    }

    /// Runs rows `(sequence index, parents)`, checks what every row sees, and updates the model.
    fn step(&mut self, parts: &[(usize, Vec<Parent>)]) {
        let mut batch = Batch::default();
        let mut paths: Vec<Vec<u32>> = Vec::new();
        let mut after = self.models.clone();
        for (s, parents) in parts {
            let first_row = batch.rows();
            let pending = after[*s].1.drafts.len();
            for &parent in parents {
                let token = self.token();
                let model = &mut after[*s].1;
                let node = match parent {
                    Parent::Previous => model.drafts.len().checked_sub(1),
                    Parent::Accepted => None,
                    Parent::Row(i) => Some(pending + i as usize - first_row),
                    Parent::Draft(i) => Some(i as usize),
                };
                model.drafts.push((node, token));
                paths.push(model.path(Some(model.drafts.len() - 1)));
                batch.push(after[*s].0, Token::Id(token), parent, Want::NOTHING);
            }
            if pending == 0 && parents.iter().all(|&p| p == Parent::Previous) {
                let model = &mut after[*s].1;
                model.accepted = paths[paths.len() - 1].clone();
                model.drafts.clear();
            }
        }
        let step = match self.real.step(&batch) {
            Ok(step) => step,
            Err(BackendError::ContextFull { wanted, limit, .. }) => {
                assert_eq!(limit, self.context);
                assert!(wanted > limit && paths.iter().any(|p| p.len() == wanted));
                return;
            }
            Err(other) => panic!("{other}"),
        };
        assert!(paths.iter().all(|p| p.len() <= self.context), "a step beyond the context was taken");
        self.check(&step, &paths);
        self.models = after;
    }

    fn check(&mut self, step: &Step, paths: &[Vec<u32>]) {
        for &edit in &step.edits {
            self.fake.edit(edit);
        }
        assert_eq!(
            step.segments.iter().flat_map(|s| s.rows.clone()).collect::<Vec<_>>(),
            (0..step.rows()).collect::<Vec<_>>()
        );
        let segment_of: Vec<usize> =
            step.segments.iter().enumerate().flat_map(|(i, s)| s.rows.clone().map(move |_| i)).collect();
        let place = |g: usize, row: usize, cell: u32| {
            let group = &step.groups[g];
            let table = &group.pages[group.tables[segment_of[row]].clone()];
            let page = table[cell as usize / PAGE];
            assert!(page < group.page_count, "cell {cell} of row {row} is in page {page}");
            (g, page, cell % PAGE as u32)
        };
        for g in 0..self.groups.len() {
            for (row, path) in paths.iter().enumerate() {
                assert_eq!(step.positions[row] as usize, path.len() - 1);
                self.fake.cells.insert(place(g, row, step.cells[row]), path.clone());
            }
        }
        for (g, kind) in self.groups.iter().enumerate() {
            for (row, path) in paths.iter().enumerate() {
                let seen = &step.groups[g].seen[row];
                assert!(seen.first < seen.end, "the contiguous part is never empty");
                let extra = &step.groups[g].extra[seen.extra.start as usize..seen.extra.end as usize];
                let cells: Vec<u32> = (seen.first..seen.end).chain(extra.iter().copied()).collect();
                let low = first_seen(*kind, path.len() - 1);
                let expected: Vec<&[u32]> = (low..path.len()).map(|p| &path[..=p]).collect();
                let found: Vec<&[u32]> = cells.iter().map(|&c| &self.fake.cells[&place(g, row, c)][..]).collect();
                assert_eq!(found, expected, "group {g}, row {row}");
                assert_eq!(cells.last(), Some(&step.cells[row]), "the row's own cell comes last");
            }
        }
    }

    fn accept(&mut self, s: usize, leaf: Option<usize>) {
        let (id, model) = &mut self.models[s];
        let mut path = Vec::new();
        let mut at = leaf;
        while let Some(i) = at {
            path.push(i as u32);
            at = model.drafts[i].0;
        }
        path.reverse();
        self.real.accept(*id, &path).expect("a path of the tree");
        model.accepted = model.path(leaf);
        model.drafts.clear();
    }

    fn truncate(&mut self, s: usize, len: usize) -> usize {
        let (id, model) = &mut self.models[s];
        let found = self.real.truncate(*id, len).expect("open").len;
        assert!(found == len.min(model.accepted.len()) || found == 0);
        model.accepted.truncate(found);
        model.drafts.clear();
        assert_eq!(self.real.len(*id).expect("open"), found);
        found
    }

    fn fork(&mut self, s: usize) {
        let id = self.real.fork(self.models[s].0).expect("open");
        let accepted = self.models[s].1.accepted.clone();
        self.models.push((id, Model { accepted, drafts: Vec::new() }));
    }

    fn close(&mut self, s: usize) {
        let (id, _) = self.models.remove(s);
        self.real.close(id).expect("open");
    }

    fn chain(&mut self, s: usize, rows: usize) {
        self.step(&[(s, vec![Parent::Previous; rows])]);
    }
}

const KINDS: [CacheKind; 3] = [CacheKind::Full, CacheKind::Window(6), CacheKind::Window(1)];

#[derive(Debug, Clone)]
enum Action {
    Open,
    Close(usize),
    Fork(usize),
    /// Sequences and, for each row, the choice of its parent.
    Step(Vec<(usize, Vec<u8>)>),
    Chain(usize, usize),
    Accept(usize, usize),
    Truncate(usize, usize),
}

fn action() -> impl Strategy<Value = Action> {
    let seq = 0usize..4;
    prop_oneof![
        1 => Just(Action::Open),
        1 => seq.clone().prop_map(Action::Close),
        2 => seq.clone().prop_map(Action::Fork),
        6 => prop::collection::vec((seq.clone(), prop::collection::vec(any::<u8>(), 1..7)), 1..4).prop_map(Action::Step),
        4 => (seq.clone(), 1usize..12).prop_map(|(s, n)| Action::Chain(s, n)),
        5 => (seq.clone(), 0usize..40).prop_map(|(s, n)| Action::Accept(s, n)),
        2 => (seq, 0usize..40).prop_map(|(s, n)| Action::Truncate(s, n)),
    ]
}

/// Returns the parent for `choice` in a batch whose rows of this sequence begin at `first`.
fn parent(choice: u8, row: usize, first: usize, pending: usize) -> Parent {
    let pick = choice as usize / 4;
    match choice % 4 {
        1 => Parent::Accepted,
        2 if row > first => Parent::Row((first + pick % (row - first)) as u32),
        3 if pending > 0 => Parent::Draft((pick % pending) as u32),
        _ => Parent::Previous,
    }
}

fn run(world: &mut World, action: Action) {
    let n = world.models.len();
    match action {
        Action::Open if n < 5 => world.open(),
        Action::Close(s) if n > 1 => world.close(s % n),
        Action::Fork(s) if (1..5).contains(&n) => world.fork(s % n),
        Action::Chain(s, rows) if n > 0 => world.chain(s % n, rows),
        Action::Truncate(s, len) if n > 0 => drop(world.truncate(s % n, len)),
        Action::Accept(s, leaf) if n > 0 => {
            let drafts = world.models[s % n].1.drafts.len();
            world.accept(s % n, leaf.checked_sub(1).filter(|_| drafts > 0).map(|leaf| leaf % drafts));
        }
        Action::Step(parts) if n > 0 => {
            let mut rows: Vec<(usize, Vec<Parent>)> = Vec::new();
            let mut first = 0;
            for (s, choices) in parts {
                if rows.iter().any(|r| r.0 == s % n) {
                    continue;
                }
                let pending = world.models[s % n].1.drafts.len();
                let parents = choices.iter().enumerate().map(|(i, &c)| parent(c, first + i, first, pending)).collect();
                first += choices.len();
                rows.push((s % n, parents));
            }
            world.step(&rows);
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_row_sees_exactly_its_ancestors(
        actions in prop::collection::vec(action(), 1..60),
        context in 8usize..60,
        slack in 0usize..6,
    ) {
        let mut world = World::new(&KINDS, context, slack);
        world.open();
        for action in actions {
            run(&mut world, action);
        }
        for (id, model) in &world.models {
            prop_assert_eq!(world.real.len(*id).expect("open"), model.accepted.len());
            prop_assert_eq!(world.real.pending(*id).expect("open"), model.drafts.len());
        }
        while !world.models.is_empty() {
            world.close(0);
        }
        for g in 0..KINDS.len() {
            prop_assert_eq!(world.real.pages_held(g), 0, "pages leak from group {}", g);
        }
    }
}

#[test]
fn a_long_prefill_then_decode_drops_window_pages() {
    let mut world = World::new(&KINDS, 1000, 3);
    world.open();
    world.chain(0, 101);
    for _ in 0..60 {
        world.chain(0, 1);
    }
    assert_eq!(world.real.pages_held(0), 161usize.div_ceil(PAGE));
    // The last 6 positions and 3 of slack touch at most 4 pages of 4.
    assert!(world.real.pages_held(1) <= 4, "{} pages", world.real.pages_held(1));
}

#[test]
fn truncation_within_the_slack_keeps_the_tokens_and_beyond_it_starts_anew() {
    let mut world = World::new(&KINDS, 1000, 8);
    world.open();
    world.chain(0, 50);
    assert_eq!(world.truncate(0, 42), 42);
    world.chain(0, 3);
    assert_eq!(world.truncate(0, 20), 0, "the window's pages are gone");
    world.chain(0, 7);
    assert_eq!(world.truncate(0, 99), 7, "nothing to forget");

    let mut full = World::new(&[CacheKind::Full], 1000, 0);
    full.open();
    full.chain(0, 50);
    assert_eq!(full.truncate(0, 1), 1);
    full.chain(0, 2);
}

#[test]
fn a_tree_is_accepted_and_compacted() {
    let mut world = World::new(&KINDS, 1000, 8);
    world.open();
    world.chain(0, 6);
    // 6 -+- a0 - a1 - a2
    //    +- b0 - b1
    use Parent::{Accepted, Draft, Previous, Row};
    world.step(&[(0, vec![Accepted, Row(0), Row(1), Accepted, Row(3)])]);
    // A second round continues the end of branch a, which is draft 2.
    world.step(&[(0, vec![Draft(2), Previous, Accepted])]);
    world.fork(0);
    world.accept(0, Some(6));
    assert_eq!(world.models[0].1.accepted.len(), 6 + 5);
    // The fork saw none of it. Both continue and share the tokens they had.
    world.step(&[(0, vec![Previous]), (1, vec![Previous, Previous, Previous])]);
    world.chain(0, 9);
}

#[test]
fn forks_share_pages_until_they_write() {
    let mut world = World::new(&[CacheKind::Full], 1000, 0);
    world.open();
    world.chain(0, 10);
    world.fork(0);
    world.fork(0);
    assert_eq!(world.real.pages_held(0), 3);
    world.step(&[(0, vec![Parent::Previous]), (1, vec![Parent::Previous]), (2, vec![Parent::Previous])]);
    assert_eq!(world.real.pages_held(0), 5, "two full pages shared, three last ones");
    world.close(0);
    world.chain(0, 4);
}

#[test]
fn a_chain_of_drafts_needs_no_extra_cells() {
    let mut sequences = Sequences::new(&[CacheKind::Full], PAGE, 100, 4);
    let id = sequences.open();
    let mut batch = Batch::default();
    batch.extend(id, &[1, 2, 3], Want::NOTHING);
    sequences.step(&batch).expect("valid");
    let mut draft = Batch::default();
    for (row, parent) in [Parent::Accepted, Parent::Row(0), Parent::Previous].into_iter().enumerate() {
        draft.push(id, Token::Id(row as u32), parent, Want::NOTHING);
    }
    let step = sequences.step(&draft).expect("valid");
    assert_eq!(step.positions, [3, 4, 5]);
    assert!(step.groups[0].extra.is_empty());
    assert_eq!(sequences.pending(id).expect("open"), 3);
    sequences.accept(id, &[0, 1]).expect("a path");
    let step = sequences.step(&batch).expect("valid");
    assert!(step.edits.is_empty(), "a straight path stands where it belongs");
    assert_eq!(step.cells, [5, 6, 7]);
}

/// Formats everything that a step could change.
fn state(sequences: &Sequences) -> String {
    format!("{sequences:?}")
}

#[test]
fn a_refused_batch_changes_nothing() {
    use Parent::{Accepted, Draft, Previous, Row};
    let mut sequences = Sequences::new(&KINDS, PAGE, 10, 2);
    let (a, b) = (sequences.open(), sequences.open());
    let mut batch = Batch::default();
    batch.extend(a, &[1, 2, 3, 4, 5], Want::NOTHING);
    sequences.step(&batch).expect("valid");
    let mut tree = Batch::default();
    tree.push(a, Token::Id(1), Accepted, Want::NOTHING);
    tree.push(a, Token::Id(2), Accepted, Want::NOTHING);
    sequences.step(&tree).expect("valid");
    let before = state(&sequences);

    let rows = |rows: &[(SequenceId, Parent)]| {
        let mut batch = Batch::default();
        for &(id, parent) in rows {
            batch.push(id, Token::Id(0), parent, Want::NOTHING);
        }
        batch
    };
    let mut ragged = rows(&[(a, Previous)]);
    ragged.want.clear();
    let unknown = SequenceId(77);
    let cases = [
        (Batch::default(), "invalid-batch"),
        (ragged, "invalid-batch"),
        (rows(&[(b, Previous), (a, Previous), (b, Previous)]), "invalid-batch"),
        (rows(&[(b, Previous), (unknown, Previous)]), "unknown-sequence"),
        (rows(&[(b, Previous), (a, Row(0))]), "invalid-batch"),
        (rows(&[(b, Previous), (b, Row(1))]), "invalid-batch"),
        (rows(&[(b, Previous), (b, Row(9))]), "invalid-batch"),
        (rows(&[(b, Previous), (a, Draft(2))]), "invalid-batch"),
        (rows(&[(b, Draft(0))]), "invalid-batch"),
        (rows(&[(b, Previous), (a, Draft(0)), (a, Row(1)), (a, Row(2)), (a, Row(3)), (a, Row(4))]), "context-full"),
    ];
    for (batch, code) in cases {
        assert_eq!(sequences.step(&batch).expect_err(code).code(), code);
        assert_eq!(state(&sequences), before);
    }
    for path in [&[2][..], &[0, 1], &[0, 0], &[1, 0]] {
        assert_eq!(sequences.accept(a, path).expect_err("no such path").code(), "invalid-path");
        assert_eq!(state(&sequences), before);
    }
    for refused in [
        sequences.accept(unknown, &[]),
        sequences.close(unknown),
        sequences.truncate(unknown, 0).map(drop),
        sequences.fork(unknown).map(drop),
        sequences.len(unknown).map(drop),
    ] {
        assert_eq!(refused.expect_err("not open").code(), "unknown-sequence");
    }
    assert_eq!(state(&sequences), before);
}

#[test]
fn a_step_that_the_device_refuses_changes_nothing() {
    let mut sequences = Sequences::new(&KINDS, PAGE, 10, 2);
    let id = sequences.open();
    let mut batch = Batch::default();
    batch.extend(id, &[1, 2, 3], Want::NOTHING);
    let before = state(&sequences);
    let refused: Result<(), BackendError> = sequences.step_with(&batch, |step| {
        assert_eq!(step.rows(), 3);
        Err(BackendError::OutOfMemory { device: "test".into(), wanted: 1, what: "pages".into() })
    });
    assert_eq!(refused.expect_err("refused").code(), "out-of-memory");
    assert_eq!(state(&sequences), before);
    sequences.step_with(&batch, |_| Ok::<_, BackendError>(())).expect("taken");
    assert_eq!(sequences.len(id).expect("open"), 3);
}

#[test]
fn the_context_fills_to_its_last_token() {
    let mut sequences = Sequences::new(&[CacheKind::Full], PAGE, 5, 0);
    let id = sequences.open();
    let mut batch = Batch::default();
    batch.extend(id, &[1, 2, 3, 4, 5], Want::NOTHING);
    sequences.step(&batch).expect("five fit");
    let mut one = Batch::default();
    one.extend(id, &[6], Want::NOTHING);
    let error = sequences.step(&one).expect_err("the sixth does not");
    assert_eq!(error.to_string(), "sequence 0 would have 6 tokens, its context holds 5");
}

#[test]
fn the_rows_of_an_encoder_see_their_whole_text_and_nothing_follows() {
    let mut sequences = Sequences::new(&[CacheKind::Bidirectional], PAGE, 10, 4);
    let (a, b) = (sequences.open(), sequences.open());
    let mut batch = Batch::default();
    batch.extend(a, &[1, 2, 3, 4, 5], Want::NOTHING);
    batch.extend(b, &[6, 7], Want::NOTHING);
    let step = sequences.step(&batch).expect("two texts");
    let seen: Vec<_> = step.groups[0].seen.iter().map(|seen| (seen.first, seen.end, seen.extra.len())).collect();
    assert_eq!(seen, [vec![(0, 5, 0); 5], vec![(0, 2, 0); 2]].concat());
    assert_eq!((step.positions, step.cells), (vec![0, 1, 2, 3, 4, 0, 1], vec![0, 1, 2, 3, 4, 0, 1]));

    let mut more = Batch::default();
    more.extend(b, &[8], Want::NOTHING);
    let before = state(&sequences);
    assert_eq!(sequences.step(&more).expect_err("the text is complete").code(), "invalid-batch");
    assert_eq!(state(&sequences), before);
    let mut draft = Batch::default();
    let c = sequences.open();
    draft.push(c, Token::Id(1), Parent::Accepted, Want::NOTHING);
    assert_eq!(sequences.step(&draft).expect_err("no drafts").code(), "invalid-batch");

    assert_eq!(sequences.truncate(a, 5).expect("open"), Truncated { len: 5 });
    assert_eq!(sequences.truncate(a, 4).expect("open"), Truncated { len: 0 }, "all rows have seen the dropped one");
    let mut again = Batch::default();
    again.extend(a, &[9; 10], Want::NOTHING);
    sequences.step(&again).expect("a text of the whole context");
    let mut long = Batch::default();
    long.extend(c, &[9; 11], Want::NOTHING);
    assert_eq!(sequences.step(&long).expect_err("one token too many").code(), "context-full");
}
