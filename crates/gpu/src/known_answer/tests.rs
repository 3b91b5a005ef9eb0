use honelm_backend::{Backend, CacheType, block_on};
use honelm_testing::Naive;

use super::*;
use crate::device::Fault;
use crate::pack::tests::text::layouts;

const CACHES: [CacheType; 5] = CacheType::ALL;

/// A clock that stands still: nothing is clearly faster, so subgroups are selected.
fn still() -> f64 {
    0.0
}

fn of_layouts(layouts: &[Layout]) -> Needed {
    Needed { layouts: layouts.to_vec(), caches: Vec::new() }
}

/// Checks the expected results: a back end that computes every operation in double precision gives them all.
#[test]
fn the_answers_are_those_of_the_definitions() {
    let needed = Needed { layouts: layouts(), caches: CACHES.to_vec() };
    let outcome = block_on(cases::run(&mut Naive::new(), &needed, true, &mut |_, _| {})).unwrap();
    assert_eq!(outcome.wrong, []);
    assert!(outcome.tested > 4 * layouts().len(), "{} cases", outcome.tested);
}

/// Returns a round in which `wrong` results of 10 are wrong.
fn outcome(wrong: usize) -> Outcome {
    let of = |i: usize| Wrong { what: format!("case {i}"), why: "1, not 2".to_owned() };
    Outcome { tested: 10, wrong: (0..wrong).map(of).collect() }
}

#[test]
fn wrong_answers_demote_to_the_simpler_variant_and_everything_is_tested_again() {
    let first =
        block_on(select(Trust::default(), &of_layouts(&[Layout::F32]), async |_, _, _| Ok(outcome(0)))).unwrap();
    assert_eq!((first.variants, first.answers), (Variants::default(), 10));
    let mut tested = Vec::new();
    let needed = of_layouts(&[Layout::F32, Layout::Q8_0]);
    let selected = select(first, &needed, async |variants, needed, others| {
        tested.push((needed.layouts.clone(), others));
        Ok(outcome(if variants.plain_half { 0 } else { 2 }))
    });
    let trust = block_on(selected).unwrap();
    assert_eq!(tested, [(vec![Layout::Q8_0], false), (vec![Layout::F32, Layout::Q8_0], true)]);
    assert!(trust.variants.plain_half && trust.missing(&needed) == Needed::default());
    let [demotion] = &trust.demoted[..] else { panic!("{:?}", trust.demoted) };
    assert_eq!(demotion.why, "case 0: 1, not 2");
    let kept: Trust = serde_json::from_str(&serde_json::to_string(&trust).unwrap()).unwrap();
    assert_eq!(kept, trust);
}

#[test]
fn wrong_sums_by_subgroups_demote_to_the_workgroups_memory() {
    let begin = Trust { variants: VARIANTS[0].0, ..Trust::default() };
    let round = async |variants: Variants, _: &Needed, _| Ok(outcome(usize::from(variants.subgroups)));
    let trust = block_on(select(begin, &of_layouts(&[Layout::F16]), round)).unwrap();
    assert_eq!(trust.variants, Variants::default());
    let why = "case 0: 1, not 2".to_owned();
    let what = "sums by subgroups -> by the workgroup's memory".to_owned();
    assert_eq!(trust.demoted, [Demotion { what, why }]);
}

#[test]
fn the_faster_sums_are_taken_and_those_are_tested() {
    let Some(gpu) = block_on(Gpu::open(None)).ok().filter(|gpu| gpu.report().subgroups.is_some()) else {
        honelm_testing::skip!("the_faster_sums_are_taken_and_those_are_tested", "a GPU with subgroups");
    };
    for (by_subgroups, by_memory, faster) in [(2.0, 1.0, false), (1.0, 2.0, true), (1.02, 1.0, true)] {
        let now = std::cell::Cell::new(0.0);
        let clock = || {
            now.set(now.get() + if gpu.variants().subgroups { by_subgroups } else { by_memory });
            now.get()
        };
        let trust = block_on(known_answers(&gpu, &of_layouts(&[Layout::Q8_0]), None, &clock, &mut |_, _| {})).unwrap();
        assert_eq!((trust.variants.subgroups, gpu.variants().subgroups), (faster, faster));
        let sums = trust.sums.unwrap();
        let nanoseconds = [by_subgroups, by_memory].map(|seconds: f64| (seconds * 1e9).round() as u64);
        assert_eq!([sums.by_subgroups, sums.by_memory], nanoseconds);
        assert!(trust.demoted.is_empty() && trust.layouts.len() == 1, "{trust:?}");
        let kept: Trust = serde_json::from_str(&serde_json::to_string(&trust).unwrap()).unwrap();
        assert_eq!(kept, trust);
    }
    // A real clock selects one too.
    let begin = std::time::Instant::now();
    let clock = || begin.elapsed().as_secs_f64();
    let trust = block_on(known_answers(&gpu, &Needed::default(), None, &clock, &mut |_, _| {})).unwrap();
    assert!(trust.sums.is_some_and(|sums| sums.by_subgroups > 0 && sums.by_memory > 0), "{trust:?}");
}

