use std::sync::atomic::{AtomicUsize, Ordering};

use honelm_cpu::Pool;

#[test]
fn runs_every_task_once_on_any_number_of_threads() {
    for threads in 1..=4 {
        let pool = Pool::new(Some(threads));
        for round in 0..300 {
            let counts: Vec<AtomicUsize> = (0..round % 37).map(|_| AtomicUsize::new(0)).collect();
            pool.run(counts.len(), |task| {
                counts[task].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        }
    }
}

#[test]
fn wakes_workers_that_went_to_sleep() {
    let pool = Pool::new(Some(3));
    for _ in 0..5 {
        std::thread::sleep(std::time::Duration::from_millis(1));
        let sum = AtomicUsize::new(0);
        pool.run(100, |task| {
            sum.fetch_add(task, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 4950);
    }
}

#[test]
fn each_thread_has_its_own_scratch() {
    let pool = Pool::new(Some(3));
    let mut scratch = vec![0usize; 3];
    pool.run_with(&mut scratch, 1000, |_, count| *count += 1);
    assert_eq!(scratch.iter().sum::<usize>(), 1000);
}

#[test]
fn parts_cover_all_items_once() {
    let pool = Pool::new(Some(2));
    for len in [0usize, 1, 5, 64, 65] {
        let mut items = vec![0usize; len];
        pool.run_parts(&mut items, 8, |i, part| part.iter_mut().for_each(|v| *v += i + 1));
        assert!(items.iter().enumerate().all(|(i, v)| *v == i / 8 + 1));
    }
}

#[test]
fn a_panic_in_a_task_reaches_the_caller_and_leaves_the_pool_usable() {
    let pool = Pool::new(Some(2));
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pool.run(10, |task| assert!(task != 7, "task seven"));
    }));
    assert!(failed.is_err());
    let sum = AtomicUsize::new(0);
    pool.run(10, |task| {
        sum.fetch_add(task, Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), 45);
}
