use honelm_backend::block_on;
use honelm_testing::Naive;

use super::*;
use crate::pack::tests::text::layouts;

/// The answers themselves are right: a back end that computes every operation in double precision gives them all.
#[test]
fn the_answers_are_those_of_the_definitions() {
    let marks = block_on(ask(&mut Naive::new(), &layouts())).unwrap();
    assert_eq!(marks.wrong, []);
    assert!(marks.asked > 4 * layouts().len(), "{} questions", marks.asked);
}

/// A round in which `wrong` answers of 10 are wrong.
fn marks(wrong: usize) -> Marks {
    let of = |i: usize| Wrong { what: format!("question {i}"), why: "1, not 2".to_owned() };
    Marks { asked: 10, wrong: (0..wrong).map(of).collect() }
}

#[test]
fn wrong_answers_demote_to_the_plainer_variant() {
    let settled = settle(Trust::default(), &[Layout::Q8_0], async |v| Ok(marks(if v.plain_half { 0 } else { 2 })));
    let trust = block_on(settled).unwrap();
    assert!(trust.variants.plain_half && trust.covers(&[Layout::Q8_0]) && trust.answers == 10);
    let [demotion] = &trust.demoted[..] else { panic!("{:?}", trust.demoted) };
    assert_eq!(demotion.why, "question 0: 1, not 2");
    let kept: Trust = serde_json::from_str(&serde_json::to_string(&trust).unwrap()).unwrap();
    assert_eq!(kept, trust);
}

#[test]
fn an_adapter_without_a_right_variant_is_refused_with_the_reason() {
    let refused = |wrong| block_on(settle(Trust::default(), &[], async |_| Ok(marks(wrong)))).unwrap_err();
    assert_eq!(refused(1), "question 0: 1, not 2");
    assert_eq!(refused(3), "question 0: 1, not 2; 2 more are wrong");
    let failed = settle(Trust::default(), &[], async |_| Err("the device was lost".to_owned()));
    assert_eq!(block_on(failed).unwrap_err(), "the device was lost");
}

#[test]
fn what_was_found_of_older_kernels_is_forgotten() {
    let trust = block_on(settle(Trust::default(), &[Layout::F16], async |_| Ok(marks(0)))).unwrap();
    assert!(trust.covers(&[Layout::F16]));
    assert!(!Trust { kernels: KERNELS - 1, ..trust }.covers(&[Layout::F16]));
}

#[test]
fn plainer_variants_give_the_known_answers_too() {
    let Ok(gpu) = block_on(Gpu::open(None)) else {
        honelm_testing::skip!("plainer_variants_give_the_known_answers_too", "a GPU adapter");
    };
    for (variants, _) in &LADDER[1..] {
        gpu.use_variants(*variants);
        let marks = block_on(ask(&mut GpuBackend::new(&gpu).unwrap(), &[Layout::F16, Layout::Q4K])).unwrap();
        assert_eq!(marks.wrong, [], "{variants:?}");
    }
}

#[test]
fn this_machines_gpu_gives_the_known_answers_and_is_not_asked_twice() {
    let Ok(gpu) = block_on(Gpu::open(None)) else {
        honelm_testing::skip!("this_machines_gpu_gives_the_known_answers_and_is_not_asked_twice", "a GPU adapter");
    };
    let layouts = [Layout::F32, Layout::Q4_0, Layout::Q4K];
    let trust = block_on(known_answers(&gpu, &layouts, None)).unwrap();
    assert!(trust.covers(&layouts) && !trust.covers(&[Layout::Q6K]) && trust.answers > 12, "{trust:?}");
    let built = gpu.pipelines();
    let again = block_on(known_answers(&gpu, &layouts, Some(trust.clone()))).unwrap();
    assert_eq!((again, gpu.pipelines()), (trust, built));
}
