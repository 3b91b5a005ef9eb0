//! `--device auto`: the faster one of the CPU and the first hardware GPU, found by a trial with the model.

use std::path::Path;

use honelm_backend::block_on;
use honelm_bench::Test;
use honelm_cpu::Isa;
use honelm_gpu::{AdapterReport, Gpu};
use honelm_model::Checkpoint;
use honelm_plan::{Place, Plan, Workload, plan};
use honelm_store::Digest;
use serde::{Deserialize, Serialize};

use super::devices::memory_of;
use super::open::load_named;
use super::remembered::Remembered;
use crate::units::bytes;
use crate::{DeviceChoice, Error, Event, Events, RunOptions};

/// The tokens of a typical prompt and of its answer. The device that takes less time for both is the faster one.
const EXCHANGE: (f64, f64) = (256.0, 128.0);

/// The tokens of a trial's prompt and answer; fewer in a shorter context.
const PROMPT: usize = 128;
const ANSWER: usize = 8;

/// The number of timed repeats, after one that is not timed.
const REPEATS: usize = 2;

/// The result of a trial. The names are for readers of the file; only the rates are used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Trial {
    model: String,
    adapter: String,
    cpu: Rates,
    gpu: Rates,
}

/// The speed of a model on a device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Rates {
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
}

impl Rates {
    /// Returns the time of an [`EXCHANGE`].
    fn seconds(&self) -> f64 {
        EXCHANGE.0 / self.prefill_tokens_per_second + EXCHANGE.1 / self.decode_tokens_per_second
    }
}

impl Trial {
    fn gpu_is_faster(&self) -> bool {
        self.gpu.seconds() < self.cpu.seconds()
    }
}

/// Chooses the device for a model.
///
/// # Errors
/// An invalid model; [`Error::Interrupted`] if `events` returns `false`.
pub(crate) fn choose(run: &RunOptions, checkpoint: &Checkpoint, events: Events<'_>) -> Result<DeviceChoice, Error> {
    // The trial writes text. Encoders for embeddings are small.
    if checkpoint.facts().encoder || !may_have_gpu() {
        return Ok(DeviceChoice::Cpu);
    }
    let adapters = block_on(Gpu::adapters());
    match adapters.iter().find(|adapter| !adapter.software) {
        Some(adapter) => choose_with(adapter, &Remembered::in_cache("auto.json"), run, checkpoint, events),
        None => Ok(DeviceChoice::Cpu),
    }
}

/// Returns `false` if there is certainly no GPU. Loading drivers to find out takes time, and some print errors.
fn may_have_gpu() -> bool {
    let nodes = ["/dev/nvidiactl", "/dev/dxg", "/dev/kgsl-3d0", "/dev/mali0"];
    let renders = || std::fs::read_dir("/dev/dri").is_ok_and(|mut nodes| nodes.next().is_some());
    !cfg!(target_os = "linux") || nodes.iter().any(|node| Path::new(node).exists()) || renders()
}

fn choose_with(
    adapter: &AdapterReport,
    remembered: &Remembered,
    run: &RunOptions,
    checkpoint: &Checkpoint,
    events: Events<'_>,
) -> Result<DeviceChoice, Error> {
    let gpu = DeviceChoice::Gpu(Some(adapter.index));
    let work = Workload { context: run.context, cache_type: run.cache_type, place: Place::Gpu, ..Workload::default() };
    let planned = plan(checkpoint, &work)?;
    if let Some(memory) = memory_of(adapter).filter(|&memory| memory < planned.total_bytes) {
        let (needed, memory) = (bytes(planned.total_bytes), bytes(memory));
        let why =
            format!("{} is not used: it has {memory}, the model needs {needed} with the whole context", adapter.name);
        events(&Event::Warning(&why));
        return Ok(DeviceChoice::Cpu);
    }
    let key = key(adapter, run, checkpoint, &planned);
    let trial = match remembered.get::<Trial>(&key) {
        Some(trial) => trial,
        None => match rates(gpu, run, checkpoint, &mut *events) {
            Ok(on_gpu) => {
                let cpu = rates(DeviceChoice::Cpu, run, checkpoint, events)?;
                let (model, adapter) = (checkpoint.facts().name.clone(), adapter.key());
                let trial = Trial { model, adapter, cpu, gpu: on_gpu };
                remembered.set(&key, &trial);
                trial
            }
            // The failure may be temporary, so it is not remembered.
            Err(problem) if problem.is_of_device() => {
                events(&Event::Warning(&format!("{} is not used: {problem}", adapter.name)));
                return Ok(DeviceChoice::Cpu);
            }
            Err(problem) => return Err(problem),
        },
    };
    Ok(if trial.gpu_is_faster() { gpu } else { DeviceChoice::Cpu })
}

