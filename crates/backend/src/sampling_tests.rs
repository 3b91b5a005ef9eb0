use super::*;

fn how(temperature: f32, top_k: u32, top_p: f32, min_p: f32) -> Sampling {
    Sampling { temperature, top_k, top_p, min_p, seed: 9, stream: 3 }
}

/// Returns `V` logits that resemble a model's, most of them far below a few.
fn logits(v: usize) -> Vec<f32> {
    (0..v).map(|i| 12.0 * uniform(1, 2, i as u64, 0).powi(6) - 2.0 * uniform(1, 2, i as u64, 1)).collect()
}

/// Implements the definition with a full sort.
fn kept_by_definition(logits: &[f32], how: &Sampling) -> Vec<(u32, f64)> {
    let t = f64::from(how.temperature);
    let mut order: Vec<usize> = (0..logits.len()).filter(|&i| !logits[i].is_nan()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    if how.top_k > 0 {
        order.truncate(how.top_k as usize);
    }
    let max = f64::from(logits[order[0]]);
    let mut p: Vec<f64> = order.iter().map(|&i| ((f64::from(logits[i]) - max) / t).exp()).collect();
    let total: f64 = p.iter().sum();
    let mut sum = 0.0;
    let mut nucleus = 0;
    while nucleus < p.len() && (nucleus == 0 || sum < f64::from(how.top_p) * total) {
        sum += p[nucleus];
        nucleus += 1;
    }
    p.truncate(if how.top_p < 1.0 { nucleus } else { p.len() });
    let mut kept: Vec<(u32, f64)> =
        order.iter().zip(p).filter(|(_, w)| *w >= f64::from(how.min_p)).map(|(&i, w)| (i as u32, w)).collect();
    let total: f64 = kept.iter().map(|k| k.1).sum();
    kept.iter_mut().for_each(|k| k.1 /= total);
    kept
}

#[test]
fn greedy_takes_the_lowest_id_among_equals() {
    assert_eq!(choose(&[1.0, 3.0, -1.0, 3.0], &Sampling::GREEDY, 5), 1);
    assert_eq!(choose(&[1.0, 3.0, -1.0, 3.0], &how(0.7, 1, 1.0, 0.0), 5), 1);
    assert_eq!(choose(&[1.0, 3.0, -1.0, 3.0], &how(-1.0, 0, 1.0, 0.0), 5), 1);
    assert_eq!(choose(&[1.0, 3.0, -1.0, 3.0], &how(f32::NAN, 0, 1.0, 0.0), 5), 1);
}

#[test]
fn nan_and_infinite_logits_are_handled() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for position in 0..200 {
        for how in [Sampling::GREEDY, how(2.0, 0, 1.0, 0.0), how(2.0, 2, 0.9, 0.1), how(2.0, 0, 0.5, 0.0)] {
            assert_eq!(choose(&[], &how, position), 0);
            assert_eq!(choose(&[nan, nan], &how, position), 0);
            assert_eq!(choose(&[nan, -inf, -inf], &how, position), 1);
            assert_eq!(choose(&[nan, 0.0, inf, inf], &how, position), 2);
            assert_eq!(choose(&[nan, -inf, 3.0, -inf, nan], &how, position), 2);
            assert!([1, 3].contains(&choose(&[nan, 1.0, -inf, 1.0], &how, position)));
        }
    }
}

#[test]
fn extreme_settings_stay_defined() {
    let logits = logits(300);
    let best = choose(&logits, &Sampling::GREEDY, 0);
    for position in 0..50 {
        assert_eq!(choose(&logits, &how(1e-30, 0, 1.0, 0.0), position), best);
        assert_eq!(choose(&logits, &how(f32::MIN_POSITIVE / 4.0, 0, 1.0, 0.0), position), best);
        assert_eq!(choose(&logits, &how(1.0, 0, 0.0, 0.0), position), best);
        assert_eq!(choose(&logits, &how(1.0, 0, -1.0, 0.0), position), best);
        assert_eq!(choose(&logits, &how(1.0, 0, 1.0, 1.0), position), best);
        assert_eq!(choose(&logits, &how(1.0, 0, 1.0, 7.0), position), best);
        assert!((choose(&logits, &how(f32::INFINITY, 0, 1.0, 0.0), position) as usize) < logits.len());
        assert!((choose(&logits, &how(1.0, u32::MAX, 2.0, 0.0), position) as usize) < logits.len());
    }
}

#[test]
fn draws_follow_the_defined_distribution() {
    const DRAWS: u64 = 20_000;
    let logits = logits(3000);
    let settings = [
        how(1.0, 0, 1.0, 0.0),
        how(0.7, 0, 1.0, 0.0),
        how(1.0, 40, 1.0, 0.0),
        how(1.3, 0, 0.8, 0.0),
        how(1.0, 0, 1.0, 0.05),
        how(0.9, 200, 0.9, 0.02),
    ];
    for how in settings {
        let expected = kept_by_definition(&logits, &how);
        let mut counts = vec![0u64; logits.len()];
        for position in 0..DRAWS {
            counts[choose(&logits, &how, position) as usize] += 1;
        }
        // Tokens with an expected count below 10 are pooled.
        let (mut chi2, mut bins, mut rare, mut rare_expected) = (0.0, 0usize, 0u64, 0.0);
        let mut inside = 0;
        for &(id, p) in &expected {
            let (n, e) = (counts[id as usize], p * DRAWS as f64);
            inside += n;
            if e < 10.0 {
                rare += n;
                rare_expected += e;
            } else {
                chi2 += (n as f64 - e).powi(2) / e;
                bins += 1;
            }
        }
        assert_eq!(inside, DRAWS, "{how:?}: a token was drawn that is not kept");
        if rare_expected > 10.0 {
            chi2 += (rare as f64 - rare_expected).powi(2) / rare_expected;
            bins += 1;
        }
        let freedom = bins as f64 - 1.0;
        assert!(chi2 < freedom + 4.5 * (2.0 * freedom).sqrt(), "{how:?}: chi-square {chi2} of {freedom}");
        assert!(chi2 > freedom - 4.5 * (2.0 * freedom).sqrt(), "{how:?}: chi-square {chi2} of {freedom}");
    }
}

