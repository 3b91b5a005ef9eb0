//! The choice of the tokens to verify: those that give the most tokens per second by the measured costs.

use super::costs::StepCosts;

/// The gain over plain decoding that speculation must promise.
const MARGIN: f64 = 1.05;
/// The share of the time of plain decoding that may be spent on trying speculation again.
const RETRY: f64 = 0.008;
/// The number of steps for whose retries time is saved up.
const SAVED: f64 = 12.0;
/// The largest depth of a model's drafts.
pub(crate) const DEEPEST: usize = 8;
/// The time of a draft model's step relative to the model's, before it was measured.
const MODEL: f64 = 0.25;
/// The largest number of rows of a first measurement of the draft model.
const FEW: usize = 4;
/// The number of steps' time that drafts of a model may lose in all before they must be paid for like retries, and the number
/// that an earlier gain lets them lose.
const LOST: f64 = 2.0;
const GAINED: f64 = 4.0;
/// The number of tokens for which it is assumed that an answer goes on, at most.
const GOES_ON: usize = 128;

/// The speed that a plan promises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    /// The number of draft nodes, or the depth of a model's drafts.
    pub size: usize,
    /// The expected tokens per second.
    pub rate: f64,
}

/// The facts that decide whether a draft model is used for an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// The probability that a token of the model is accepted.
    pub accept: f64,
    /// The number of tokens that the draft model has not yet seen, at least 1.
    pub behind: usize,
    /// The largest number of tokens that can follow.
    pub left: usize,
    /// The largest depth.
    pub most: usize,
}

/// The measured costs and the choices that follow from them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    /// The steps of the model.
    pub target: StepCosts,
    /// The steps of the draft model.
    pub model: StepCosts,
    /// The seconds that may be spent on retries.
    saved: f64,
    /// The seconds that the drafts of the draft model have gained so far.
    gained: f64,
    /// `true` once a step without drafts has shown the speed of the machine.
    has_begun: bool,
}

impl Policy {
    /// Notes the time of a step of the model with `rows` rows for `answers` answers.
    pub fn measured(&mut self, answers: usize, rows: usize, seconds: f64) {
        self.has_begun |= answers == rows;
        if self.has_begun {
            self.target.measured(rows, seconds);
        }
    }

    /// Notes the time of a step of the draft model.
    pub fn model_measured(&mut self, rows: usize, seconds: f64) {
        // The many rows of a prompt tell little about the cost of one.
        if self.model.is_known() || rows <= FEW {
            self.model.measured(rows, seconds);
        }
    }

    /// Returns the tokens per second of `answers` answers without drafts.
    pub fn plain(&self, answers: usize) -> f64 {
        answers as f64 / self.target.seconds(answers)
    }

    /// Chooses the number of nodes to verify for `answers` answers. `chances` are the probabilities of all nodes, in
    /// descending order, and `spent` the seconds that proposing them took.
    pub fn nodes(&self, answers: usize, chances: &[f64], spent: f64) -> Plan {
        let plain = Plan { size: 0, rate: answers as f64 / (self.target.seconds(answers) + spent) };
        let best = self.best_of(answers, chances, spent);
        if self.has_begun && best.rate > plain.rate * MARGIN { best } else { plain }
    }

    /// Returns the best number of nodes above 0; a rate of 0 if there are none.
    fn best_of(&self, answers: usize, chances: &[f64], spent: f64) -> Plan {
        let mut best = Plan { size: 0, rate: 0.0 };
        let mut expected = answers as f64;
        for (i, chance) in chances.iter().enumerate() {
            expected += chance;
            let rate = expected / (self.target.seconds(answers + i + 1) + spent);
            if rate > best.rate {
                best = Plan { size: i + 1, rate };
            }
        }
        best
    }

    /// Returns the number of nodes to try although they do not promise to pay, because what is known may be out of date; 0
    /// while the time that was saved up for this is too short. A step without nodes saves some.
    pub fn retry(&mut self, answers: usize, chances: &[f64]) -> usize {
        let step = self.target.seconds(answers);
        let best = self.best_of(answers, chances, 0.0);
        if best.size > 0 && self.has_begun {
            let expected: f64 = chances[..best.size].iter().sum();
            let loss = self.target.seconds(answers + best.size) - step * (1.0 + expected / answers as f64);
            if self.pay(loss.max(step * 0.05)) {
                return best.size;
            }
        }
        self.saved = (self.saved + RETRY * step).min(SAVED * step);
        0
    }

