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