#[test]
fn a_draw_is_the_inverse_of_the_cumulated_probabilities_by_id() {
    let logits = logits(2500);
    for how in [how(1.0, 0, 1.0, 0.0), how(1.0, 50, 1.0, 0.0), how(1.0, 0, 0.9, 0.0), how(1.1, 0, 1.0, 0.03)] {
        let mut kept = kept_by_definition(&logits, &how);
        kept.sort_by_key(|k| k.0);
        for position in 0..300 {
            let u = f64::from(uniform(how.seed, how.stream, position, 0));
            let mut sum = 0.0;
            let edges: Vec<(u32, f64)> = kept
                .iter()
                .map(|&(id, p)| {
                    (id, {
                        sum += p;
                        sum
                    })
                })
                .collect();
            // Rounding can move an edge, so the draw may fall on either side of it.
            let near = |d: f64| edges.iter().find(|e| e.1 > u + d).map_or(edges[edges.len() - 1].0, |e| e.0);
            let token = choose(&logits, &how, position);
            assert!([near(-1e-5), near(0.0), near(1e-5)].contains(&token), "{how:?} at {position}: {token}");
        }
    }
}

#[test]
fn shifting_all_logits_and_other_rows_change_nothing() {
    let a = logits(1000);
    let b: Vec<f32> = a.iter().map(|x| x * 4.0 + 64.0).collect();
    let mut changed = 0;
    for position in 0..500 {
        let token = choose(&a, &how(0.5, 100, 0.95, 0.01), position);
        assert_eq!(token, choose(&a, &how(0.5, 100, 0.95, 0.01), position));
        changed += usize::from(token != choose(&b, &how(2.0, 100, 0.95, 0.01), position));
    }
    assert!(changed <= 1, "temperature 2 on logits times 4 differs from temperature 0.5 at {changed} positions");
}

#[test]
fn equal_logits_are_cut_by_id() {
    let logits = [2.0f32; 10];
    for position in 0..200 {
        assert!(choose(&logits, &how(1.0, 3, 1.0, 0.0), position) < 3);
        assert!(choose(&logits, &how(1.0, 0, 0.35, 0.0), position) < 4);
    }
}

#[test]
fn a_mask_leaves_out_tokens_before_the_filters() {
    let logits = logits(3000);
    let mut allowed = TokenMask::none(logits.len());
    // The most likely tokens are left out.
    (0..3000).filter(|&id| id % 7 == 3 && logits[id as usize] < 6.0).for_each(|id| allowed.insert(id));
    let only: Vec<(u32, f32)> = allowed.ids().map(|id| (id, logits[id as usize])).collect();
    let packed: Vec<f32> = only.iter().map(|token| token.1).collect();
    for how in [
        Sampling::GREEDY,
        how(1.0, 0, 1.0, 0.0),
        how(1.0, 5, 1.0, 0.0),
        how(0.8, 0, 0.7, 0.0),
        how(1.2, 40, 0.9, 0.02),
        how(1.0, 1000, 1.0, 0.0),
    ] {
        let mut differs = 0;
        for position in 0..300 {
            // Sampling among the allowed tokens alone defines the result; sums in another order move an edge.
            let expected = only[choose(&packed, &how, position) as usize].0;
            let token = choose_allowed(&logits, &allowed, &how, position).expect("a token");
            assert!(allowed.contains(token), "{how:?}");
            differs += usize::from(token != expected);
        }
        assert!(differs <= 1, "{how:?}: {differs} differences");
    }
}

#[test]
fn a_mask_without_a_possible_token_is_an_error() {
    let (inf, nan) = (f32::NEG_INFINITY, f32::NAN);
    let mut allowed = TokenMask::none(3);
    let none = choose_allowed(&[0.0; 3], &allowed, &Sampling::GREEDY, 0).expect_err("no token");
    assert_eq!(none.to_string(), "no token can be drawn: 0 of 3 are allowed, and none of these is possible");
    allowed.insert(1);
    for logits in [[0.0, inf, 0.0], [0.0, nan, 0.0]] {
        let error = choose_allowed(&logits, &allowed, &Sampling::GREEDY, 0).expect_err("no token");
        assert_eq!(error.code(), "no-allowed-token");
    }
    // Logits beyond the mask are not allowed.
    for position in 0..50 {
        let how = how(1.0, 0, 1.0, 0.0);
        assert_eq!(choose_allowed(&[1.0, -9.0, 5.0, 8.0], &allowed, &how, position).expect("a token"), 1);
    }
}