    fn pay(&mut self, seconds: f64) -> bool {
        let is_paid = self.saved >= seconds;
        if is_paid {
            self.saved -= seconds;
        }
        is_paid
    }

    /// Notes the seconds in which the draft model wrote, for `answers` answers, and the number of its tokens that are verified.
    pub fn drafted(&mut self, answers: usize, seconds: f64, nodes: usize) {
        let rows = self.target.seconds(answers + nodes) - self.target.seconds(answers);
        self.gain(-(seconds + rows));
    }

    /// Notes the number of the draft model's tokens that an answer drew in a step of `answers` answers.
    pub fn accepted(&mut self, answers: usize, tokens: usize) {
        self.gain(tokens as f64 / self.plain(answers));
    }

    fn gain(&mut self, seconds: f64) {
        let step = self.target.seconds(1);
        self.gained = (self.gained + seconds).clamp(-LOST * step, GAINED * step);
    }

    fn model_seconds(&self, rows: usize) -> f64 {
        if self.model.is_known() { self.model.seconds(rows) } else { MODEL * self.target.seconds(rows) }
    }

    /// Chooses the depth of a draft model's drafts for some of `answers` answers; 0 if they do not pay. The other answers
    /// have `others` nodes, of which `expected` are accepted.
    pub fn depth(&mut self, answers: usize, asks: &[Candidate], others: (usize, f64)) -> Plan {
        let plain = self.nodes_or_plain(answers, others);
        if asks.is_empty() || !self.has_begun {
            return plain;
        }
        let now: usize = asks.iter().map(|ask| ask.behind.min(2)).sum();
        let all: usize = asks.iter().map(|ask| ask.behind).sum();
        let catching_up = self.model_seconds(all) - self.model_seconds(now);
        let left = asks.iter().map(|ask| ask.left.min(GOES_ON)).sum::<usize>() as f64 / asks.len() as f64;
        let mut best = (Plan { size: 0, rate: 0.0 }, 0.0);
        for depth in 1..=DEEPEST {
            let rows: usize = asks.iter().map(|ask| depth.min(ask.most)).sum();
            let gained = |ask: &Candidate| (1..=depth.min(ask.most)).map(|d| ask.accept.powi(d as i32)).sum::<f64>();
            let gain: f64 = asks.iter().map(gained).sum();
            let tokens = answers as f64 + gain + others.1;
            let steps = (left / (1.0 + gain / asks.len() as f64)).max(1.0);
            let drafting = self.model_seconds(now) + (depth - 1) as f64 * self.model_seconds(asks.len());
            let verifying = self.target.seconds(answers + rows + others.0);
            let rate = tokens / (verifying + drafting + catching_up / steps);
            if rate > best.0.rate {
                best = (Plan { size: depth, rate }, verifying + drafting + catching_up - tokens / plain.rate);
            }
        }
        let (best, loss) = best;
        // Estimates can be wrong for long where texts change. What was lost is known.
        let may_lose = self.gained > -LOST * self.target.seconds(1);
        if (may_lose && best.rate > plain.rate * MARGIN) || self.pay(loss.max(0.05 * self.target.seconds(answers))) {
            return best;
        }
        plain
    }

    fn nodes_or_plain(&self, answers: usize, (nodes, expected): (usize, f64)) -> Plan {
        Plan { size: 0, rate: (answers as f64 + expected) / self.target.seconds(answers + nodes) }
    }

