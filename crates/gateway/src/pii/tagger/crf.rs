//! Linear-chain conditional random field (Lafferty, McCallum and Pereira 2001): forward-backward and Viterbi.

/// The tags: none, person, place, organisation, address.
pub const TAGS: usize = 5;
/// The scores of the tags of a token.
pub type Scores = [f32; TAGS];
/// The scores of one tag after another: `[before][after]`.
pub type Transitions = [Scores; TAGS];

/// Returns the most probable tags, given as their scores per token.
#[must_use]
pub fn viterbi(scores: &[Scores], transitions: &Transitions) -> Vec<usize> {
    let mut best: Vec<Scores> = Vec::with_capacity(scores.len());
    let mut from: Vec<[usize; TAGS]> = Vec::with_capacity(scores.len());
    for (i, own) in scores.iter().enumerate() {
        let (mut now, mut back) = (*own, [0; TAGS]);
        if i > 0 {
            for tag in 0..TAGS {
                let reach = |before: usize| best[i - 1][before] + transitions[before][tag];
                let before = (1..TAGS).fold(0, |a, b| if reach(b) > reach(a) { b } else { a });
                now[tag] += reach(before);
                back[tag] = before;
            }
        }
        best.push(now);
        from.push(back);
    }
    let Some(last) = best.last() else { return Vec::new() };
    let mut tag = (1..TAGS).fold(0, |a, b| if last[b] > last[a] { b } else { a });
    let mut out = vec![0; scores.len()];
    for i in (0..scores.len()).rev() {
        out[i] = tag;
        tag = from[i][tag];
    }
    out
}

/// The marginal probabilities of a sequence.
#[derive(Debug)]
pub struct Marginals {
    /// The probability of each tag of each token.
    pub tags: Vec<Scores>,
    /// The expected number of each transition.
    pub transitions: Transitions,
}

/// Computes the marginals by forward-backward with scaling. `allowed` restricts the tags of each token, as bits.
#[must_use]
pub fn marginals(scores: &[Scores], transitions: &Transitions, allowed: Option<&[u8]>) -> Marginals {
    let n = scores.len();
    let moved = transitions.map(|row| row.map(f32::exp));
    let emitted: Vec<Scores> = scores
        .iter()
        .enumerate()
        .map(|(i, own)| {
            let most = own.iter().copied().fold(f32::MIN, f32::max);
            let mask = allowed.map_or(u8::MAX, |a| a[i]);
            let mut out = own.map(|s| (s - most).max(-60.0).exp());
            for (tag, value) in out.iter_mut().enumerate() {
                if mask >> tag & 1 == 0 {
                    *value = 0.0;
                }
            }
            out
        })
        .collect();
    let mut forward: Vec<Scores> = Vec::with_capacity(n);
    for i in 0..n {
        let mut now = emitted[i];
        if i > 0 {
            for tag in 0..TAGS {
                now[tag] *= (0..TAGS).map(|before| forward[i - 1][before] * moved[before][tag]).sum::<f32>();
            }
        }
        forward.push(normalised(now));
    }
    let mut tags = vec![[0.0; TAGS]; n];
    let mut expected = [[0.0; TAGS]; TAGS];
    let mut backward = [1.0; TAGS];
    for i in (0..n).rev() {
        let mut both = [0.0; TAGS];
        (0..TAGS).for_each(|tag| both[tag] = forward[i][tag] * backward[tag]);
        tags[i] = normalised(both);
        if i == 0 {
            break;
        }
        let mut before = [0.0; TAGS];
        let mut pairs = [[0.0; TAGS]; TAGS];
        let mut total = 0.0;
        for (a, b) in (0..TAGS * TAGS).map(|k| (k / TAGS, k % TAGS)) {
            let step = moved[a][b] * emitted[i][b] * backward[b];
            before[a] += step;
            pairs[a][b] = forward[i - 1][a] * step;
            total += pairs[a][b];
        }
        if total > 0.0 {
            (0..TAGS * TAGS).for_each(|k| expected[k / TAGS][k % TAGS] += pairs[k / TAGS][k % TAGS] / total);
        }
        backward = normalised(before);
    }
    Marginals { tags, transitions: expected }
}

fn normalised(values: Scores) -> Scores {
    let sum: f32 = values.iter().sum();
    if sum > 0.0 { values.map(|v| v / sum) } else { values }
}