/// Measures the speed of a model on a device.
fn rates(device: DeviceChoice, run: &RunOptions, checkpoint: &Checkpoint, events: Events<'_>) -> Result<Rates, Error> {
    let context = PROMPT.min(checkpoint.facts().context);
    let run = RunOptions { context: Some(context), ..run.clone() };
    let mut model = load_named(device, checkpoint, &run, &mut *events)?;
    let (stage, mut done, total) = (format!("trying {device}"), 0, 2 * (REPEATS + 1));
    let mut progress = |_| {
        done += 1;
        events(&Event::Stage { name: &stage, detail: "", done, total })
    };
    let mut rate = |prompt: usize, generate: usize| {
        let test = Test::new(prompt, generate, PROMPT);
        honelm_bench::run(&mut model, test, REPEATS, &mut progress).map(|found| found.tokens_per_second)
    };
    Ok(Rates { prefill_tokens_per_second: rate(context, 0)?, decode_tokens_per_second: rate(0, ANSWER.min(context))? })
}

/// Returns a digest of everything that the speeds depend on: both devices, the kernels, the settings, and the shapes
/// and encodings of the weights.
fn key(adapter: &AdapterReport, run: &RunOptions, checkpoint: &Checkpoint, planned: &Plan) -> String {
    let mut digest = Digest::default().with(env!("CARGO_PKG_VERSION")).with(adapter.key()).with(Isa::detect().name());
    digest = digest.with(format!("{} {:?} {:?}", run.worker_threads(), run.compute, run.cache_type));
    for tensor in &planned.tensors {
        digest = digest.with(format!("{:?} {}", tensor.shape, tensor.encoding));
    }
    digest.with(checkpoint.facts().architecture).hex()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use honelm_gpu::AdapterKind;

    use super::*;

    fn trial(cpu: [f64; 2], gpu: [f64; 2]) -> Trial {
        let rates = |[prefill_tokens_per_second, decode_tokens_per_second]: [f64; 2]| Rates {
            prefill_tokens_per_second,
            decode_tokens_per_second,
        };
        Trial { model: "m".to_owned(), adapter: "a".to_owned(), cpu: rates(cpu), gpu: rates(gpu) }
    }

    #[test]
    fn the_time_of_prompt_and_answer_decides() {
        assert!(trial([100.0, 10.0], [110.0, 11.0]).gpu_is_faster());
        assert!(!trial([100.0, 10.0], [1000.0, 8.0]).gpu_is_faster(), "answers take most of the time");
        assert!(trial([10.0, 10.0], [1000.0, 9.0]).gpu_is_faster());
        assert!(!trial([100.0, 10.0], [0.0, 20.0]).gpu_is_faster());
    }

    #[test]
    fn a_trial_is_done_once_for_a_model_and_its_settings() {
        let Some(adapter) = block_on(Gpu::adapters()).into_iter().next() else {
            eprintln!("SKIPPED a_trial_is_done_once_for_a_model_and_its_settings: needs a GPU adapter");
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let remembered = Remembered::in_file(dir.path().join("auto.json"));
        let checkpoint = Checkpoint::open(crate::locate(None, None).unwrap()).unwrap();
        let run = RunOptions { context: Some(64), ..RunOptions::default() };
        let stages = std::cell::RefCell::new(Vec::new());
        let mut events = |event: &Event<'_>| {
            if let Event::Stage { name, done: 1, .. } = event {
                stages.borrow_mut().push((*name).to_owned());
            }
            true
        };
        let first = choose_with(&adapter, &remembered, &run, &checkpoint, &mut events).unwrap();
        let heard = stages.take();
        let tried =
            |heard: &[String]| heard.iter().filter(|name| name.starts_with("trying")).cloned().collect::<Vec<_>>();
        assert_eq!(tried(&heard), [format!("trying gpu:{}", adapter.index), "trying cpu".to_owned()]);
        let key_of = |run: &RunOptions| {
            let work = Workload { place: Place::Gpu, ..Workload::default() };
            key(&adapter, run, &checkpoint, &plan(&checkpoint, &work).unwrap())
        };
        let found: Trial = remembered.get(&key_of(&run)).unwrap();
        assert_eq!(first == DeviceChoice::Cpu, !found.gpu_is_faster());
        assert!(found.cpu.decode_tokens_per_second > 0.0 && found.gpu.decode_tokens_per_second > 0.0, "{found:?}");
        // The second time nothing is loaded, and the remembered rates decide.
        for faster in [true, false] {
            let gpu = Rates { decode_tokens_per_second: if faster { 1e9 } else { 1e-9 }, ..found.cpu };
            remembered.set(&key_of(&run), &Trial { gpu, ..found.clone() });
            let device = if faster { DeviceChoice::Gpu(Some(adapter.index)) } else { DeviceChoice::Cpu };
            assert_eq!(choose_with(&adapter, &remembered, &run, &checkpoint, &mut events).unwrap(), device);
        }
        assert!(stages.take().is_empty(), "tried again");
        let others = [
            RunOptions { threads: Some(run.worker_threads() + 1), ..run.clone() },
            RunOptions { compute: honelm_cpu::Compute::F32, ..run.clone() },
            RunOptions { cache_type: crate::CacheType::F32, ..run.clone() },
        ];
        assert!(others.iter().all(|other| key_of(other) != key_of(&run)));
    }

    #[test]
    fn a_gpu_without_enough_memory_is_not_tried_and_one_that_fails_is_reported() {
        let Some(adapter) = block_on(Gpu::adapters()).into_iter().next() else {
            eprintln!(
                "SKIPPED a_gpu_without_enough_memory_is_not_tried_and_one_that_fails_is_reported: needs a GPU adapter"
            );
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let remembered = Remembered::in_file(dir.path().join("auto.json"));
        let heard = std::cell::RefCell::new(Vec::new());
        let mut events = |event: &Event<'_>| {
            if let Event::Warning(text) = event {
                heard.borrow_mut().push((*text).to_owned());
            }
            true
        };
        let checkpoint = Checkpoint::open(crate::locate(None, None).unwrap()).unwrap();
        let run = RunOptions { context: Some(64), ..RunOptions::default() };
        let small = AdapterReport { kind: AdapterKind::Discrete, own_memory: Some(1 << 20), ..adapter.clone() };
        assert_eq!(choose_with(&small, &remembered, &run, &checkpoint, &mut events).unwrap(), DeviceChoice::Cpu);
        let told = heard.take();
        assert!(told.len() == 1 && told[0].contains("it has 1.0 MB, the model needs"), "{told:?}");
        // An adapter that is gone when it is opened.
        let gone = AdapterReport { index: 99, ..adapter.clone() };
        for _ in 0..2 {
            assert_eq!(choose_with(&gone, &remembered, &run, &checkpoint, &mut events).unwrap(), DeviceChoice::Cpu);
            assert_eq!(heard.take().len(), 1, "reported each time, since the adapter may come back");
        }
        // A caller that stops the trial is obeyed.
        let stopped = choose_with(&adapter, &remembered, &run, &checkpoint, &mut |_| false).unwrap_err();
        assert_eq!(stopped.code(), "interrupted");
    }
}