    /// Returns the drafts for which one more token of the draft model pays. `chances` are the probabilities that these tokens
    /// are reached and accepted, `rows` the rows of the step so far.
    pub fn goes_on(&self, chances: &[f64], answers: usize, rows: usize) -> Vec<bool> {
        let token = 1.0 / self.plain(answers);
        let row = self.target.seconds(rows + 1) - self.target.seconds(rows);
        let pays: Vec<bool> = chances.iter().map(|chance| chance * token > row).collect();
        let gains = chances.iter().zip(&pays).filter(|(_, pays)| **pays);
        let (count, gain) = gains.fold((0, 0.0), |(n, sum), (chance, _)| (n + 1, sum + chance * token - row));
        if count > 0 && gain > self.model_seconds(count) { pays } else { vec![false; chances.len()] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a policy for a model whose step of `n` rows takes `1 + row * (n - 1)` units.
    fn policy(row: f64, model: f64) -> Policy {
        let mut policy = Policy::default();
        for rows in (0..200).flat_map(|_| [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16]) {
            let cost = 0.01 * (1.0 + row * (rows - 1) as f64);
            policy.measured(rows, rows, cost);
            policy.model_measured(rows, model * cost);
        }
        policy
    }

    fn chain(accept: f64, len: i32) -> Vec<f64> {
        (1..=len).map(|depth| accept.powi(depth)).collect()
    }

    #[test]
    fn likely_and_cheap_tokens_are_verified() {
        let cheap = policy(0.1, 0.2);
        let long = cheap.nodes(1, &chain(0.95, 16), 0.0);
        let short = cheap.nodes(1, &chain(0.5, 16), 0.0);
        assert!(long.size > 8 && (1..=4).contains(&short.size), "{long:?} {short:?}");
        assert!(long.rate > 3.0 * cheap.plain(1), "{long:?}");
        assert_eq!(cheap.nodes(1, &chain(0.05, 16), 0.0).size, 0);
        assert_eq!(cheap.nodes(1, &[], 0.0).size, 0);
    }

    #[test]
    fn rows_that_cost_a_step_are_not_verified() {
        let dear = policy(0.9, 0.2);
        assert_eq!(dear.nodes(1, &chain(0.8, 8), 0.0).size, 0);
        // Many answers fill the device already.
        let cheap = policy(0.3, 0.2);
        assert!(cheap.nodes(1, &chain(0.7, 8), 0.0).size > cheap.nodes(8, &chain(0.25, 8), 0.0).size);
    }

    #[test]
    fn the_promised_rate_is_the_largest() {
        let policy = policy(0.2, 0.2);
        let chances = [0.9, 0.8, 0.7, 0.3, 0.2, 0.1];
        let rate = |n: usize| (2.0 + chances[..n].iter().sum::<f64>()) / policy.target.seconds(2 + n);
        let best = policy.nodes(2, &chances, 0.0);
        assert!((0..=chances.len()).all(|n| rate(n) <= best.rate + 1e-9));
    }

    #[test]
    fn retries_take_a_small_share_of_the_time() {
        let mut policy = policy(0.9, 0.2);
        let chances = chain(0.3, 4);
        let (mut plain, mut tried) = (0.0, 0.0);
        for _ in 0..20_000 {
            match policy.retry(1, &chances) {
                0 => plain += policy.target.seconds(1),
                n => {
                    tried += policy.target.seconds(1 + n)
                        - policy.target.seconds(1) * (1.0 + chances[..n].iter().sum::<f64>())
                }
            }
        }
        assert!(tried > 0.0 && tried < 0.01 * plain, "{tried} of {plain}");
    }

    #[test]
    fn a_draft_model_is_used_as_deep_as_it_pays() {
        let ask = |accept| Candidate { accept, behind: 2, left: 100, most: 20 };
        let mut good = policy(0.1, 0.1);
        let deep = good.depth(1, &[ask(0.9)], (0, 0.0));
        let flat = good.depth(1, &[ask(0.5)], (0, 0.0));
        assert!(deep.size > flat.size && flat.size >= 1, "{deep:?} {flat:?}");
        assert_eq!(good.depth(1, &[ask(0.02)], (0, 0.0)).size, 0);
        let mut slow = policy(0.1, 0.9);
        assert_eq!(slow.depth(1, &[ask(0.8)], (0, 0.0)).size, 0);
        // A long text that the draft model has not seen does not pay for a short answer.
        let far = Candidate { behind: 4000, left: 3, ..ask(0.9) };
        assert_eq!(good.depth(1, &[far], (0, 0.0)).size, 0);
    }

    #[test]
    fn unlikely_drafts_end() {
        let policy = policy(0.1, 0.2);
        assert_eq!(policy.goes_on(&[0.9, 0.05], 2, 4), [true, false]);
        assert_eq!(policy.goes_on(&[0.1], 1, 4), [false]);
        // Together they pay for a step of the draft model.
        assert_eq!(policy.goes_on(&[0.35, 0.35, 0.35], 1, 4), [true; 3]);
    }

    #[test]
    fn nothing_known_is_a_cautious_start() {
        let mut policy = Policy::default();
        assert_eq!(policy.nodes(1, &chain(0.8, 8), 0.0).size, 0);
        // A step without drafts, of a clock that stands still.
        policy.measured(1, 1, 0.0);
        assert!(policy.nodes(1, &chain(0.8, 8), 0.0).size > 2);
        assert!(policy.depth(1, &[Candidate { accept: 0.7, behind: 10, left: 50, most: 8 }], (0, 0.0)).size > 0);
    }
}
