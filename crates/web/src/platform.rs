//! The browser's facilities: clocks, a turn of the event loop, the size of the heap.

use js_sys::{Date, Function, Promise, Reflect, WebAssembly};
use serde::Deserialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;

    type MessageChannel;
    #[wasm_bindgen(constructor)]
    fn new() -> MessageChannel;
    #[wasm_bindgen(method, getter)]
    fn port1(this: &MessageChannel) -> MessagePort;
    #[wasm_bindgen(method, getter)]
    fn port2(this: &MessageChannel) -> MessagePort;

    type MessagePort;
    #[wasm_bindgen(method, setter)]
    fn set_onmessage(this: &MessagePort, handler: &Function);
    #[wasm_bindgen(method, js_name = postMessage)]
    fn post_message(this: &MessagePort, message: &JsValue);
}

#[wasm_bindgen]
extern "C" {
    /// The worker's global object.
    type Global;
    /// The function that receives panics, if the worker defines it.
    #[wasm_bindgen(method, catch, js_name = honelmPanicked)]
    fn panicked(this: &Global, message: &str) -> Result<(), JsValue>;
    /// The promise of the kernels that were requested, if the worker defines it.
    #[wasm_bindgen(method, catch, js_name = honelmKernelsBuilt)]
    fn kernels_built(this: &Global) -> Result<Promise, JsValue>;
}

/// Waits until the GPU's kernels that were requested are built. Outside of the package's own worker, nothing builds them early.
pub async fn kernels_built() {
    if let Ok(built) = js_sys::global().unchecked_into::<Global>().kernels_built() {
        // The promise is never rejected.
        let _ = JsFuture::from(built).await;
    }
}

/// Reports panics, which are bugs, to the worker's `honelmPanicked`. The wasm instance cannot be used after a panic.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        // Without the function, the worker sees only the trap.
        let _ = js_sys::global().unchecked_into::<Global>().panicked(&info.to_string());
    }));
}

/// The worker's `honelmAdapter`, as JSON: its information about the GPU that was opened last.
#[derive(Debug, Deserialize)]
pub struct BrowserAdapter {
    pub name: String,
    /// `true` if it is a software fallback.
    pub is_fallback: bool,
    /// The smallest and largest number of threads per subgroup; `None` if kernels cannot use subgroups.
    pub subgroups: Option<(u32, u32)>,
}

/// Returns the worker's information about the GPU that was opened last; `None` outside of the package's own worker.
pub fn browser_adapter() -> Option<BrowserAdapter> {
    let told = Reflect::get(&js_sys::global(), &"honelmAdapter".into()).ok()?.as_string()?;
    serde_json::from_str(&told).ok()
}

/// Returns the seconds since the worker began.
pub fn seconds() -> f64 {
    performance_now() / 1000.0
}

/// Returns the seconds since 1970, and the offset of local time from UTC in seconds.
pub fn wall_clock() -> (i64, i32) {
    let now = Date::new_0();
    ((now.get_time() / 1000.0) as i64, (now.get_timezone_offset() * -60.0) as i32)
}

/// Returns the size of the wasm heap in bytes, which never shrinks.
pub fn heap_bytes() -> f64 {
    let memory: WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
    let bytes = Reflect::get(&memory.buffer(), &"byteLength".into());
    bytes.ok().and_then(|bytes| bytes.as_f64()).unwrap_or(0.0)
}

/// A message channel that gives the event loop a turn, without the minimum delay of timers (4 ms).
pub struct EventLoop(MessageChannel);

impl EventLoop {
    /// Creates a channel.
    pub fn new() -> Self {
        Self(MessageChannel::new())
    }

    /// Lets the event loop run everything that waits.
    pub async fn turn(&self) {
        let (here, there) = (self.0.port1(), self.0.port2());
        let promise = Promise::new(&mut |resolve, _| {
            here.set_onmessage(&resolve);
            there.post_message(&JsValue::UNDEFINED);
        });
        // The promise is never rejected.
        let _ = JsFuture::from(promise).await;
    }
}