#[test]
fn a_device_that_fails_with_subgroups_goes_on_without_them() {
    let gpu = block_on(Gpu::open(None)).ok().filter(|gpu| gpu.report().subgroups.is_some());
    let Some(gpu) = gpu else {
        honelm_testing::skip!("a_device_that_fails_with_subgroups_goes_on_without_them", "a GPU with subgroups");
    };
    gpu.inner.faults.report(Fault::Failed("the kernel is rejected".to_owned()));
    let trust = block_on(known_answers(&gpu, &of_layouts(&[Layout::F32]), None, &still, &mut |_, _| {})).unwrap();
    assert_eq!((trust.variants, gpu.variants()), (Variants::default(), Variants::default()));
    let [demotion] = &trust.demoted[..] else { panic!("{:?}", trust.demoted) };
    assert!(demotion.why.contains("the kernel is rejected"), "{demotion:?}");
    // A lost device has no fallback.
    gpu.destroy();
    let lost = block_on(known_answers(&gpu, &of_layouts(&[Layout::F16]), None, &still, &mut |_, _| {})).unwrap_err();
    assert!(lost.to_string().contains("destroyed"), "{lost}");
}

#[test]
fn an_adapter_without_a_right_variant_is_refused_with_the_reason() {
    let none = Needed::default();
    let refused = |wrong| block_on(select(Trust::default(), &none, async |_, _, _| Ok(outcome(wrong)))).unwrap_err();
    assert_eq!(refused(1), "case 0: 1, not 2");
    assert_eq!(refused(3), "case 0: 1, not 2; 2 more are wrong");
    let failed = select(Trust::default(), &none, async |_, _, _| Err("the device was lost".to_owned()));
    assert_eq!(block_on(failed).unwrap_err(), "the device was lost");
}

#[test]
fn every_variant_gives_the_known_answers() {
    let Ok(gpu) = block_on(Gpu::open(None)) else {
        honelm_testing::skip!("every_variant_gives_the_known_answers", "a GPU adapter");
    };
    let needed = Needed { layouts: vec![Layout::F16, Layout::Q4K], caches: vec![CacheType::F16] };
    // As few threads per row as suit a CPU, and as many as suit a GPU.
    let devices = [false, true].map(|wide| gpu.clone().with_wide_teams(wide));
    for (variants, _) in &VARIANTS {
        if variants.subgroups && gpu.report().subgroups.is_none() {
            eprintln!("SKIPPED every_variant_gives_the_known_answers for {variants:?}: needs a GPU with subgroups");
            continue;
        }
        gpu.use_variants(*variants);
        for gpu in &devices {
            let mut b = back_end(gpu).unwrap();
            let outcome = block_on(cases::run(&mut b, &needed, true, &mut |_, _| {})).unwrap();
            assert_eq!(outcome.wrong, [], "{variants:?}");
        }
    }
}

#[test]
fn this_machines_gpu_gives_the_known_answers_and_is_not_tested_twice() {
    let Ok(gpu) = block_on(Gpu::open(None)) else {
        honelm_testing::skip!("this_machines_gpu_gives_the_known_answers_and_is_not_tested_twice", "a GPU adapter");
    };
    let mut needed = of_layouts(&[Layout::F32, Layout::Q4_0]);
    let trust = block_on(known_answers(&gpu, &needed, None, &still, &mut |_, _| {})).unwrap();
    assert!(trust.missing(&needed) == Needed::default() && trust.answers > 12, "{trust:?}");
    let built = gpu.pipelines();
    let again = block_on(known_answers(&gpu, &needed, Some(trust.clone()), &still, &mut |_, _| {})).unwrap();
    assert_eq!((&again, gpu.pipelines()), (&trust, built));
    // Only what is new is tested.
    needed.caches = CACHES.to_vec();
    let more = block_on(known_answers(&gpu, &needed, Some(again), &still, &mut |_, _| {})).unwrap();
    assert_eq!(more.answers, trust.answers + 2 * CACHES.len());
    // Results of older kernels are discarded.
    let older = Trust { kernels: KERNELS - 1, layouts: layouts().iter().map(name).collect(), ..trust };
    let tested = block_on(known_answers(&gpu, &of_layouts(&[]), Some(older), &still, &mut |_, _| {})).unwrap();
    assert!(tested.layouts.is_empty() && tested.kernels == KERNELS, "{tested:?}");
}

#[test]
fn every_kernel_that_the_cases_need_is_built_before_they_run() {
    let Ok(gpu) = block_on(Gpu::open(None)) else {
        honelm_testing::skip!("every_kernel_that_the_cases_need_is_built_before_they_run", "a GPU adapter");
    };
    let needed = Needed { layouts: vec![Layout::Q8_0], caches: vec![CacheType::F16] };
    cases::build_kernels(&mut for_kernels(&gpu).unwrap(), &needed, true).unwrap();
    let built = gpu.pipelines();
    let (mut b, mut reported) = (back_end(&gpu).unwrap(), Vec::new());
    let mut report = |done, total| reported.push((done, total));
    let outcome = block_on(cases::run(&mut b, &needed, true, &mut report)).unwrap();
    assert!(outcome.wrong.is_empty() && built > 10, "{outcome:?}");
    assert_eq!(gpu.pipelines(), built);
    // Two steps for each of six suites.
    assert_eq!(reported, (0..=12).map(|done| (done, 12)).collect::<Vec<_>>());
}

#[test]
fn a_back_end_names_the_layouts_of_its_weights_once() {
    let Ok(gpu) = block_on(Gpu::open(None)) else {
        honelm_testing::skip!("a_back_end_names_the_layouts_of_its_weights_once", "a GPU adapter");
    };
    let mut b = GpuBackend::new(&gpu).unwrap();
    let mut upload = |layout| b.upload(weights::of_layout(layout).unwrap(), None).unwrap();
    let kept = [Layout::F16, Layout::Q4_0, Layout::F16].map(&mut upload);
    let vector = b.upload_vector(&[1.0]).unwrap();
    assert_eq!(b.layouts(), [Layout::F16, Layout::Q4_0]);
    drop((kept, vector));
}
